"""Numbers with their uncertainty, from the probabilities that records keep.

An estimate over several seeds is the mean; its interval says how far the mean would move on other
texts and under other seeds (see `lowrank_da/uncertainty.py`), its spread how far single seeds lie
apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID, SELECT, Corpus
from lowrank_da.errors import UserError
from lowrank_da.run import Run, machine_score
from lowrank_da.uncertainty import BySeed, Mean


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval over texts and seeds, and its spread over seeds."""

    value: float
    low: float
    high: float
    spread: float | None
    """None for one seed."""

    @classmethod
    def of(
        cls,
        mean: Mean,
        spread: float | None,
        low: float = float("-inf"),
        high: float = float("inf"),
    ) -> "Estimate":
        """Of a mean that is one number, never below `low` nor above `high`."""
        ends = mean.interval()
        low, high = max(float(ends.low), low), min(float(ends.high), high)
        return cls(float(mean.value), low, high, spread)

    def show(self, decimals: int = 3) -> str:
        """`0.812 [0.780, 0.841] ± 0.010`; without the last part for one seed."""
        text = f"{self.value:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]"
        return text if self.spread is None else f"{text} ± {self.spread:.{decimals}f}"


@dataclass(frozen=True, eq=False)
class Answers:
    """What one or several seeds of a classifier said of the same n texts of its own classes."""

    uid: NDArray[np.uint64]
    """(n,) ascending."""
    group: NDArray[np.uint64]
    """(n,) of each text."""
    true: NDArray[np.int64]
    """(n,) indices into the run's labels."""
    predicted: NDArray[np.int64]
    """(seeds, n)."""
    machine_score: NDArray[np.float64] | None
    """(seeds, n), see `run.machine_score`; None where no class is human."""
    human: int | None
    """The index of the human class, where there is one."""
    classes: int

    @property
    def ranked(self) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """(n,) whether a text is a machine's, and (seeds, n) scores.

        Raises `ValueError` where no class is human.
        """
        if self.machine_score is None:
            raise ValueError("no class is human: nothing ranks human texts against others")
        return self.true != self.human, self.machine_score


def answers(runs: Sequence[Run], role: str = ID) -> Answers:
    """The answers of all seeds of one name, in the order of the texts' hashes.

    Raises `UserError` when the seeds were evaluated on different texts.
    """
    own = [_of_one(run, role) for run in runs]
    for run, one in zip(runs, own, strict=True):
        refuse_other_texts(own[0].uid, one.uid, f"{runs[0].name} and its seed {run.seed}", role)
    scores = [one.machine_score for one in own if one.machine_score is not None]
    return replace(
        own[0],
        predicted=np.concatenate([one.predicted for one in own]),
        machine_score=np.concatenate(scores) if scores else None,
    )


def refuse_other_texts(a: NDArray[np.uint64], b: NDArray[np.uint64], who: str, role: str) -> None:
    """Raise `UserError` unless two sorted arrays of hashed uids are equal."""
    if not np.array_equal(a, b):
        raise UserError(f"{who} answer different texts of {role}; run them again on one corpus")


def refuse_unless_paired(first: Sequence[Run], second: Sequence[Run], role: str) -> None:
    """Raise `UserError` unless two arms answered the same texts."""
    a, b = answers(first, role), answers(second, role)
    refuse_other_texts(a.uid, b.uid, f"{first[0].name} and {second[0].name}", role)


def _of_one(run: Run, role: str) -> Answers:
    p = run.predictions[role]
    index = np.array([run.labels.index(c) if c in run.labels else -1 for c in run.corpus_labels])
    true = index[p.label]
    keep = np.flatnonzero(true >= 0)
    keep = keep[np.argsort(p.uid[keep], kind="stable")]
    probabilities = p.probabilities[keep].astype(np.float64)
    score = machine_score(probabilities, run.labels)
    return Answers(
        uid=p.uid[keep],
        group=p.group[keep],
        true=true[keep],
        predicted=probabilities.argmax(axis=1)[np.newaxis],
        machine_score=None if score is None else score[np.newaxis],
        human=run.labels.index(Corpus.human) if Corpus.human in run.labels else None,
        classes=len(run.labels),
    )


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


def of(sample: BySeed) -> Estimates:
    """The mean over seeds of shares, whose intervals stay between 0 and 1."""
    ends = sample.mean().interval()
    return Estimates(
        sample.value.mean(axis=0),
        np.maximum(ends.low, 0.0),
        np.minimum(ends.high, 1.0),
        sample.value.std(axis=0, ddof=1) if len(sample.value) > 1 else None,
    )


