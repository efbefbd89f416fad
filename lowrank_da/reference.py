"""Rows without gradient training, in the same record as all others.

TF-IDF with logistic regression is what a detector gets from words alone; zero-shot and the k-shot
centroid are what the frozen encoder knows before anything trains. A fine-tuned encoder that stays
below one of them has learned less than it could.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lowrank_da import provenance
from lowrank_da.corpus import TRAIN, Splits, splits
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment, Setting, canonical, key_of
from lowrank_da.run import Predictions, Run, finished, record_path, score

if TYPE_CHECKING:
    from lowrank_da.machine import Machine

Matrix = NDArray[np.float64]

TEMPERATURE = 0.05
"""Of the softmax over cosines: the 1/20 with which sentence encoders such as MiniLM were trained.

It moves probabilities and never the answer.
"""


@dataclass(frozen=True)
class Reference(ABC):
    """A classifier that no gradient trains."""

    setting: Setting
    random: ClassVar[bool] = False
    """Whether the seed changes anything."""

    @property
    def key(self) -> str:
        """Of the experiment, as for trained cells."""
        return key_of(self)

    def seeds(self, asked: tuple[int, ...]) -> tuple[int, ...]:
        """Those it runs under: the ones asked for, or seed 0 alone where nothing is random."""
        return asked if self.random else (0,)

    @abstractmethod
    def predict(self, texts: Splits, seed: int, machine: "Machine") -> dict[str, Matrix]:
        """(texts, classes) probabilities of every role but *train*; `texts` are the setting's."""


@dataclass(frozen=True)
class TfIdf(Reference):
    """Logistic regression on TF-IDF of words and word pairs (scikit-learn)."""

    ngrams: tuple[int, int] = (1, 2)
    inverse_regularisation: float = 10.0
    """scikit-learn's C."""
    cut: bool = False
    """Whether it reads no more of a text than the networks of its setting do."""

    def predict(self, texts: Splits, seed: int, machine: "Machine") -> dict[str, Matrix]:
        """Fitted on *train*."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(
            TfidfVectorizer(ngram_range=self.ngrams, sublinear_tf=True),
            LogisticRegression(C=self.inverse_regularisation, max_iter=1000),
        )
        model.fit(self._read(texts, TRAIN), [texts.labels.index(e.label) for e in texts[TRAIN]])
        return {role: model.predict_proba(self._read(texts, role)) for role in texts.evaluated}

    def _read(self, texts: Splits, role: str) -> list[str]:
        whole = [e.text for e in texts[role]]
        if not self.cut:
            return whole
        return self.setting.backbone.cut(whole, self.setting.max_tokens)


@dataclass(frozen=True)
class Frozen(Reference):
    """The class whose prototype is nearest to the frozen encoder's features of a text.

    Features are means over a text's tokens, whatever the backbone's pooling. They are computed once
    for all references, and where the backbone pools by the mean for linear probes too (`trunk.py`).
    """

    @abstractmethod
    def prototypes(self, texts: Splits, seed: int, machine: "Machine") -> Matrix:
        """(classes, width) one vector a class."""

    def predict(self, texts: Splits, seed: int, machine: "Machine") -> dict[str, Matrix]:
        """A softmax over the cosines to the prototypes, divided by `TEMPERATURE`."""
        centres = self.prototypes(texts, seed, machine)
        return {
            role: nearest(self.of_role(role, machine), centres, TEMPERATURE)
            for role in texts.evaluated
        }

    def of_role(self, role: str, machine: "Machine") -> Matrix:
        """(texts, width) features of a role's texts, cut to the setting's tokens."""
        from lowrank_da.prepared import prepare

        return self.features(prepare(self.setting).ids[role], machine)

    def features(self, ids: Sequence[Sequence[int]], machine: "Machine") -> Matrix:
        """(texts, width) features of texts given as token ids, in their order."""
        from lowrank_da import trunk

        backbone = replace(self.setting.backbone, pooling="mean")
        encoder = backbone.load().requires_grad_(False)
        for parameter in encoder.parameters():
            parameter.data = parameter.data.to(machine.dtype)  # as a probe's encoder is rounded
        known = trunk.known(
            encoder.to(machine.device),  # type: ignore[arg-type]
            backbone,
            ids,
            backbone.layers,
            machine.device,
            machine.dtype,
            budget=Experiment.batch_tokens,
        )
        rows: Matrix = known.table[list(known.starts)].double().cpu().numpy()
        return rows


def nearest(features: Matrix, centres: Matrix, temperature: float) -> Matrix:
    """(n, d) features and (k, d) centres to (n, k) softmax(cosine / temperature)."""
    from scipy.special import softmax

    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, centres))
    probabilities: Matrix = softmax(a @ b.T / temperature, axis=1)
    return probabilities


@dataclass(frozen=True)
class ZeroShot(Frozen):
    """Similarity to the description of each label; no training text is read."""

    descriptions: tuple[str, ...] = field(init=False)
    """The corpus' own, in the order of its labels: other ones are another experiment."""

    def __post_init__(self) -> None:
        corpus = self.setting.corpus
        missing = [label for label in corpus.labels if label not in corpus.descriptions]
        if missing:
            raise UserError(
                f"zero-shot: corpus {corpus.name} does not describe {', '.join(missing)};"
                " add a sentence a label to its `descriptions`"
            )
        own = tuple(corpus.descriptions[label] for label in corpus.labels)
        object.__setattr__(self, "descriptions", own)

    def prototypes(self, texts: Splits, seed: int, machine: "Machine") -> Matrix:
        """Features of the descriptions."""
        alone = [None] * len(self.descriptions)
        setting = self.setting
        ids = setting.backbone.encode(self.descriptions, alone, setting.max_tokens)
        return self.features(ids, machine)


