"""Tables over several settings of a study: means over its domains, beside published numbers.

Every setting counts the same, and within it every split out of distribution. Intervals are over
the texts and the seeds, whose numbers are averaged over settings seed by seed; the settings
themselves are taken as given, for four domains are no sample of domains.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID, OOD
from lowrank_da.run import one_training
from lowrank_da.uncertainty import BySeed, Mean
from paper import estimate, words
from paper.arms import found
from paper.published import published
from paper.table import MISSING, Body, Built, Records, Row
from paper.tables.comparison import FIRST, P_VALUE, holm, p_value
from paper.tables.out_of_domain import ranked
from paper.words import Text

PUBLISHED_ARMS = {
    "full": "fine-tuning",
    "linear_probe": "probing",
    "lp_ft": "probing then fine-tuning",
}
"""Our arms by what the lecture calls them."""
OTHERS = ("full", "lora_kaiming")
"""What all are held against: the first one that some setting has."""

ID_PUBLISHED = Text("published, ID, %", "в лекции, ID, %")
OOD_PUBLISHED = Text("published, OOD, %", "в лекции, OOD, %")
ID_ACCURACY = Text("balanced accuracy, ID, %", "balanced accuracy, ID, %")
OOD_ACCURACY = Text("balanced accuracy, OOD, %", "balanced accuracy, OOD, %")
ID_AUROC, OOD_AUROC = Text("AUROC, ID", "AUROC, ID"), Text("AUROC, OOD", "AUROC, OOD")
DIFFERENCE = Text("OOD above {other}, points", "OOD выше {other}, п.п.")
CARRIED = Text("OOD - ID above that of {other}, points", "OOD - ID выше, чем у {other}, п.п.")
IN_OTHERS = Text(
    "In and out of distribution, means over the settings {settings}. Seeds {seeds}.",
    "В распределении и вне его, средние по настройкам {settings}. Начальные числа {seeds}.",
)
IN_OTHER_COLLECTION = Text(
    "At home and in the other collection, means over the settings {settings}. Seeds {seeds}.",
    "Дома и в другой коллекции, средние по настройкам {settings}. Начальные числа {seeds}.",
)
OF_COLLECTION = Text(
    "out of distribution in the collection that was trained on",
    "вне распределения в той коллекции, на которой обучали",
)
OF_OTHER_COLLECTION = Text("of the other collection", "другой коллекции")
NOTE = Text(
    "Every setting counts the same, and within it every split {which}; the intervals are not over"
    " settings, which are averaged seed by seed. Balanced accuracy: the mean of the classes'"
    " recall, which is accuracy where they have equally many texts.",
    "Все настройки имеют один вес, в каждой одинаков вес всех выборок {which}; интервалы не по"
    " настройкам, которые усреднены отдельно для каждого начального числа. Balanced accuracy:"
    " среднее recall классов, то же, что accuracy при равном числе текстов.",
)
TESTS_NOTE = Text(
    "p-values are adjusted by Holm's method over the {tests} tests of this table; the last"
    " difference says who loses less on the way, whatever was there to lose.",
    "p-значения с поправкой Холма на {tests} тестов этой таблицы; последняя разность показывает,"
    " кто теряет по дороге меньше.",
)
LEFT_OUT = Text(
    "Not in every setting under the same seeds, and left out: {names}.",
    "Не во всех настройках с одними и теми же начальными числами и потому не показаны: {names}.",
)
PUBLISHED_NOTE = Text(
    "Published: accuracy, {source}, with other tasks and models.",
    "В лекции: accuracy, {source}; задачи и модели там другие.",
)

Measure = Callable[[Records, str, str], BySeed]
"""Of a setting's records of an arm on one split."""


@dataclass(frozen=True)
class Kind:
    """Which splits out of distribution a table is of."""

    id: str
    caption: Text
    which: Text
    """The splits, in words."""
    parts: int
    """Of the split's name: `ood/xsum` has two, `ood/outfox/davinci` three."""

    def away(self, records: Records) -> list[str]:
        """The splits of this kind that the arms of a setting were judged on."""
        runs = (run for name in found(records.runs) for run in records.get(name))
        every = {role for run in runs for role in run.result["splits"] if role.startswith(OOD)}
        return sorted(role for role in every if len(role.split("/")) == self.parts)


KINDS = (
    Kind("across", IN_OTHERS, OF_COLLECTION, 2),
    Kind("across_collections", IN_OTHER_COLLECTION, OF_OTHER_COLLECTION, 3),
)


def everywhere(every: Sequence[Records]) -> list[str]:
    """The arms that some setting has."""
    return sorted({name for records in every for name in found(records.runs)})


def arms(every: Sequence[Records], kind: Kind) -> list[str]:
    """The arms that all settings have under the same seeds, judged on all of their splits."""

    def there(name: str) -> bool:
        seeds = {tuple(run.seed for run in records.get(name)) for records in every}
        judged = (
            role in run.result["splits"]
            for records in every
            for run in records.get(name)
            for role in (ID, *kind.away(records))
        )
        return len(seeds) == 1 and () not in seeds and all(judged)

    return [name for name in everywhere(every) if there(name)]


def accuracy(records: Records, name: str, role: str) -> BySeed:
    """Balanced, of an arm."""
    return estimate.confusion_by_seed(records.get(name), metrics.balanced_accuracy, role)


def auroc(records: Records, name: str, role: str) -> BySeed:
    """Of an arm, machine against human."""
    return estimate.ranking_by_seed(records.get(name), metrics.auroc, role)


