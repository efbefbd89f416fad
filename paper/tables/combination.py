"""The three binaries together: the thesis' average of metrics beside real classifiers.

The thesis averages *metrics*: a machine class has the numbers of its own binary, human the mean
over the binaries. These are numbers of different tasks and belong to no classifier. Beside them
stand two classifiers of all classes made of the same binaries, and full fine-tuning.
"""

from dataclasses import dataclass

import numpy as np

from lowrank_da.corpus import SELECT, Corpus
from paper import estimate, rows
from paper.published import published
from paper.table import Body, OfThesis, Records, Row, SettingFacts
from paper.words import Text

COMBINATIONS = ("binaries_average", "binaries_coupled")
AVERAGED = Text("average of metrics", "среднее метрик")


def averaged_metrics(records: Records) -> dict[str, Row]:
    """The thesis' arithmetic on our binaries; a class whose binary is missing is absent.

    Human is averaged over the seeds that all binaries have, and absent without such a seed.
    """
    parts = [records.get(name) for name in records.facts.binaries]
    by_class: dict[str, Row] = {}
    for runs in parts:
        by_class |= rows.metrics_by_class(runs)
    by_class.pop(Corpus.human, None)
    common = set.intersection(*({run.seed for run in runs} for runs in parts))
    if common:
        shared = [[run for run in runs if run.seed in common] for runs in parts]
        human = estimate.of_human(shared)
        by_class[Corpus.human] = tuple(human[column].show() for column in range(3))
    return by_class


@dataclass(frozen=True, kw_only=True)
class Averaged(OfThesis):
    """The average of metrics, published and ours, above the real classifiers."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The binaries and what is made of them."""
        return (*facts.binaries, *COMBINATIONS)

    def body(self, records: Records) -> Body:
        """A group a class."""
        theirs = published()["thesis"]["binaries_averaged"]["precision_recall_f1"]
        ours = {AVERAGED.say(records.lang): averaged_metrics(records)}
        ours |= {name: rows.metrics_by_class(records.get(name)) for name in COMBINATIONS}
        groups = rows.beside_published(
            records, records.facts.classes, rows.published_rows(records, theirs), ours
        )
        return Body(rows.header(records), groups, (NOT_A_CLASSIFIER.say(records.lang),))


NOT_A_CLASSIFIER = Text(
    "The published rows and 'average of metrics' average numbers of different tasks: machine"
    " classes from their own binary, human as the mean over the binaries, whose texts are"
    " resampled together. They belong to no classifier of all classes; binaries_average (mean"
    " probabilities) and binaries_coupled (exact posterior) do.",
    "Строки «в работе» и «среднее метрик» усредняют числа разных задач: машинные классы берутся"
    " из своей бинарной модели, human есть среднее по бинарным моделям, тексты которых"
    " выбираются бутстрепом совместно. Это не классификатор всех классов; binaries_average"
    " (средние вероятности) и binaries_coupled (точное апостериорное распределение) им являются.",
)


@dataclass(frozen=True, kw_only=True)
class FullAgain(OfThesis):
    """Full fine-tuning once more, beside the better combination."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Full fine-tuning and the combinations to choose from."""
        return ("full", *COMBINATIONS)

    def body(self, records: Records) -> Body:
        """A group a class."""
        theirs = published()["thesis"]["full_again"]["precision_recall_f1"]
        names = ["full", *_better_on_select(records)]
        groups = rows.beside_published(
            records,
            records.facts.classes,
            rows.published_rows(records, theirs),
            {name: rows.metrics_by_class(records.get(name)) for name in names},
        )
        return Body(rows.header(records), groups, (CHOSEN.say(records.lang),))


CHOSEN = Text(
    "The combination with the higher macro-F1 on the select split is shown.",
    "Показана комбинация с большей macro-F1 на выборке для отбора.",
)


def _better_on_select(records: Records) -> list[str]:
    """The name of the combination to show, chosen without a look at the reported texts."""

    def on_select(name: str) -> float:
        scores = [run.result["splits"][SELECT]["macro_f1"] for run in records.get(name)]
        return float(np.mean(scores))

    there = [name for name in COMBINATIONS if records.get(name)]
    return [max(there, key=on_select)] if there else list(COMBINATIONS)


TABLES = (
    Averaged(
        id="11",
        title=Text(
            "The binary LoRA classifiers averaged as in the thesis, and combined",
            "Метрики качества LoRA, бинарные классификаторы",
        ),
    ),
    FullAgain(
        id="12",
        title=Text(
            "Full fine-tuning again, beside the better combination",
            "Метрики качества полного дообучения рядом с лучшей комбинацией",
        ),
    ),
)
