"""How far a number would move on other texts and under other seeds: intervals and paired tests.

A number is a statistic of a classifier's answers, the mean over S seeds of its training.

- *Texts* are drawn again by groups (one prompt, one module), for texts of one group are alike: in
  each of R resamples every group counts Poisson(1) times, whatever the others do (the bootstrap
  with Poisson frequencies, Hanley & MacGibbon 2006; of groups: Davison & Hinkley 1997, section
  3.8). How often is a function of the group's hash, so that all classifiers, roles and settings
  that share texts share their draws.
- *Seeds* are too few to be drawn again: of three that lie apart such an interval holds less often
  than it says. Each resample's mean is moved by Student's t, times the standard error over seeds;
  of a difference the errors add up and the degrees of freedom are Welch's. One seed moves nothing:
  its interval says nothing of seeds. Numbers of several arms or settings are averaged seed by seed
  first (`BySeed.average`), for what a seed does to all of them alike is drawn once, not often.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lowrank_da import metrics
from lowrank_da.metrics import Classes, Counts, Statistic, Value

RESAMPLES = 2000
LEVEL = 0.95
AT_ONCE = 250
"""Resamples of a ranking that are computed together: memory for time."""

Groups: TypeAlias = NDArray[np.uint64]
"""(n,) the hash of each text's group."""
Weights: TypeAlias = NDArray[np.int8]
"""(R, n) how often each text counts in each resample."""
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval, both ends included; the ends have the shape of the statistic."""

    low: Value
    high: Value


@lru_cache(maxsize=2**16)
def _frequencies(group: int, resamples: int, seed: int) -> NDArray[np.int8]:
    """(R,) how often a group is drawn."""
    key = np.array([group, seed], dtype=np.uint64)
    chance = np.random.Generator(np.random.Philox(key=key))
    return chance.poisson(1.0, resamples).astype(np.int8)


def draws(groups: Groups, resamples: int = RESAMPLES, seed: int = 0) -> Weights:
    """(R, n): how often each text counts in each resample; texts of one group equally often."""
    each, place = np.unique(groups, return_inverse=True)
    drawn = [_frequencies(int(group), resamples, seed) for group in each]
    return np.stack(drawn, axis=1)[:, place]


def in_parts(weights: Weights) -> list[Weights]:
    """The resamples, some at a time."""
    return np.array_split(weights, max(1, len(weights) // AT_ONCE))


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean over seeds, or a difference of two, drawn over texts and seeds."""

    value: Floats
    """The observed one, (...)."""
    drawn: Floats
    """(R, ...)."""

    def interval(self, level: float = LEVEL) -> Interval:
        """Between percentiles of the draws; those that are nan (a class drawn nowhere) left out."""
        tail = (1 - level) / 2
        return Interval(*np.nanquantile(self.drawn, [tail, 1 - tail], axis=0))

    @property
    def p_value(self) -> float:
        """Two-sided, that the number is zero; not yet adjusted for being one of several.

        With R resamples min(1, 2 min(#{d <= 0} + 1, #{d >= 0} + 1) / (R + 1)), the achieved
        significance level of the percentile interval (Davison & Hinkley 1997, section 4.2): never
        below 2 / (R + 1), and 1 where all draws are 0. Draws that are nan are left out; nan where
        all are.
        """
        drawn = self.drawn[~np.isnan(self.drawn)]
        if not len(drawn):
            return float("nan")
        tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum())) + 1
        return min(1.0, 2 * tail / (len(drawn) + 1))


@dataclass(frozen=True, eq=False)
class BySeed:
    """A number, or an array of them, of each of S seeds of one classifier on the same texts."""

    value: Floats
    """The observed ones, (S, ...)."""
    drawn: Floats
    """(R, S, ...) on R resamples, by the same groups wherever they occur."""

    def __sub__(self, other: Self) -> Self:
        """The difference of two numbers of one classifier, seed by seed."""
        return type(self)(self.value - other.value, self.drawn - other.drawn)

    @classmethod
    def average(cls, several: Sequence[Self]) -> Self:
        """The mean of several numbers, seed by seed: of one classifier, or of several."""
        value = np.mean([one.value for one in several], axis=0)
        return cls(value, np.mean([one.drawn for one in several], axis=0))

    def mean(self) -> Mean:
        """The mean over seeds."""
        return _combined([(1, self)])


