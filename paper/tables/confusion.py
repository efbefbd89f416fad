"""Confusion matrices, each row divided by the texts of its true class, published and ours."""

from dataclasses import dataclass

from paper import estimate, rows, words
from paper.published import published
from paper.table import MISSING, Body, OfThesis, Records, Row, SettingFacts
from paper.words import Text


@dataclass(frozen=True, kw_only=True)
class Confusion(OfThesis):
    """True classes in rows, predicted classes in columns."""

    published_as: str
    """The key below `thesis` in the published numbers."""
    runs: tuple[str, ...]

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Our models."""
        return self.runs

    def body(self, records: Records) -> Body:
        """A group a true class."""
        facts, lang = records.facts, records.lang
        theirs = rows.published_rows(records, published()["thesis"][self.published_as]["confusion"])
        ours = {name: _shares(records, name) for name in self.runs}
        groups = []
        for i in facts.classes:
            columns = [facts.published_position(j) for j in facts.classes]
            cells = [MISSING if j is None else str(theirs[i][j]) for j in columns]
            group = [(facts.class_name(i, lang), words.PUBLISHED.say(lang), *cells)]
            group += [("", name, *shares[i]) for name, shares in ours.items()]
            groups.append(tuple(group))
        predicted = (facts.class_name(j, lang) for j in facts.classes)
        header = (words.TRUE_CLASS.say(lang), words.MODEL.say(lang), *predicted)
        return Body(header, tuple(groups))


def _shares(records: Records, name: str) -> list[Row]:
    """Our row-normalised matrix, as cells."""
    runs, classes = records.get(name), records.facts.classes
    if not runs:
        return [(MISSING,) * len(classes)] * len(classes)
    shares = estimate.of_confusion(runs, estimate.normalised_rows)
    return [tuple(shares[i, j].show() for j in classes) for i in classes]


TABLES = (
    Confusion(
        id="5",
        title=Text(
            "Confusion matrix of full fine-tuning, columns: predicted class",
            "Confusion matrix, полное дообучение, столбцы: предсказанный класс",
        ),
        published_as="full",
        runs=("full",),
    ),
    Confusion(
        id="7",
        title=Text(
            "Confusion matrix of LoRA, columns: predicted class",
            "Confusion matrix, LoRA, столбцы: предсказанный класс",
        ),
        published_as="lora",
        runs=("lora_published", "lora"),
    ),
)
