"""Numbers with their uncertainty, from the probabilities that records keep.

An estimate over several seeds is the mean; its interval says how far the mean would move on other
texts (they are resampled once for all seeds) and under other seeds, its spread how far single seeds
lie apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowrank_da import metrics
from lowrank_da.corpus import ID, SELECT, Corpus
from lowrank_da.errors import UserError
from lowrank_da.run import Run

RANKING_RESAMPLES = 500
"""Fewer than for confusion matrices: a ranking has to be sorted anew for every resample."""


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % bootstrap interval over texts and seeds, and its spread over seeds."""

    value: float
    low: float
    high: float
    spread: float | None
    """None for one seed."""

    def show(self, decimals: int = 3) -> str:
        """`0.812 [0.780, 0.841] ± 0.010`; without the last part for one seed."""
        text = f"{self.value:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"
        return text if self.spread is None else f"{text} ± {self.spread:.{decimals}f}"


@dataclass(frozen=True, eq=False)
class Answers:
    """What one or several seeds of a classifier said of the same n texts of its own classes."""

    uid: NDArray[np.uint64]
    """(n,) ascending."""
    true: NDArray[np.int64]
    """(n,) indices into the run's labels."""
    predicted: NDArray[np.int64]
    """(seeds, n)."""
    machine_score: NDArray[np.float64]
    """(seeds, n): 1 - P(human); without a human class there is none, and all are 1."""
    human: int | None
    """The index of the human class, where there is one."""
    classes: int


def answers(runs: Sequence[Run], role: str = ID) -> Answers:
    """The answers of all seeds of one name, in the order of the texts' hashes.

    Raises `UserError` when the seeds were evaluated on different texts.
    """
    columns = [_of_one(run, role) for run in runs]
    for run, (uid, *_) in zip(runs, columns, strict=True):
        refuse_other_texts(columns[0][0], uid, f"{runs[0].name} and its seed {run.seed}", role)
    labels = runs[0].labels
    return Answers(
        uid=columns[0][0],
        true=columns[0][1],
        predicted=np.stack([predicted for *_, predicted, _ in columns]),
        machine_score=np.stack([score for *_, score in columns]),
        human=_human(runs[0]),
        classes=len(labels),
    )


def refuse_other_texts(a: NDArray[np.uint64], b: NDArray[np.uint64], who: str, role: str) -> None:
    """Raise `UserError` unless two sorted arrays of hashed uids are equal."""
    if not np.array_equal(a, b):
        raise UserError(f"{who} answer different texts of {role}; run them again on one corpus")