@dataclass(frozen=True)
class Centroid(Frozen):
    """Nearest centroid of `shots` training texts a class, drawn by the seed."""

    shots: int = 1
    random = True

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise UserError(f"shots={self.shots} must be at least 1")

    def prototypes(self, texts: Splits, seed: int, machine: "Machine") -> Matrix:
        """Means over the drawn texts; those of fewer shots are among those of more.

        Raises `UserError` when a class has too few training texts.
        """
        features, generator = self.of_role(TRAIN, machine), np.random.default_rng(seed)
        centres = []
        for label in texts.labels:
            own = [i for i, example in enumerate(texts[TRAIN]) if example.label == label]
            if len(own) < self.shots:
                raise UserError(
                    f"shots={self.shots}: class {label!r} has {len(own)} training texts;"
                    " ask for fewer"
                )
            centres.append(features[generator.permutation(own)[: self.shots]].mean(axis=0))
        return np.stack(centres)


def run(
    reference: Reference,
    study: str,
    setting: str,
    name: str,
    seed: int,
    folder: Path,
    root: Path,
    machine: "Machine",
) -> Run:
    """The finished record, or fit, predict and save one; what reads an encoder does on `machine`.

    Raises `UserError` for a seed other than 0 where nothing is random.
    """
    if seed not in reference.seeds((seed,)):
        raise UserError(f"seed={seed}: nothing in {name} is random, so it takes seed 0 alone")
    corpus = reference.setting.corpus
    texts = splits(corpus).take(reference.setting.texts)
    path = record_path(folder, study, setting, name, seed)
    record = finished(path, reference.key, texts.fingerprint)
    if record is not None:
        return record
    frozen = isinstance(reference, Frozen)
    made_by = provenance.made_by(
        root,
        fingerprint=texts.fingerprint,
        corpus_versions=corpus.versions(),
        precision=machine.precision if frozen else "64-true",
        device=machine.name if frozen else "cpu",
        **({"threads": machine.threads, "workers": machine.workers} if frozen else {}),
    )
    start = time.perf_counter()
    with machine.at_work():
        predicted = reference.predict(texts, seed, machine)
    seconds = time.perf_counter() - start
    labels = texts.labels
    predictions = {r: Predictions.of(texts[r], labels, p) for r, p in predicted.items()}
    result: dict[str, Any] = {
        "splits": {r: score(p, labels, labels) for r, p in predictions.items()},
        "corpus": texts.summary(labels),
    }
    if frozen:
        body = reference.setting.backbone.body_parameters
        result["parameters"] = {"trained": 0, "head": 0, "adapter": 0, "backbone": body}
    done = Run(
        study,
        setting,
        name,
        seed,
        reference.key,
        canonical(reference),
        labels,
        labels,
        result=result,
        measured={"train_seconds": seconds, "seconds": seconds},
        made_by=made_by,
        predictions=predictions,
    )
    done.save(folder)
    return done