def of_confusion(runs: Sequence[Run], statistic: metrics.Statistic, role: str = ID) -> Estimates:
    """`statistic` of the confusion matrix on `role`, whatever the statistic's shape."""
    return of(confusion_by_seed(runs, statistic, role))


def confusion_by_seed(runs: Sequence[Run], statistic: metrics.Statistic, role: str = ID) -> BySeed:
    """The same of each seed, and drawn."""
    a = answers(runs, role)
    return uncertainty.of_confusion(statistic, a.true, a.predicted, a.classes, a.group)


def spread_of_difference(
    first: Sequence[Run],
    a: NDArray[np.float64],
    second: Sequence[Run],
    b: NDArray[np.float64],
) -> float | None:
    """Standard deviation of a - b, a number of each run, over the seeds that both have."""
    by_seed = dict(zip((run.seed for run in first), a, strict=True))
    other = dict(zip((run.seed for run in second), b, strict=True))
    differences = [by_seed[seed] - other[seed] for seed in by_seed.keys() & other.keys()]
    return float(np.std(differences, ddof=1)) if len(differences) > 1 else None


def of_human(binaries: Sequence[Sequence[Run]], role: str = ID) -> Estimates:
    """Human's precision, recall and F1, (3,), as means over one-vs-human models of equal seeds.

    The models share the human texts, so the texts of all of them are resampled together. Raises
    `UserError` when the models answered different texts.
    """
    every = [run for seeds in binaries for run in seeds]
    labels = every[0].corpus_labels
    columns = [_of_all_texts(run, role) for run in every]
    uid, group, true, _ = columns[0]
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
    return of(uncertainty.of_confusion(human, true, predicted, len(labels), group))


def _of_all_texts(
    run: Run, role: str
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Hashes ascending, groups, true and predicted classes as indices into the corpus' labels."""
    p = run.predictions[role]
    order = np.argsort(p.uid, kind="stable")
    own = np.array([run.corpus_labels.index(label) for label in run.labels])
    predicted = own[p.probabilities[order].astype(np.float64).argmax(axis=1)]
    return p.uid[order], p.group[order], p.label[order].astype(np.int64), predicted


def of_ranking(
    runs: Sequence[Run], statistic: Callable[..., metrics.Value], role: str = ID
) -> Estimate:
    """`statistic(machine, score, weights)` of machine against human, as `metrics.auroc`.

    Raises `ValueError` where nothing is human.
    """
    return of(ranking_by_seed(runs, statistic, role))[()]


def ranking_by_seed(
    runs: Sequence[Run], statistic: Callable[..., metrics.Value], role: str = ID
) -> BySeed:
    """The same of each seed, and drawn."""
    a = answers(runs, role)
    return uncertainty.of_ranking(statistic, *a.ranked, a.group)


def at_home_threshold(runs: Sequence[Run], role: str, max_fpr: float = 0.05) -> BySeed:
    """(..., 2) false and true positive rate on `role` of each seed, machine being positive.

    Each seed's threshold is the one that blames at most `max_fpr` of its human texts on *select*,
    at home; in each resample it is that of the *select* texts drawn there, so that what a threshold
    found on few texts is worth counts too. Raises `ValueError` where nothing is human.
    """
    home, away = answers(runs, SELECT), answers(runs, role)
    machine_at_home, at_home = home.ranked
    machine, scores = away.ranked
    draws = zip(
        uncertainty.in_parts(uncertainty.draws(home.group)),
        uncertainty.in_parts(uncertainty.draws(away.group)),
        strict=True,
    )

    def rates(part: tuple[uncertainty.Weights, uncertainty.Weights]) -> NDArray[np.float64]:
        """(R, seeds, 2), of home and away texts drawn so often."""
        thresholds = [
            metrics.threshold_at_fpr(machine_at_home, own, part[0], max_fpr=max_fpr)
            for own in at_home
        ]
        blamed = [score >= t[:, np.newaxis] for score, t in zip(scores, thresholds, strict=True)]
        shares = [metrics.shares(one, of, part[1]) for one in blamed for of in (~machine, machine)]
        return np.stack(shares, axis=1).reshape(len(part[1]), len(blamed), 2)

    once = np.ones((1, len(machine_at_home)), np.int8), np.ones((1, len(machine)), np.int8)
    return BySeed(rates(once)[0], np.concatenate([rates(part) for part in draws]))


def normalised_rows(confusion: metrics.Counts) -> NDArray[np.float64]:
    """(..., k, k) shares of each true class; a class without texts has zeros."""
    totals = confusion.sum(axis=-1, keepdims=True)
    shares: NDArray[np.float64] = np.zeros(confusion.shape)
    np.divide(confusion, totals, out=shares, where=totals > 0)
    return shares
