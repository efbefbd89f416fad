"""Pure functions of labels and probabilities: metrics, and tests on counts.

Confusion matrices have true classes in rows. Functions of a confusion matrix take `(..., k, k)`
and work on the last two axes; functions of a ranking take weights (R, n) of the texts: so a
bootstrap (see `uncertainty.py`) is one call on all resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

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


def balanced_accuracy(confusion: Counts) -> Value:
    """Mean recall over the classes that occur: accuracy, were they equally many."""
    occurs = confusion.sum(axis=-1) > 0
    recall = class_metrics(confusion)[..., 1]
    return np.divide(recall.sum(axis=-1), occurs.sum(axis=-1))


# Class weights


def class_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Weights n / (K n_c), so that all classes weigh the same together (thesis, table 2)."""
    return {label: sum(counts.values()) / (len(counts) * n) for label, n in counts.items()}


# Ranking


def _roc(
    positive: NDArray[np.bool_],
    score: NDArray[np.floating[Any]],
    weights: NDArray[np.integer[Any]] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R, t) weight of true and of false positives at every distinct threshold, none to all."""
    often = np.ones((1, score.size)) if weights is None else weights.astype(np.float64)
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)

    def up_to(counted: NDArray[np.bool_]) -> NDArray[np.float64]:
        sums = np.cumsum(often[:, order] * counted[order], axis=1)[:, last_of_tie]
        return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)

    return up_to(positive), up_to(~positive)


def _of_each(values: NDArray[np.float64], weights: NDArray[np.integer[Any]] | None) -> Value:
    return float(values[0]) if weights is None else values


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient, nan where nothing is there to be shared."""
    shares = np.full(part.shape, np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def auroc(
    positive: NDArray[np.bool_],
    score: NDArray[np.floating[Any]],
    weights: NDArray[np.integer[Any]] | None = None,
) -> Value:
    """Area under the ROC curve, ties counted half; nan where only one of two classes occurs.

    With `weights` (R, n) of the n texts, which may be 0, (R,) of it.
    """
    hits, alarms = _roc(positive, score, weights)
    area = np.asarray(np.trapezoid(hits, alarms, axis=1))
    return _of_each(_share(area, hits[:, -1] * alarms[:, -1]), weights)


def tpr_at_fpr(
    positive: NDArray[np.bool_],
    score: NDArray[np.floating[Any]],
    weights: NDArray[np.integer[Any]] | None = None,
    *,
    max_fpr: float,
) -> Value:
    """Largest true positive rate at a threshold whose false positive rate is <= `max_fpr`.

    No interpolation between thresholds; nan where only one of the two classes occurs. With
    `weights` (R, n) of the n texts, which may be 0, (R,) of it.
    """
    hits, alarms = _roc(positive, score, weights)
    both = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
    allowed = alarms <= max_fpr * alarms[:, -1:] + 1e-9
    found = np.where(allowed, hits, 0).max(axis=1)
    return _of_each(_share(np.where(both, found, np.nan), hits[:, -1]), weights)


def threshold_at_fpr(
    positive: NDArray[np.bool_],
    score: NDArray[np.floating[Any]],
    weights: NDArray[np.integer[Any]] | None = None,
    *,
    max_fpr: float,
) -> Value:
    """The lowest score such that at most `max_fpr` of the negatives reach it.

    It lies halfway between the highest negative that is kept out and the next higher score; it is
    infinite where nothing is above that one, and minus infinity where all may be called positive,
    as those are who reach it. With `weights` (R, n) of the n texts, which may be 0, (R,) of it.
    It is nan where no negative is left. Raises `ValueError` without negatives.
    """
    if positive.all():
        raise ValueError("without negatives there is no false positive rate")
    _, alarms = _roc(positive, score, weights)
    scores = np.unique(np.asarray(score, dtype=np.float64))[::-1]
    kept_out = alarms[:, 1:] > np.floor(max_fpr * alarms[:, -1:] + 1e-9)
    first = kept_out.argmax(axis=1)
    above = np.append(np.inf, scores)[first]
    halfway = np.where(np.isinf(above), np.inf, (scores[first] + above) / 2)
    found = np.where(kept_out.any(axis=1), halfway, -np.inf)
    return _of_each(np.where(alarms[:, -1] > 0, found, np.nan), weights)


def shares(
    flagged: NDArray[np.bool_], among: NDArray[np.bool_], weights: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """(R,) the weight of those texts `among` (n,) that are `flagged` (R, n); nan without any."""
    often = weights * among.astype(np.float64)
    return _share((often * flagged).sum(axis=1), often.sum(axis=1))


# Seeds


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
