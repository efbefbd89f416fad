"""One table over several settings of a study: means over its domains, beside published numbers.

Every setting counts the same. Intervals resample the texts of each setting and the seeds; the
settings themselves are taken as given, for four domains are no sample of domains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowrank_da import metrics
from lowrank_da.corpus import ID, OOD, Corpus
from paper import estimate
from paper.arms import found
from paper.published import published
from paper.table import MISSING, Body, Built, Records, Row
from paper.tables.comparison import BOOTSTRAP, FIRST, holm, p_value
from paper.words import Text

PUBLISHED_ARMS = {
    "full": "fine-tuning",
    "linear_probe": "probing",
    "lp_ft": "probing then fine-tuning",
}
"""Our arms by what the lecture calls them."""
OTHER = "full"
"""What all are held against."""
RESAMPLES = 500
"""For rankings, which are sorted anew for every resample."""

ID_PUBLISHED = Text("published, ID, %", "в лекции, ID, %")
OOD_PUBLISHED = Text("published, OOD, %", "в лекции, OOD, %")
ID_ACCURACY = Text("accuracy, ID, %", "accuracy, ID, %")
OOD_ACCURACY = Text("accuracy, OOD, %", "accuracy, OOD, %")
ID_AUROC, OOD_AUROC = Text("AUROC, ID", "AUROC, ID"), Text("AUROC, OOD", "AUROC, OOD")
DIFFERENCE = Text("OOD accuracy less that of {other}, points", "OOD accuracy минус {other}, п.п.")
CAPTION = Text(
    "In and out of distribution, means over the settings {settings}. Seeds {seeds}.",
    "В распределении и вне его, средние по настройкам {settings}. Начальные числа {seeds}.",
)
NOTE = Text(
    "Every setting counts the same, and within it every split out of distribution. Intervals"
    " resample texts and seeds, not settings. p-values are adjusted by Holm's method over {tests}"
    " tests. Published: {source}; its task and models are other ones.",
    "Все настройки имеют один вес, в каждой одинаков вес всех выборок вне распределения. Интервалы"
    " учитывают тексты и начальные числа, но не настройки. p-значения с поправкой Холма на {tests}"
    " тестов. В лекции: {source}; задача и модели там другие.",
)


Draws = NDArray[np.float64]
Measure = Callable[[Records, str, int], tuple[float, Draws]]
"""Of a setting's records on one split, under a seed for its draws: a value, and (resamples,)."""


@dataclass(frozen=True)
class Drawn:
    """A mean over settings and its draws."""

    value: float
    draws: Draws

    def show(self, scale: float = 1, decimals: int = 3) -> str:
        """`84.3 [82.0, 86.1]`, all multiplied by `scale`."""
        ends = metrics.percentiles(self.draws)
        value, low, high = (scale * x for x in (self.value, ends.low, ends.high))
        return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def away(records: Records) -> list[str]:
    """The splits out of distribution that the arms of a setting were judged on."""
    splits = (run.result["splits"] for name in found(records.runs) for run in records.get(name))
    return sorted({role for of_run in splits for role in of_run if role.startswith(OOD)})


def arms(every: Sequence[Records]) -> list[str]:
    """The arms that all settings have under the same seeds, judged on all of their splits."""

    def there(name: str) -> bool:
        seeds = {tuple(run.seed for run in records.get(name)) for records in every}
        judged = (
            role in run.result["splits"]
            for records in every
            for run in records.get(name)
            for role in away(records)
        )
        return len(seeds) == 1 and () not in seeds and all(judged)

    return [name for name in found(every[0].runs) if there(name)] if every else []


def over_settings(every: Sequence[Records], measure: Measure, at_home: bool = False) -> Drawn:
    """The mean of a measure over settings, and within each over its splits."""
    values, draws = [], []
    for number, records in enumerate(every):
        roles = [ID] if at_home else away(records)
        own = [measure(records, role, 100 * number + i) for i, role in enumerate(roles)]
        values.append(float(np.mean([value for value, _ in own])))
        draws.append(np.mean([drawn for _, drawn in own], axis=0))
    return Drawn(float(np.mean(values)), np.mean(draws, axis=0))


