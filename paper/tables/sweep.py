"""A sweep over one parameter: quality on *select*, size, time and the rank used, by its value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID, SELECT
from lowrank_da.run import TRIAL, WINNER, Run
from lowrank_da.uncertainty import BySeed
from paper import estimate, words
from paper.rows import mean_seconds
from paper.table import (
    MISSING,
    Body,
    Records,
    Row,
    Runs,
    SettingFacts,
    Table,
    of_sweep,
    thousands,
)
from paper.tables.comparison import P_VALUE, compare, holm, p_value
from paper.tables.effective_rank import effective_rank, spectra
from paper.words import Text

NAME = re.compile(rf"{TRIAL}(?P<parameter>[a-z_]+)_(?P<value>\d+)")
"""How the trials of a sweep over one whole number are named."""
CUT = "cut"
ON_SELECT = Text("macro-F1 on select", "macro-F1 на выборке для отбора")
ADAPTER = Text("adapter parameters", "параметров адаптера")
EFFECTIVE = Text("effective rank", "эффективный ранг")
CUT_TO = Text("the widest cut to it", "самый широкий, урезанный до него")
LEFT_OUT = Text("left out, squared", "отброшено, в квадрате")
CUT_F1 = Text("macro-F1 that it gains by that", "прирост macro-F1 от этого")
CUT_LOSS = Text("log loss that it gains by that", "прирост log loss от этого")
ABOVE = Text("above {parameter} {greatest}", "выше, чем {parameter} {greatest}")
CHOSEN = Text("chosen", "выбран")
BEST = Text("best on select", "лучший на выборке для отбора")
NOTE = Text(
    "Every value was judged on select alone. The effective rank, exp(H) of the singular values"
    " divided by their sum, is a mean over maps. The widest update, cut to a rank without any more"
    " training, leaves out the squares of the other singular values, summed over the maps (C10)."
    " Gains are against the same update before it is cut; log loss is of the stored probabilities."
    " Paired tests hold every {parameter} against {greatest}: p-values are adjusted by Holm's"
    " method over {tests} tests (never below {floor} before), intervals are not.",
    "Каждое значение оценено только на выборке для отбора. Эффективный ранг, exp(H) сингулярных"
    " чисел, делённых на их сумму, есть среднее по матрицам. Самое широкое обновление, урезанное до"
    " ранга без дообучения, отбрасывает квадраты остальных сингулярных чисел, в сумме по матрицам"
    " (C10). Приросты относительно того же неурезанного обновления; log loss по записанным"
    " вероятностям. Парные тесты сравнивают каждое значение {parameter} с {greatest}: p-значения с"
    " поправкой Холма на {tests} тестов (до неё не меньше {floor}), интервалы без поправки.",
)
ON_ID = Text(
    "The chosen one, trained anew and judged once on id: macro-F1 {f1}.",
    "Выбранный вариант, обученный заново и один раз оценённый на id: macro-F1 {f1}.",
)


def swept(runs: Runs) -> dict[int, Sequence[Run]]:
    """The trials by the parameter's value, rising."""
    matches = ((NAME.fullmatch(name), name) for name in runs if runs[name])
    found = {int(m["value"]): runs[n] for m, n in matches if m and m["parameter"] != CUT}
    return dict(sorted(found.items()))


def cut(runs: Runs, value: int) -> Sequence[Run]:
    """The widest update cut to that rank, or nothing."""
    return runs.get(f"{TRIAL}{CUT}_{value}", ())


def parameter(runs: Runs) -> str:
    """The name of what was swept."""
    names = [m["parameter"] for name in runs if (m := NAME.fullmatch(name))]
    return next(name for name in names if name != CUT)


def mean_rank(run: Run) -> float | None:
    """The mean effective rank over maps; None where the record holds no singular values."""
    ranks = [effective_rank(values) for values in spectra(run)]
    return float(np.mean(ranks)) if ranks else None


