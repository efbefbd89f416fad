"""Pure functions of labels and probabilities: metrics, their intervals, and paired tests.

Confusion matrices have true classes in rows. Functions of a confusion matrix take `(..., k, k)`
and work on the last two axes, so a bootstrap is one call on a stack of resampled matrices.

Intervals and tests resample *texts*, and where a number is a mean over several seeds, seeds too,
each by itself (a hierarchical bootstrap): they say how far the number would move on other texts
and under other seeds, as far as a few seeds can tell. A metric of the confusion matrix depends on
a text only through its pattern (true class, predicted classes), so drawing texts with replacement
is exactly a multinomial draw over the distinct patterns, which is what is drawn here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
EXACT_BELOW = 25
"""Discordant texts under which McNemar's test is exact and not by chi-squared."""

Counts: TypeAlias = NDArray[np.int64]
Classes: TypeAlias = NDArray[np.integer[Any]]
Value: TypeAlias = Any
"""A float for one confusion matrix, an array over the leading axes for a stack of them."""
Statistic: TypeAlias = Callable[[Counts], Value]


# Confusion matrices


def confusion_matrix(true: Classes, predicted: Classes, classes: int) -> Counts:
    """(k, k) counts of the pairs of `true` (n,) and `predicted` (n,), true classes in rows.

    Raises `ValueError` for a class outside 0 .. k-1.
    """
    for values in (true, predicted):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(f"classes must lie in 0..{classes - 1}")
    cells = np.asarray(true, dtype=np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def class_metrics(confusion: Counts) -> NDArray[np.float64]:
    """(..., k, 3) precision, recall and F1 of each class; 0/0 is 0 (scikit-learn's choice)."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    predicted, true = confusion.sum(axis=-2), confusion.sum(axis=-1)

    def ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
        return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)

    return np.stack(
        [ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, predicted + true)], axis=-1
    )


def macro_f1(confusion: Counts) -> Value:
    """Mean F1 over all k classes; a class neither true nor predicted counts as 0."""
    return class_metrics(confusion)[..., 2].mean(axis=-1)


def accuracy(confusion: Counts) -> Value:
    """Share of the texts on the diagonal."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


# Class weights


def class_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Weights n / (K n_c), so that all classes weigh the same together (thesis, table 2)."""
    return {label: sum(counts.values()) / (len(counts) * n) for label, n in counts.items()}


# Ranking


def _roc(positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> tuple[Counts, Counts]:
    """True and false positives at every distinct threshold, from none to all."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)
    true_positives = np.cumsum(positive[order])[last_of_tie]
    false_positives = last_of_tie + 1 - true_positives
    return np.append(0, true_positives), np.append(0, false_positives)


def auroc(positive: NDArray[np.bool_], score: NDArray[np.floating[Any]]) -> float:
    """Area under the ROC curve, ties counted half; nan where only one of two classes occurs."""
    if positive.all() or not positive.any():
        return float("nan")
    hits, alarms = _roc(positive, score)
    return float(np.trapezoid(hits, alarms) / (int(hits[-1]) * int(alarms[-1])))


def tpr_at_fpr(
    positive: NDArray[np.bool_], score: NDArray[np.floating[Any]], max_fpr: float
) -> float:
    """Largest true positive rate at a threshold whose false positive rate is <= `max_fpr`.

    No interpolation between thresholds; nan where only one of the two classes occurs.
    """
    if positive.all() or not positive.any():
        return float("nan")
    hits, alarms = _roc(positive, score)
    return float((hits / hits[-1])[alarms / alarms[-1] <= max_fpr].max())


def threshold_at_fpr(
    positive: NDArray[np.bool_], score: NDArray[np.floating[Any]], max_fpr: float
) -> float:
    """The lowest score such that at most `max_fpr` of the negatives reach it.

    It lies halfway to the next lower score of a negative, or is infinite where none will do: those
    who reach it are called positive. Raises `ValueError` without negatives.
    """
    negatives = np.sort(np.asarray(score[~positive], dtype=np.float64))[::-1]
    if not len(negatives):
        raise ValueError("without negatives there is no false positive rate")
    allowed = int(np.floor(max_fpr * len(negatives) + 1e-9))
    if allowed >= len(negatives):
        return float("-inf")
    highest_kept_out = negatives[allowed]
    above = np.asarray(score, dtype=np.float64)
    above = above[above > highest_kept_out]
    return float((highest_kept_out + above.min()) / 2) if len(above) else float("inf")


# Intervals


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval, both ends included; the ends have the shape of the statistic."""

    low: Value
    high: Value


def percentiles(values: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """The interval between the percentiles of (resamples, ...) values; nan are left out."""
    tail = (1 - level) / 2
    return Interval(*np.nanquantile(values, [tail, 1 - tail], axis=0))


def interval(
    statistic: Callable[..., float],
    *columns: NDArray[Any],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of `statistic(*columns)` over texts (Efron 1979).

    Every column is (n, ...), one row a text; all are resampled by the same indices. Resamples on
    which the statistic is nan (a class drawn nowhere) are left out.
    """
    rng = np.random.default_rng(seed)
    n = len(columns[0])
    draws = (rng.integers(n, size=n) for _ in range(resamples))
    values = [statistic(*(column[index] for column in columns)) for index in draws]
    return percentiles(np.array(values), level)


def interval_over_seeds(
    statistic: Callable[..., float],
    shared: NDArray[Any],
    by_seed: NDArray[Any],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval over texts and seeds of the mean of a statistic over S seeds.

    `statistic(shared, own)` takes columns (n,) of all seeds and of one; `by_seed` is (S, n).
    """
    return percentiles(draws_over_seeds(statistic, shared, by_seed, resamples, seed), level)


def draws_over_seeds(
    statistic: Callable[..., float],
    shared: NDArray[Any],
    by_seed: NDArray[Any],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """(resamples,): the values whose percentiles are `interval_over_seeds`."""
    rng = np.random.default_rng(seed)
    n = len(shared)
    draws = (rng.integers(n, size=n) for _ in range(resamples))
    values = [[statistic(shared[index], own[index]) for own in by_seed] for index in draws]
    return mean_of_drawn_seeds(np.array(values), seed)


def bootstrap_confusions(
    true: Classes, predicted: Classes, classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> Counts:
    """(resamples, m, k, k): the confusion matrices of m classifiers on resampled texts.

    `true` is (n,), `predicted` is (m, n). Each resample is shared by the m classifiers.
    """
    patterns, counts = np.unique(np.vstack([true, predicted]), axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(true), counts / len(true), size=resamples)
    cells = patterns[0].astype(np.int64) * classes + patterns[1:]
    stacks = [draws @ np.eye(classes**2, dtype=np.int64)[of_one] for of_one in cells]
    return np.stack(stacks, axis=1).reshape(resamples, -1, classes, classes)


def mean_interval(
    true: Classes,
    predicted: Classes,
    classes: int,
    statistic: Statistic = macro_f1,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval over texts and seeds of the mean of `statistic` over seeds.

    `predicted` is (S, n), one row a seed; texts are resampled once for all seeds. The values of
    `statistic` may also be fewer than S along their second axis: what seeds are to it. Predictions
    without a single error give an interval of length zero: nothing was seen to vary.
    """
    return percentiles(mean_draws(true, predicted, classes, statistic, resamples, seed), level)


def mean_draws(
    true: Classes,
    predicted: Classes,
    classes: int,
    statistic: Statistic = macro_f1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """(resamples, ...): the values whose percentiles are `mean_interval`."""
    stacks = bootstrap_confusions(true, predicted, classes, resamples, seed)
    return mean_of_drawn_seeds(statistic(stacks), seed)


def mean_of_drawn_seeds(
    values: NDArray[np.float64], seed: int, stream: int = 1
) -> NDArray[np.float64]:
    """(resamples, S, ...) -> (resamples, ...): in each, the mean of S seeds drawn again.

    Few seeds drawn again vary less than seeds do, (S - 1) / S as much: what a draw moves the mean
    by is stretched by the root of S / (S - 1), so that its variance is the unbiased one. Tails stay
    those of the few seeds, lighter than they may be. `stream` tells the draws of several
    classifiers apart.
    """
    seeds = values.shape[1]
    if seeds == 1:
        return values[:, 0]
    chance = np.random.default_rng([seed, stream])
    drawn = chance.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(values))
    moved = (drawn - 1) * np.sqrt(seeds / (seeds - 1)) + 1
    mean: NDArray[np.float64] = np.einsum("rs,rs...->r...", moved, values) / seeds
    return mean


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1) over seeds; one seed has no spread."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), spread


# Chance


def chance_macro_f1(classes: int) -> float:
    """The most that guessing without reading the text is expected to give: 1/k.

    Guessing class c with probability q_c where it has share t_c gives at most
    (1/k) sum_c 2 t_c q_c / (t_c + q_c), by Jensen's inequality in the number of guesses. That sum
    is concave in q and greatest at q = t, where it is 1: for every class balance, and above both
    the majority class and uniform guessing.
    """
    return 1 / classes


# Paired tests


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How far classifier a is above classifier b on the same texts."""

    difference: float
    """Macro-F1 of a minus that of b, each a mean over its seeds."""
    interval: Interval
    """Percentile bootstrap interval of the difference."""
    p_value: float
    """Two-sided, see `paired_bootstrap`; not yet adjusted for several comparisons."""


def paired_bootstrap(
    true: Classes,
    predicted_a: Classes,
    predicted_b: Classes,
    classes: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedTest:
    """Compare macro-F1 on the same texts, which are resampled once for both classifiers.

    `true` is (n,). Each of `predicted_a` and `predicted_b` is (n,), or (S, n) for S seeds, whose
    macro-F1 is averaged and which are resampled too, of each classifier by themselves; a and b may
    have different numbers of seeds. With R resamples the
    p-value is min(1, 2 min(#{d <= 0} + 1, #{d >= 0} + 1) / (R + 1)), the achieved significance
    level of the percentile interval (Davison & Hinkley 1997, section 4.2): never below
    2 / (R + 1), and 1 for equal predictions of one seed each.
    """
    observed, draws = paired_draws(
        true, predicted_a, predicted_b, classes, macro_f1, resamples, seed
    )
    return zero_test(observed, draws, level)


def paired_draws(
    true: Classes,
    predicted_a: Classes,
    predicted_b: Classes,
    classes: int,
    statistic: Statistic = macro_f1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, NDArray[np.float64]]:
    """The difference of two classifiers' means over seeds, and (resamples,) of it drawn again."""
    a, b = np.atleast_2d(predicted_a), np.atleast_2d(predicted_b)
    both = np.vstack([a, b])
    values = statistic(np.stack([confusion_matrix(true, one, classes) for one in both]))
    stacks = statistic(bootstrap_confusions(true, both, classes, resamples, seed))
    draws = mean_of_drawn_seeds(stacks[:, : len(a)], seed, 1)
    draws = draws - mean_of_drawn_seeds(stacks[:, len(a) :], seed, 2)
    return float(values[: len(a)].mean() - values[len(a) :].mean()), draws


def zero_test(observed: float, draws: NDArray[np.float64], level: float = LEVEL) -> PairedTest:
    """The test that a difference is zero, from (resamples,) draws of it."""
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum())) + 1
    return PairedTest(observed, percentiles(draws, level), min(1.0, 2 * tail / (len(draws) + 1)))


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """p-value of McNemar's test that a and b err equally often on the same n texts.

    Exact (binomial) under `EXACT_BELOW` discordant texts, else chi-squared with continuity
    correction. Both arguments are (n,).
    """
    # Imported only when asked: it pulls in pandas, which takes a second.
    from statsmodels.stats import contingency_tables

    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    # The test reads the discordant cells alone.
    table = [[0, only_a], [only_b, 0]]
    exact = only_a + only_b < EXACT_BELOW
    return float(contingency_tables.mcnemar(table, exact=exact, correction=True).pvalue)


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """p-values adjusted for being several (Holm 1979), in the given order."""
    # Imported only when asked: it pulls in pandas, which takes a second.
    from statsmodels.stats.multitest import multipletests

    adjusted: NDArray[np.float64] = multipletests(p_values, method="holm")[1]
    return adjusted