def _combined(terms: Sequence[tuple[int, BySeed]]) -> Mean:
    """The sum of means over seeds, each with its sign, the terms taken for independent.

    The seeds' part is Student's t with Satterthwaite's degrees of freedom: of two terms Welch's.
    """
    value = np.sum([sign * term.value.mean(axis=0) for sign, term in terms], axis=0)
    drawn = np.sum([sign * term.drawn.mean(axis=1) for sign, term in terms], axis=0)
    several = [term.value for _, term in terms if len(term.value) > 1]
    if several:
        parts = [own.var(axis=0, ddof=1) / len(own) for own in several]
        variance = np.sum(parts, axis=0)
        spread = [part**2 / (len(own) - 1) for part, own in zip(parts, several, strict=True)]
        freedom = np.divide(
            variance**2, np.sum(spread, axis=0), out=np.ones_like(variance), where=variance > 0
        )
        # As many draws in each part of the distribution as there should be: its tails are long.
        chance = (np.random.default_rng(0).permutation(len(drawn)) + 0.5) / len(drawn)
        t = stdtrit(freedom, chance.reshape(-1, *[1] * variance.ndim))
        drawn = drawn + t * np.sqrt(variance)
    return Mean(value, drawn)


def difference(first: BySeed, second: BySeed) -> Mean:
    """Of two means over seeds.

    The two are taken for independent, and their seeds may be others. Trainings under one seed share
    the order of the texts, and the head's start where nothing is drawn before it; what that does to
    both alike cancels, and the interval is then too wide rather than too narrow.
    """
    return _combined([(1, first), (-1, second)])


def confusions(true: Classes, predicted: Classes, classes: int, weights: Weights) -> Counts:
    """(R, S, k, k): the confusion matrices of S classifiers on R resamples.

    `true` is (n,), `predicted` is (S, n), `weights` (R, n), which all classifiers share.
    """
    cells = np.asarray(true, dtype=np.int64) * classes + predicted
    # Sums of small integers are exact in float32, whose matrix product is the quickest.
    often = weights.astype(np.float32)
    stacks = [often @ np.eye(classes**2, dtype=np.float32)[of_one] for of_one in cells]
    whole = np.stack(stacks, axis=1).astype(np.int64)
    return whole.reshape(len(weights), -1, classes, classes)


def of_confusion(
    statistic: Statistic,
    true: Classes,
    predicted: Classes,
    classes: int,
    groups: Groups,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BySeed:
    """`statistic` of the confusion matrices of S seeds; `true` (n,), `predicted` (S, n)."""
    observed = [metrics.confusion_matrix(true, one, classes) for one in predicted]
    drawn = confusions(true, predicted, classes, draws(groups, resamples, seed))
    return BySeed(np.asarray(statistic(np.stack(observed))), np.asarray(statistic(drawn)))


def of_ranking(
    statistic: Callable[..., Value],
    positive: NDArray[np.bool_],
    scores: Floats,
    groups: Groups,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BySeed:
    """`statistic(positive, score, weights)` of the rankings of S seeds; `scores` is (S, n)."""
    parts = in_parts(draws(groups, resamples, seed))
    drawn = [np.concatenate([statistic(positive, s, part) for part in parts]) for s in scores]
    observed = [statistic(positive, score) for score in scores]
    return BySeed(np.array(observed), np.stack(drawn, axis=1))


def paired(
    true: Classes,
    predicted_a: Classes,
    predicted_b: Classes,
    classes: int,
    groups: Groups,
    statistic: Statistic = metrics.macro_f1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Mean:
    """How far classifier a is above classifier b on the same texts, in the mean over their seeds.

    `true` is (n,). Each of `predicted_a` and `predicted_b` is (n,), or (S, n) for S seeds, of which
    a and b may have different numbers.
    """
    rest: tuple[Any, ...] = (classes, groups, resamples, seed)
    a = of_confusion(statistic, true, np.atleast_2d(predicted_a), *rest)
    b = of_confusion(statistic, true, np.atleast_2d(predicted_b), *rest)
    return difference(a, b)
