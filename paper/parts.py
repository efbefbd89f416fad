"""What of LP-FT's gain out of distribution is its learning rate's, and what its head's.

The study `lp_ft` trains fine-tuning alone at LP-FT's rate, too: from fine-tuning to this control
the rate alone changes, from the control to LP-FT the head alone that training starts with.
"""

from collections.abc import Sequence

from lowrank_da import uncertainty
from lowrank_da.uncertainty import Mean
from paper import across
from paper.table import Body, Built, Records, Row
from paper.tables.comparison import P_VALUE, holm, p_value
from paper.words import Text

GAIN, RATE, HEAD = ("lp_ft", "full"), ("full_as_lp_ft", "full"), ("lp_ft", "full_as_lp_ft")
"""Pairs of arms: the first less the second."""
ARMS = ("full", "full_as_lp_ft", "lp_ft")
KIND = across.KINDS[0]

SETTING, MEAN = Text("setting", "настройка"), Text("mean", "среднее")
LP_FT = Text("LP-FT above full, points", "LP-FT выше full, п.п.")
FROM_RATE = Text(
    "the rate's part: full_as_lp_ft above full", "часть скорости: full_as_lp_ft выше full"
)
FROM_HEAD = Text(
    "the head's part: LP-FT above full_as_lp_ft", "часть головы: LP-FT выше full_as_lp_ft"
)
CAPTION = Text(
    "What of LP-FT's gain out of distribution is its learning rate's, and what its head's. Seeds"
    " {seeds}.",
    "Что в выигрыше LP-FT вне распределения от скорости обучения, а что от головы. Начальные числа"
    " {seeds}.",
)
NOTE = Text(
    "Differences of balanced accuracy. p-values are adjusted by Holm's method over the {tests}"
    " tests of both parts. LP-FT at fine-tuning's rate was not trained: whether head and rate need"
    " each other is not asked.",
    "Разности balanced accuracy. p с поправкой Холма на {tests} тестов обеих частей. LP-FT при"
    " скорости full не обучалась: нужны ли голова и скорость друг другу, здесь не спрашивается.",
)


def build(every: Sequence[Records], lang: str) -> Built | None:
    """A row a setting, then their mean; None where fewer than two settings have the three arms.

    Raises `UserError` where arms answered different texts.
    """
    every = [r for r in every if KIND.away(r) and all(r.get(name) for name in ARMS)]
    if len(every) < 2:
        return None
    for name in ARMS[1:]:
        across.refuse_other_texts(every, name, ARMS[0], KIND)
    away = {n: [across.elsewhere(r, n, across.accuracy, KIND) for r in every] for n in ARMS}
    settings = [records.facts.setting for records in every]
    several = {name: slice(i, i + 1) for i, name in enumerate(settings)}
    several[MEAN.say(lang)] = slice(None)

    def test(pair: tuple[str, str], which: slice) -> Mean:
        return uncertainty.difference(*(away[name][which] for name in pair))

    parts = {
        (row, pair[0]): test(pair, which) for row, which in several.items() for pair in (RATE, HEAD)
    }
    p = holm({part: one.p_value for part, one in parts.items()})
    rows: list[Row] = []
    for row, which in several.items():
        cells: Row = (row, across.points(test(GAIN, which)))
        for name, _ in (RATE, HEAD):
            cells += (across.points(parts[row, name]), p_value(p, (row, name)))
        rows.append(cells)
    columns = (SETTING, LP_FT, FROM_RATE, P_VALUE, FROM_HEAD, P_VALUE)
    seeds = sorted({run.seed for records in every for name in ARMS for run in records.get(name)})
    return Built(
        id="parts",
        caption=CAPTION.say(lang, seeds=", ".join(map(str, seeds))),
        body=Body(
            tuple(column.say(lang) for column in columns),
            (tuple(rows[:-1]), tuple(rows[-1:])),
            (NOTE.say(lang, tests=len(parts)),),
        ),
        missing=(),
        lang=lang,
        several_seeds=len(seeds) > 1,
    )
