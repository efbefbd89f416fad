"""Prompt tuning by length and start: how good, and how far its seeds lie apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lowrank_da import metrics
from lowrank_da.corpus import ID
from lowrank_da.run import Run
from paper import estimate, words
from paper.arms import found
from paper.table import MISSING, Body, Records, Row, Runs, SettingFacts, Table
from paper.tables.comparison import P_VALUE, compare, holm, p_value
from paper.words import Text

NAME = re.compile(r"prompt_(?P<tokens>\d+)_(?P<start>\w+)")
"""How the arms of a study over prompts are named."""
STARTS = ("random", "text")
OTHER = "lora"
"""The arm to whose spread that of all others is held, where it is there."""
TOKENS, START = Text("tokens", "токенов"), Text("start", "начало")
DEVIATION = Text("standard deviation over seeds", "стандартное отклонение по начальным числам")
ABOVE = Text("above random start", "выше случайного начала")
ENDS = Text("least to greatest", "от наименьшего до наибольшего")
BETWEEN = Text("p, equal spread of both starts (Holm)", "p, равный разброс обоих начал (Холм)")
AGAINST = Text("p, equal spread to {other} (Holm)", "p, равный разброс с {other} (Холм)")
NOTE = Text(
    "The standard deviation is that of macro-F1 on id between seeds that answer the same texts; its"
    " 95 % interval is that of a normal sample's. p of equal spread: Brown-Forsythe test, as if all"
    " seeds were independent. p-values are adjusted by Holm's method over their column's tests."
    " With few seeds a large p does not show that there is no difference.",
    "Стандартное отклонение macro-F1 на id между начальными числами на одних и тех же текстах; его"
    " 95 %-й интервал как у нормальной выборки. p равного разброса: тест Брауна-Форсайта, как при"
    " независимых начальных числах. p с поправкой Холма на число тестов столбца. При немногих"
    " начальных числах большое p не доказывает равенства.",
)


def deviation(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Standard deviation of n values, and its 95 % interval were they normal: from chi-square."""
    n, own = len(values), float(values.std(ddof=1))
    low, high = (own * np.sqrt((n - 1) / stats.chi2.ppf(q, n - 1)) for q in (0.975, 0.025))
    return own, float(low), float(high)


def by_prompt(runs: Runs) -> dict[tuple[int, str], Sequence[Run]]:
    """The seeds of each arm by length and start, in the order of both."""
    matches = {name: NAME.fullmatch(name) for name in found(runs)}
    prompts = {(int(m["tokens"]), m["start"]): runs[name] for name, m in matches.items() if m}
    return dict(sorted(prompts.items()))


def beside(runs: Runs) -> list[str]:
    """The arms that are no prompts: what prompts are held against."""
    return [name for name in found(runs) if not NAME.fullmatch(name)]


def macro_f1(runs: Sequence[Run]) -> NDArray[np.float64]:
    """(seeds,) on *id*."""
    return np.array([float(metrics.macro_f1(run.confusion(ID))) for run in runs])


@dataclass(frozen=True, kw_only=True)
class Spread(Table):
    """A row a length and start."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every arm at hand."""
        return [run for name in found(runs) for run in runs[name]]

    def applies(self, runs: Runs) -> bool:
        """Where prompts of several lengths are."""
        return len({tokens for tokens, _ in by_prompt(runs)}) > 1

    def body(self, records: Records) -> Body:
        """One group a length, the tests of both starts in the words' row; then the other arms."""
        prompts, other = by_prompt(records.runs), records.get(OTHER)
        arms = {(str(tokens), start): runs for (tokens, start), runs in prompts.items()}
        arms |= {(name, ""): records.get(name) for name in beside(records.runs)}
        random, text = STARTS
        pairs = {
            (length, start): (runs, arms[length, random])
            for (length, start), runs in arms.items()
            if start == text and (length, random) in arms
        }
        above = {row: compare(*pair) for row, pair in pairs.items()}
        p_above = holm({row: test.p_value for row, test in above.items()})
        p_between = _equal_spread(pairs)
        p_against = _equal_spread(
            {row: (runs, other) for row, runs in arms.items() if row[0] != OTHER}
        )
        groups: dict[str, list[Row]] = {}
        for row, runs in arms.items():
            mean = _short(estimate.of_confusion(runs, metrics.macro_f1)[()])
            test = (_short(above[row].difference) if row in above else "", p_value(p_above, row))
            cells: Row = (*row, mean, *test, *_spread(macro_f1(runs)), p_value(p_between, row))
            cells += (p_value(p_against, row),) if other else ()
            groups.setdefault(row[0] if row[1] else "", []).append(cells)
        columns = [TOKENS, START, words.MACRO_F1, ABOVE, P_VALUE, DEVIATION, ENDS, BETWEEN]
        columns += [AGAINST] if other else []
        header = tuple(column.say(records.lang, other=OTHER) for column in columns)
        return Body(header, tuple(map(tuple, groups.values())), (NOTE.say(records.lang),))


def _equal_spread(
    pairs: dict[tuple[str, str], tuple[Sequence[Run], Sequence[Run]]],
) -> dict[tuple[str, str], float]:
    """By row the p-value of the Brown-Forsythe test, adjusted; none for too few or equal seeds."""
    tests = {}
    for row, pair in pairs.items():
        own = [macro_f1(runs) for runs in pair]
        if all(len(one) > 2 for one in own) and any(np.ptp(one) > 0 for one in own):
            tests[row] = float(stats.levene(*own, center="median").pvalue)
    return holm(tests)


def _short(of: estimate.Estimate) -> str:
    """Without the spread, which has columns of its own."""
    return replace(of, spread=None).show()


def _spread(f1: NDArray[np.float64]) -> tuple[str, str]:
    shown = MISSING
    if len(f1) > 1:
        own, low, high = deviation(f1)
        shown = f"{own:.3f} [{low:.3f}, {high:.3f}]"
    return shown, f"{f1.min():.3f}–{f1.max():.3f}"


TABLES = (
    Spread(
        id="spread",
        title=Text(
            "Prompt tuning by length and start: quality and its spread over seeds",
            "Prompt tuning по длине и началу: качество и его разброс по начальным числам",
        ),
    ),
)
