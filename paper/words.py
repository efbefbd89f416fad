"""Sentences in English and Russian, and the words that every table shares."""

from typing import NamedTuple

from lowrank_da.errors import unknown

LANGUAGES = ("en", "ru")


class Text(NamedTuple):
    """One sentence in both languages."""

    en: str
    ru: str

    def say(self, lang: str, **values: object) -> str:
        """The sentence in `lang`, its `{fields}` filled; `UserError` for another language."""
        if lang not in LANGUAGES:
            raise unknown("language", lang, LANGUAGES)
        text: str = getattr(self, lang)
        return text.format(**values)


CLASS = Text("class", "имя класса")
TRUE_CLASS = Text("true class", "истинный класс")
MODEL = Text("numbers of", "модель")
PUBLISHED = Text("published", "в работе")
PUBLISHED_AS = Text("{ours} (published: {published})", "{ours} (в работе: {published})")
PRECISION = Text("precision", "precision")
RECALL = Text("recall", "recall")
F1 = Text("F1", "f1-score")
MACRO_F1 = Text("macro-F1", "macro-F1")
ACCURACY = Text("accuracy", "accuracy")
AUROC = Text("AUROC", "AUROC")
TPR = Text("TPR at 5 % FPR", "TPR при FPR 5 %")
ONE_TRAINING = Text("the same training", "одно и то же обучение")
LEARNING_RATE = Text("learning rate", "скорость обучения")
SECONDS = Text("training, s", "обучение, с")