@dataclass(frozen=True, kw_only=True)
class Swept(Table):
    """A row a value."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every trial at hand."""
        return [run for of_value in swept(runs).values() for run in of_value]

    def roles(self, runs: Runs) -> tuple[str, ...]:
        """The one on which choices are made."""
        return (SELECT,)

    def applies(self, runs: Runs) -> bool:
        """Where several of a sweep's trials are."""
        return len(swept(runs)) > 1

    def again(self, used: Sequence[Run]) -> str:
        """The sweep itself."""
        return of_sweep(used[0]) if used else ""

    def body(self, records: Records) -> Body:
        """The value with the best mean macro-F1 is marked."""
        lang, by_value = records.lang, swept(records.runs)
        name = parameter(records.runs) if by_value else MISSING
        greatest = max(by_value, default=0)
        whole = cut(records.runs, greatest)
        above = _above(by_value, greatest)
        header = (
            name,
            ON_SELECT.say(lang),
            ABOVE.say(lang, parameter=name, greatest=greatest),
            *(column.say(lang) for column in (P_VALUE, ADAPTER, words.SECONDS, EFFECTIVE)),
            *(column.say(lang) for column in (CUT_TO, CUT_F1, CUT_LOSS, LEFT_OUT, CHOSEN)),
        )
        f1 = {
            value: estimate.of_confusion(runs, metrics.macro_f1, SELECT)[()]
            for value, runs in by_value.items()
        }
        best = max(f1, key=lambda value: f1[value].value, default=None)
        rows = tuple(
            (
                str(value),
                f1[value].show(),
                *above.get(value, ("", "")),
                *_costs(runs),
                *_cut_cells(cut(records.runs, value), whole),
                BEST.say(lang) if value == best else "",
            )
            for value, runs in by_value.items()
        )
        floor = f"{2 / (uncertainty.RESAMPLES + 1):.4f}"
        said = {"parameter": name, "greatest": greatest, "tests": len(above), "floor": floor}
        notes = [NOTE.say(lang, **said)]
        if records.get(WINNER):
            on_id = estimate.of_confusion(records.get(WINNER), metrics.macro_f1, ID)[()]
            notes.append(ON_ID.say(lang, f1=on_id.show()))
        return Body(header, (rows,), tuple(notes))


def _above(by_value: dict[int, Sequence[Run]], greatest: int) -> dict[int, Row]:
    """How far every other value is above the greatest one, and the adjusted p-value."""
    tests = {
        (str(value), str(greatest)): compare(runs, by_value[greatest], SELECT)
        for value, runs in by_value.items()
        if value != greatest
    }
    p = holm({pair: test.p_value for pair, test in tests.items()})
    return {int(pair[0]): (tests[pair].difference.show(), p_value(p, pair)) for pair in tests}


def _costs(runs: Sequence[Run]) -> Row:
    """Parameters, seconds, and how much of its rank the update uses."""
    seconds, ranks = mean_seconds(runs), [mean_rank(run) for run in runs]
    known = [rank for rank in ranks if rank is not None]
    return (
        thousands(runs[0].result["parameters"]["adapter"]),
        MISSING if seconds is None else f"{seconds:.1f}",
        f"{np.mean(known):.2f}" if known else "",
    )


def _cut_cells(runs: Sequence[Run], whole: Sequence[Run]) -> Row:
    """Macro-F1 of the widest update cut to a rank, what that changes, and what it leaves out."""
    if not runs:
        return ("", "", "", "")
    f1 = estimate.of_confusion(runs, metrics.macro_f1, SELECT)[()]
    left_out = f"{np.mean([run.result['left_out'] for run in runs]):.3g}"
    if [run.seed for run in runs] != [run.seed for run in whole]:
        return f1.show(), MISSING, MISSING, left_out
    if runs[0].name == whole[0].name:
        return f1.show(), "", "", left_out
    return f1.show(), gained_f1(runs, whole).show(), gained_loss(runs, whole).show(), left_out


def gained_f1(runs: Sequence[Run], whole: Sequence[Run]) -> estimate.Estimate:
    """How far macro-F1 on *select* is above that of other records of the same trainings."""
    estimate.refuse_unless_paired(runs, whole, SELECT)
    own, other = (estimate.confusion_by_seed(r, metrics.macro_f1, SELECT) for r in (runs, whole))
    return _gained(own - other)


def gained_loss(runs: Sequence[Run], whole: Sequence[Run]) -> estimate.Estimate:
    """How far the mean log loss on *select* is above that of other records of the same seeds.

    Texts are drawn again for both at once.
    """
    by_seed = np.stack([losses(a) - losses(b) for a, b in zip(runs, whole, strict=True)])
    weights = uncertainty.draws(runs[0].predictions[SELECT].group).astype(np.float64)
    drawn = weights @ by_seed.T / weights.sum(axis=1, keepdims=True)
    return _gained(BySeed(by_seed.mean(axis=1), drawn))


def _gained(by_seed: BySeed) -> estimate.Estimate:
    """Seed by seed, for they are the same trainings."""
    _, spread = metrics.mean_and_spread(by_seed.value.tolist())
    return estimate.Estimate.of(by_seed.mean(), spread)


def losses(run: Run) -> NDArray[np.float64]:
    """(texts,) -log p of each text's own class on *select*, in the record's order.

    p is as it is stored, in float16; one that is stored as 0 counts as float16's least above it.
    """
    said = run.predictions[SELECT]
    own = said.probabilities[np.arange(len(said.label)), said.label].astype(np.float64)
    return -np.log(np.maximum(own, float(np.finfo(np.float16).smallest_subnormal)))


TABLES = (Swept(id="sweep", title=Text("The sweep, value by value", "Перебор по значениям")),)