def accuracy(name: str) -> Measure:
    """Of an arm."""

    def measure(records: Records, role: str, seed: int) -> tuple[float, Draws]:
        runs = records.get(name)
        a = estimate.answers(runs, role)
        own = float(np.mean([metrics.accuracy(run.confusion(role)) for run in runs]))
        return own, metrics.mean_draws(a.true, a.predicted, a.classes, metrics.accuracy, seed=seed)

    return measure


def auroc(name: str) -> Measure:
    """Of an arm, machine against human."""

    def measure(records: Records, role: str, seed: int) -> tuple[float, Draws]:
        a = estimate.answers(records.get(name), role)
        machine = a.true != a.human
        own = float(np.mean([metrics.auroc(machine, score) for score in a.machine_score]))
        return own, metrics.draws_over_seeds(
            metrics.auroc, machine, a.machine_score, RESAMPLES, seed
        )

    return measure


def difference(name: str) -> Measure:
    """Of an arm's accuracy and that of the one that all are held against."""

    def measure(records: Records, role: str, seed: int) -> tuple[float, Draws]:
        a, b = (estimate.answers(records.get(one), role) for one in (name, OTHER))
        estimate.refuse_other_texts(a.uid, b.uid, f"{name} and {OTHER}", role)
        return metrics.paired_draws(
            a.true, a.predicted, b.predicted, a.classes, metrics.accuracy, seed=seed
        )

    return measure


def build(every: Sequence[Records], lang: str) -> Built | None:
    """The table; None where fewer than two settings share an arm judged out of distribution.

    Raises `UserError` where arms answered different texts.
    """
    names = arms(every)
    if len(every) < 2 or not names or not all(map(away, every)):
        return None
    tests = {
        (name, OTHER): over_settings(every, difference(name))
        for name in names
        if OTHER in names and name != OTHER
    }
    p = holm({k: metrics.zero_test(one.value, one.draws).p_value for k, one in tests.items()})
    rows = []
    for name in names:
        test = tests.get((name, OTHER))
        compared = ("", "") if test is None else (test.show(100, 1), p_value(p, (name, OTHER)))
        rows.append((name, *_published(name), *_ours(every, name), *compared))
    columns = (ID_PUBLISHED, OOD_PUBLISHED, ID_ACCURACY, OOD_ACCURACY, ID_AUROC, OOD_AUROC)
    header = (FIRST, *columns, DIFFERENCE, BOOTSTRAP)
    settings = ", ".join(records.facts.setting for records in every)
    seeds = ", ".join(str(run.seed) for run in every[0].get(names[0]))
    source = published()["lecture"]["accuracy_percent"]["source"]
    return Built(
        id="across",
        caption=CAPTION.say(lang, settings=settings, seeds=seeds),
        body=Body(
            tuple(column.say(lang, other=OTHER) for column in header),
            (tuple(rows),),
            (NOTE.say(lang, tests=len(tests), source=source),),
        ),
        missing=(),
        lang=lang,
    )


def _published(name: str) -> Row:
    """The lecture's accuracies of an arm, at home and elsewhere."""
    table = published()["lecture"]["accuracy_percent"]
    if PUBLISHED_ARMS.get(name) not in table["columns"]:
        return ("", "")
    column = table["columns"].index(PUBLISHED_ARMS[name])
    return str(table["id"][column]), str(table["ood"][column])


def _ours(every: Sequence[Records], name: str) -> Row:
    """Accuracies and AUROC, at home and elsewhere; no AUROC where nothing is human."""
    shown = [over_settings(every, accuracy(name), home).show(100, 1) for home in (True, False)]
    if all(Corpus.human in run.labels for records in every for run in records.get(name)):
        shown += [over_settings(every, auroc(name), home).show() for home in (True, False)]
    else:
        shown += [MISSING, MISSING]
    return tuple(shown)
