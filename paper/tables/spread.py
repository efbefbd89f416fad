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
TOKENS, START = Text("tokens", "токенов"), Text("start", "начало")
DEVIATION = Text("standard deviation over seeds", "стандартное отклонение по начальным числам")
ABOVE = Text("above random start", "выше случайного начала")
ENDS = Text("least to greatest", "от наименьшего до наибольшего")
TEST = Text("p, equal spread (Holm)", "p, равный разброс (Холм)")
NOTE = Text(
    "The standard deviation is that of macro-F1 on id between seeds that answer the same texts; its"
    " 95 % interval is that of a normal sample's. p: Brown-Forsythe test that both starts of a"
    " length spread equally, as if their seeds were independent. p-values are adjusted by Holm's"
    " method, over {above} differences and {apart} tests of spread. With few seeds a large p does"
    " not show that there is no difference.",
    "Стандартное отклонение macro-F1 на id между начальными числами на одних и тех же текстах; его"
    " 95 %-й интервал как у нормальной выборки. p: тест Брауна-Форсайта на равный разброс обоих"
    " начал одной длины (как при независимых начальных числах). p с поправкой Холма: разностей"
    " {above}, тестов разброса {apart}. При немногих начальных числах большое p не доказывает"
    " равенства.",
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


def macro_f1(runs: Sequence[Run]) -> NDArray[np.float64]:
    """(seeds,) on *id*."""
    return np.array([float(metrics.macro_f1(run.confusion(ID))) for run in runs])


@dataclass(frozen=True, kw_only=True)
class Spread(Table):
    """A row a length and start."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every prompt at hand."""
        return [run for several in by_prompt(runs).values() for run in several]

    def applies(self, runs: Runs) -> bool:
        """Where prompts of several lengths are."""
        return len({tokens for tokens, _ in by_prompt(runs)}) > 1

    def body(self, records: Records) -> Body:
        """One group a length; both tests stand in the row of the start from words."""
        prompts = by_prompt(records.runs)
        random, text = STARTS
        pairs = {
            (str(tokens), start): (runs, prompts[tokens, random])
            for (tokens, start), runs in prompts.items()
            if start == text and (tokens, random) in prompts
        }
        above = {row: compare(*pair) for row, pair in pairs.items()}
        apart = {row: p for row, pair in pairs.items() if (p := brown_forsythe(*pair)) is not None}
        p_above = holm({row: test.p_value for row, test in above.items()})
        p_apart = holm(apart)
        groups: dict[str, list[Row]] = {}
        for (tokens, start), runs in prompts.items():
            row = (str(tokens), start)
            test = (_short(above[row].difference) if row in above else "", p_value(p_above, row))
            mean = _short(estimate.of_confusion(runs, metrics.macro_f1)[()])
            cells = (*row, mean, *test, *_spread(macro_f1(runs)), p_value(p_apart, row))
            groups.setdefault(row[0], []).append(cells)
        columns = (TOKENS, START, words.MACRO_F1, ABOVE, P_VALUE, DEVIATION, ENDS, TEST)
        header = tuple(column.say(records.lang) for column in columns)
        note = NOTE.say(records.lang, above=len(above), apart=len(apart))
        return Body(header, tuple(map(tuple, groups.values())), (note,))


def brown_forsythe(*samples: Sequence[Run]) -> float | None:
    """The p-value of equal spread; None where seeds are too few or all alike."""
    own = [macro_f1(runs) for runs in samples]
    if any(len(one) < 3 for one in own) or all(np.ptp(one) == 0 for one in own):
        return None
    return float(stats.levene(*own, center="median").pvalue)


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
