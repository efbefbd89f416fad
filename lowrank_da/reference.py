"""Rows without gradient training, in the same record as all others.

TF-IDF with logistic regression is what a detector gets from words alone; a fine-tuned encoder that
stays below it has learned less than it could.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank_da import provenance
from lowrank_da.corpus import TRAIN, Splits, splits
from lowrank_da.experiment import Setting, canonical, key_of
from lowrank_da.run import Predictions, Run, finished, record_path, score


@dataclass(frozen=True)
class TfIdf:
    """Logistic regression on TF-IDF of words and word pairs (scikit-learn)."""

    setting: Setting
    ngrams: tuple[int, int] = (1, 2)
    inverse_regularisation: float = 10.0
    """scikit-learn's C."""

    @property
    def key(self) -> str:
        """Of the experiment, as for trained cells."""
        return key_of(self)

    def predict(self, texts: Splits) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        """(texts, classes) probabilities of every role but *train*, fitted on *train*."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(
            TfidfVectorizer(ngram_range=self.ngrams, sublinear_tf=True),
            LogisticRegression(C=self.inverse_regularisation, max_iter=1000),
        )
        train = texts[TRAIN]
        model.fit([e.text for e in train], [texts.labels.index(e.label) for e in train])
        return {
            role: model.predict_proba([e.text for e in texts[role]]) for role in texts.evaluated
        }


def run(reference: TfIdf, study: str, setting: str, name: str, folder: Path, root: Path) -> Run:
    """The finished record, or fit, predict and save one; nothing is random, so the seed is 0."""
    corpus = reference.setting.corpus
    texts = splits(corpus).take(reference.setting.texts)
    path = record_path(folder, study, setting, name, 0)
    record = finished(path, reference.key, texts.fingerprint)
    if record is not None:
        return record
    made_by = provenance.made_by(
        root,
        fingerprint=texts.fingerprint,
        corpus_versions=corpus.versions(),
        precision="64-true",
        device="cpu",
    )
    start = time.perf_counter()
    predicted = reference.predict(texts)
    seconds = time.perf_counter() - start
    labels = texts.labels
    predictions = {r: Predictions.of(texts[r], labels, p) for r, p in predicted.items()}
    done = Run(
        study,
        setting,
        name,
        0,
        reference.key,
        canonical(reference),
        labels,
        labels,
        result={
            "splits": {r: score(p, labels, labels, corpus.human) for r, p in predictions.items()},
            "corpus": texts.summary(labels),
        },
        measured={"train_seconds": seconds, "seconds": seconds},
        made_by=made_by,
        predictions=predictions,
    )
    done.save(folder)
    return done
