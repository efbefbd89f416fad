"""What of an arm's gain out of distribution is its learning rate's, and what its start's.

A study that compares starts tunes a rate for each, and a rate may carry over by itself. So it
trains a control, the usual start at the other one's rate: from the usual arm to the control the
rate alone changes, from the control to the other arm the start alone. Controls are found by their
names: `full_as_lp_ft` is `full` at the rate of `lp_ft`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lowrank_da import uncertainty
from lowrank_da.uncertainty import Mean
from paper import across
from paper.table import Body, Built, Records, Row
from paper.tables.comparison import P_VALUE, holm, p_value
from paper.words import Text

KIND = across.KINDS[0]
AS = "_as_"


@dataclass(frozen=True)
class Parts:
    """Three arms whose differences are a gain and its two parts."""

    arm: str
    control: str
    usual: str


def controlled(names: Sequence[str]) -> list[Parts]:
    """Of the controls among these arms: `A_as_B`, A being one and B one, or the end of its name."""
    every = []
    for control in names:
        usual, said, other = control.partition(AS)
        meant = [n for n in names if AS not in n and f"_{n}".endswith(f"_{other}")]
        if said and usual in names and len(meant) == 1:
            every.append(Parts(meant[0], control, usual))
    return every


SETTING, MEAN = Text("setting", "настройка"), Text("mean", "среднее")
GAIN = Text("{arm} above {usual}, points", "{arm} выше {usual}, п.п.")
OF_RATE = Text("the rate's part: {control} above {usual}", "часть скорости: {control} выше {usual}")
OF_START = Text("the start's part: {arm} above {control}", "часть начала: {arm} выше {control}")
CAPTION = Text(
    "What of the gain of {arm} out of distribution is its learning rate's, and what its start's."
    " Seeds {seeds}.",
    "Что в выигрыше {arm} вне распределения от скорости обучения, а что от начала. Начальные числа"
    " {seeds}.",
)
NOTE = Text(
    "Differences of balanced accuracy. p-values are adjusted by Holm's method over the {tests}"
    " tests of both parts. {arm} at the rate of {usual} was not trained: whether start and rate"
    " need each other is not asked.",
    "Разности balanced accuracy. p с поправкой Холма на {tests} тестов обеих частей. {arm} при"
    " скорости {usual} не обучалась: нужны ли начало и скорость друг другу, здесь не спрашивается.",
)


def build(every: Sequence[Records], parts: Parts, lang: str) -> Built | None:
    """A row a setting, then their mean; None where fewer than two settings have the three arms.

    Raises `UserError` where arms answered different texts.
    """
    names = (parts.usual, parts.control, parts.arm)
    every = [r for r in every if KIND.away(r) and all(r.get(name) for name in names)]
    if len(every) < 2:
        return None
    for name in names[1:]:
        across.refuse_other_texts(every, name, parts.usual, KIND)
    away = {n: [across.elsewhere(r, n, across.accuracy, KIND) for r in every] for n in names}
    several = {records.facts.setting: slice(i, i + 1) for i, records in enumerate(every)}
    several[MEAN.say(lang)] = slice(None)

    def above(first: str, second: str) -> dict[str, Mean]:
        return {
            row: uncertainty.difference(away[first][which], away[second][which])
            for row, which in several.items()
        }

    gain = above(parts.arm, parts.usual)
    of_rate, of_start = above(parts.control, parts.usual), above(parts.arm, parts.control)
    tests = {(row, "rate"): one for row, one in of_rate.items()}
    tests |= {(row, "start"): one for row, one in of_start.items()}
    p = holm({part: one.p_value for part, one in tests.items()})
    rows: list[Row] = []
    for row in several:
        cells: Row = (row, across.points(gain[row]))
        for part in ("rate", "start"):
            cells += (across.points(tests[row, part]), p_value(p, (row, part)))
        rows.append(cells)
    said = {"arm": parts.arm, "control": parts.control, "usual": parts.usual}
    columns = (SETTING, GAIN, OF_RATE, P_VALUE, OF_START, P_VALUE)
    seeds = sorted({run.seed for records in every for name in names for run in records.get(name)})
    return Built(
        id=f"parts_{parts.arm}",
        caption=CAPTION.say(lang, seeds=", ".join(map(str, seeds)), **said),
        body=Body(
            tuple(column.say(lang, **said) for column in columns),
            (tuple(rows[:-1]), tuple(rows[-1:])),
            (NOTE.say(lang, tests=len(tests), **said),),
        ),
        missing=(),
        lang=lang,
        several_seeds=len(seeds) > 1,
    )