def elsewhere(records: Records, name: str, measure: Measure, kind: Kind) -> BySeed:
    """The mean of a measure over a setting's splits out of distribution."""
    return BySeed.average([measure(records, name, role) for role in kind.away(records)])


def mean(of_settings: Sequence[BySeed]) -> Mean:
    """Over settings, seed by seed: a seed draws the same start in every setting."""
    return BySeed.average(of_settings).mean()


def above(
    every: Sequence[Records], of: Mapping[str, Sequence[BySeed]], first: str, second: str
) -> Mean | None:
    """How far one arm is above another in the mean over settings; `of` an arm are its numbers.

    A setting in which the two are one training adds exactly nothing; None where all are such.
    """
    same = [one_training(records.get(first), records.get(second)) for records in every]
    apart = [i for i, one in enumerate(same) if not one]
    if not apart:
        return None
    own, other = (BySeed.average([of[name][i] for i in apart]) for name in (first, second))
    share, there = len(apart) / len(every), uncertainty.difference(own, other)
    return Mean(share * there.value, share * there.drawn)


def build(every: Sequence[Records], kind: Kind, lang: str) -> Built | None:
    """The table; None where fewer than two settings share an arm judged on such splits.

    Raises `UserError` where arms answered different texts.
    """
    every = [records for records in every if kind.away(records)]
    names = arms(every, kind)
    if len(every) < 2 or not names:
        return None
    home = {name: [accuracy(r, name, ID) for r in every] for name in names}
    away = {name: [elsewhere(r, name, accuracy, kind) for r in every] for name in names}
    lost = {n: [a - h for a, h in zip(away[n], home[n], strict=True)] for n in names}
    other = next((name for name in OTHERS if name in everywhere(every)), None)
    other = other if other in names else None
    tests: dict[tuple[str, str], Mean | None] = {}
    for name in names:
        if other is not None and name != other:
            refuse_other_texts(every, name, other, kind)
            tests[name, "away"] = above(every, away, name, other)
            tests[name, "lost"] = above(every, lost, name, other)
    p = holm({pair: test.p_value for pair, test in tests.items() if test})
    beside = all(arm in names for arm in PUBLISHED_ARMS)
    rankings = all(
        ranked(run, role)
        for r in every
        for name in names
        for run in r.get(name)
        for role in (ID, *kind.away(r))
    )
    rows = []
    for name in names:
        row: Row = (name, *(_published(name) if beside else ()))
        row += (points(mean(home[name]), 0, 1), points(mean(away[name]), 0, 1))
        row += _ranking(every, name, kind) if rankings else (MISSING, MISSING)
        for what in ("away", "lost") if other is not None else ():
            pair = name, what
            row += (shown(tests[pair], lang) if pair in tests else "", p_value(p, pair))
        rows.append(row)
    columns: tuple[Text, ...] = (ID_PUBLISHED, OOD_PUBLISHED) if beside else ()
    columns += (ID_ACCURACY, OOD_ACCURACY, ID_AUROC, OOD_AUROC)
    columns += (DIFFERENCE, P_VALUE, CARRIED, P_VALUE) if other is not None else ()
    notes = [NOTE.say(lang, which=kind.which.say(lang))]
    if p:
        notes.append(TESTS_NOTE.say(lang, tests=len(p)))
    if beside:
        source = published()["lecture"]["source"]
        notes.append(PUBLISHED_NOTE.say(lang, source=source))
    left_out = [name for name in everywhere(every) if name not in names]
    if left_out:
        notes.append(LEFT_OUT.say(lang, names=", ".join(left_out)))
    settings = ", ".join(records.facts.setting for records in every)
    seeds = sorted({run.seed for name in names for run in every[0].get(name)})
    header = tuple(column.say(lang, other=other) for column in (FIRST, *columns))
    return Built(
        id=kind.id,
        caption=kind.caption.say(lang, settings=settings, seeds=", ".join(map(str, seeds))),
        body=Body(header, (tuple(rows),), tuple(notes)),
        missing=(),
        lang=lang,
        several_seeds=any(len(every[0].get(name)) > 1 for name in names),
    )


def refuse_other_texts(every: Sequence[Records], name: str, other: str, kind: Kind) -> None:
    """Raise `UserError` unless two arms answered the same texts in every setting."""
    for records in every:
        for role in (ID, *kind.away(records)):
            estimate.refuse_unless_paired(records.get(name), records.get(other), role)


def points(drawn: Mean, low: float = -1, high: float = 1) -> str:
    """`84.3 [82.0, 86.1]`: a share, or a difference of two, in hundredths."""
    one = estimate.Estimate.of(drawn, None, low, high)
    return f"{100 * one.value:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def shown(test: Mean | None, lang: str) -> str:
    """A difference in hundredths, or that there is none to test."""
    return words.ONE_TRAINING.say(lang) if test is None else points(test)


def _ranking(every: Sequence[Records], name: str, kind: Kind) -> Row:
    """AUROC at home and elsewhere."""
    home = mean([auroc(records, name, ID) for records in every])
    away = mean([elsewhere(records, name, auroc, kind) for records in every])
    return tuple(estimate.Estimate.of(one, None, 0, 1).show() for one in (home, away))


def _published(name: str) -> Row:
    """The lecture's accuracies of an arm, at home and elsewhere."""
    table = published()["lecture"]["accuracy_percent"]
    if PUBLISHED_ARMS.get(name) not in table["columns"]:
        return ("", "")
    column = table["columns"].index(PUBLISHED_ARMS[name])
    return str(table["id"][column]), str(table["ood"][column])