def _of_one(
    run: Run, role: str
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    p = run.predictions[role]
    index = np.array([run.labels.index(c) if c in run.labels else -1 for c in run.corpus_labels])
    true = index[p.label]
    keep = np.flatnonzero(true >= 0)
    keep = keep[np.argsort(p.uid[keep], kind="stable")]
    probabilities = p.probabilities[keep].astype(np.float64)
    human = _human(run)
    score = 1.0 - (np.zeros(len(keep)) if human is None else probabilities[:, human])
    return p.uid[keep], true[keep], probabilities.argmax(axis=1), score


def _human(run: Run) -> int | None:
    return run.labels.index(Corpus.human) if Corpus.human in run.labels else None


@dataclass(frozen=True, eq=False)
class Estimates:
    """An array of estimates of one shape, e.g. (k, 3) for precision, recall and F1."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64] | None

    def __getitem__(self, index: int | tuple[int, ...]) -> Estimate:
        spread = None if self.spread is None else float(self.spread[index])
        return Estimate(
            float(self.value[index]), float(self.low[index]), float(self.high[index]), spread
        )


def of_confusion(runs: Sequence[Run], statistic: metrics.Statistic, role: str = ID) -> Estimates:
    """`statistic` of the confusion matrix on `role`, whatever the statistic's shape."""
    a = answers(runs, role)
    own = np.stack([np.asarray(statistic(run.confusion(role))) for run in runs])
    ends = metrics.mean_interval(a.true, a.predicted, a.classes, statistic)
    return Estimates(own.mean(axis=0), ends.low, ends.high, _spread(own))


def _spread(by_seed: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Standard deviation over the first axis; one seed has none."""
    return by_seed.std(axis=0, ddof=1) if len(by_seed) > 1 else None


def of_human(binaries: Sequence[Sequence[Run]], role: str = ID) -> Estimates:
    """Human's precision, recall and F1, (3,), as means over one-vs-human models of equal seeds.

    The models share the human texts, so the texts of all of them are resampled together. Raises
    `UserError` when the models answered different texts.
    """
    every = [run for seeds in binaries for run in seeds]
    labels = every[0].corpus_labels
    columns = [_of_all_texts(run, role) for run in every]
    uid, true, _ = columns[0]
    for run, (other, *_) in zip(every, columns, strict=True):
        refuse_other_texts(uid, other, f"{every[0].name} and {run.name}", role)

    def human(stack: metrics.Counts) -> NDArray[np.float64]:
        """(..., m, k, k) over the corpus' classes -> (..., seeds, 3), each model on its own two."""
        rows = []
        for m, run in enumerate(every):
            own = [labels.index(label) for label in run.labels]
            two = stack[..., m, own, :][..., own]
            rows.append(metrics.class_metrics(two)[..., run.labels.index(Corpus.human), :])
        by_model = np.stack(rows, axis=-2)
        by_binary = by_model.reshape(*by_model.shape[:-2], len(binaries), -1, 3)
        mean: NDArray[np.float64] = by_binary.mean(axis=-3)
        return mean

    predicted = np.stack([of_one for *_, of_one in columns])
    ends = metrics.mean_interval(true, predicted, len(labels), human)
    observed = np.stack([metrics.confusion_matrix(true, one, len(labels)) for one in predicted])
    by_seed = human(observed)
    return Estimates(by_seed.mean(axis=0), ends.low, ends.high, _spread(by_seed))


def _of_all_texts(
    run: Run, role: str
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Hashes ascending, true and predicted classes as indices into the corpus' labels."""
    p = run.predictions[role]
    order = np.argsort(p.uid, kind="stable")
    own = np.array([run.corpus_labels.index(label) for label in run.labels])
    predicted = own[p.probabilities[order].astype(np.float64).argmax(axis=1)]
    return p.uid[order], p.label[order].astype(np.int64), predicted


def of_ranking(
    runs: Sequence[Run],
    statistic: Callable[[NDArray[np.bool_], NDArray[Any]], float],
    role: str = ID,
) -> Estimate:
    """`statistic(machine, score)` of machine against human, with the score 1 - P(human).

    Raises `ValueError` where nothing is human.
    """
    a = answers(runs, role)
    if a.human is None:
        raise ValueError(f"{runs[0].name} tells no human texts from others")
    machine = a.true != a.human

    value, spread = metrics.mean_and_spread([statistic(machine, s) for s in a.machine_score])
    ends = metrics.interval_over_seeds(
        statistic, machine, a.machine_score, resamples=RANKING_RESAMPLES
    )
    return Estimate(value, ends.low, ends.high, spread)


def at_home_threshold(
    runs: Sequence[Run], role: str, max_fpr: float = 0.05
) -> tuple[Estimate, Estimate]:
    """True and false positive rate on `role`, machine being positive.

    Each seed's threshold is the one that blames at most `max_fpr` of its human texts on *select*,
    at home. Raises `ValueError` where nothing is human.
    """
    home, a = answers(runs, SELECT), answers(runs, role)
    if home.human is None:
        raise ValueError(f"{runs[0].name} tells no human texts from others")
    blamed = np.stack(
        [
            score >= metrics.threshold_at_fpr(home.true != home.human, at_home, max_fpr)
            for score, at_home in zip(a.machine_score, home.machine_score, strict=True)
        ]
    )
    # Blamed or not is a classifier of two classes: machine in row and column 1.
    true = (a.true != a.human).astype(np.int64)

    def rates(confusion: metrics.Counts) -> NDArray[np.float64]:
        return normalised_rows(confusion)[..., 1]

    observed = np.stack([rates(metrics.confusion_matrix(true, one, 2)) for one in blamed * 1])
    ends = metrics.mean_interval(true, blamed * 1, 2, rates)
    both = Estimates(observed.mean(axis=0), ends.low, ends.high, _spread(observed))
    return both[1], both[0]


def normalised_rows(confusion: metrics.Counts) -> NDArray[np.float64]:
    """(..., k, k) shares of each true class; a class without texts has zeros."""
    totals = confusion.sum(axis=-1, keepdims=True)
    shares: NDArray[np.float64] = np.zeros(confusion.shape)
    np.divide(confusion, totals, out=shares, where=totals > 0)
    return shares
