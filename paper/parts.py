"""What of an arm's difference out of distribution is its learning rate's, and what its start's.

A study that compares starts tunes a rate for each, and a rate may carry over by itself. So it
trains a control, the usual start at the other one's rate: from the usual arm to the control the
rate alone changes, from the control to the other arm the start alone. Controls are found by their
names: `full_as_lp_ft` is `full` at the rate of `lp_ft`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from paper import across
from paper.table import Body, Built, Records, Row
from paper.tables.comparison import P_VALUE, holm, p_value
from paper.words import Text

KIND = across.KINDS[0]
AS = "_as_"


@dataclass(frozen=True)
class Parts:
    """Three arms whose differences are a whole and its two parts."""

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
WHOLE = Text("{arm} above {usual}, points", "{arm} выше {usual}, п.п.")
OF_RATE = Text("the rate's part: {control} above {usual}", "часть скорости: {control} выше {usual}")
OF_START = Text("the start's part: {arm} above {control}", "часть начала: {arm} выше {control}")
CAPTION = Text(
    "What of the difference of {arm} to {usual} out of distribution is its learning rate's, and"
    " what its start's. Seeds {seeds}.",
    "Что в разности {arm} и {usual} вне распределения от скорости обучения, а что от начала."
    " Начальные числа {seeds}.",
)
NOTE = Text(
    "Differences of balanced accuracy. p-values are adjusted by Holm's method over the {tests}"
    " tests of both parts, whatever other tables test. Where both arms have one rate the control is"
    " {usual} itself: the same training, and nothing to test. Where they have two, {arm} was not"
    " trained at that of {usual}: whether start and rate need each other is not asked.",
    "Разности balanced accuracy. p с поправкой Холма на {tests} тестов обеих частей, без тестов"
    " других таблиц. Где скорость у обеих моделей одна, контроль есть сама {usual}: одно и то же"
    " обучение, проверять нечего. Где скорости разные, {arm} при скорости {usual} не обучалась:"
    " нужны ли начало и скорость друг другу, здесь не спрашивается.",
)


def build(every: Sequence[Records], parts: Parts, lang: str) -> Built | None:
    """A row a setting, then their mean; None where fewer than two settings have the three arms.

    Raises `UserError` where arms answered different texts.
    """
    names = (parts.usual, parts.control, parts.arm)
    every = [r for r in every if KIND.away(r) and all(r.get(name) for name in names)]
    if len(every) < 2 or not {*names} <= {*across.arms(every, KIND)}:
        return None
    for name in names[1:]:
        across.refuse_other_texts(every, name, parts.usual, KIND)
    away = {n: [across.elsewhere(r, n, across.accuracy, KIND) for r in every] for n in names}
    settings = {records.facts.setting: slice(i, i + 1) for i, records in enumerate(every)}
    settings[MEAN.say(lang)] = slice(None)
    pairs = {
        "whole": (parts.arm, parts.usual),
        "rate": (parts.control, parts.usual),
        "start": (parts.arm, parts.control),
    }
    made = {
        (row, part): across.above(every[which], {n: away[n][which] for n in pair}, *pair)
        for row, which in settings.items()
        for part, pair in pairs.items()
    }
    p = holm({at: one.p_value for at, one in made.items() if one and at[1] != "whole"})
    rows: list[Row] = []
    for row in settings:
        cells: Row = (row, across.shown(made[row, "whole"], lang))
        for part in ("rate", "start"):
            cells += (across.shown(made[row, part], lang), p_value(p, (row, part)))
        rows.append(cells)
    said = {"arm": parts.arm, "control": parts.control, "usual": parts.usual}
    columns = (SETTING, WHOLE, OF_RATE, P_VALUE, OF_START, P_VALUE)
    seeds = sorted({run.seed for records in every for name in names for run in records.get(name)})
    return Built(
        id=f"parts_{parts.arm}",
        caption=CAPTION.say(lang, seeds=", ".join(map(str, seeds)), **said),
        body=Body(
            tuple(column.say(lang, **said) for column in columns),
            (tuple(rows[:-1]), tuple(rows[-1:])),
            (NOTE.say(lang, tests=len(p), **said),),
        ),
        missing=(),
        lang=lang,
        several_seeds=len(seeds) > 1,
    )
