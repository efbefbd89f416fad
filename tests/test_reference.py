"""TF-IDF with logistic regression: scikit-learn's own numbers in a record."""

from pathlib import Path

import numpy as np
import pytest
import toy
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from lowrank_da import reference
from lowrank_da.corpus import ID, SELECT, TRAIN
from lowrank_da.reference import TfIdf
from lowrank_da.run import Run

SETTING = toy.setting(train_texts=10, id_texts=9)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    done = reference.run(TfIdf(SETTING), "play", "toy", "tfidf", folder, folder)
    return Run.load(done.path(folder))


def test_its_probabilities_are_scikit_learns(record: Run) -> None:
    texts = toy.Toy().load().take(SETTING.texts)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = vectors.fit_transform([e.text for e in texts[TRAIN]])
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(known, [e.label for e in texts[TRAIN]])
    columns = [list(model.classes_).index(label) for label in record.labels]
    for role in (SELECT, ID, toy.OOD):
        theirs = model.predict_proba(vectors.transform([e.text for e in texts[role]]))[:, columns]
        ours = record.predictions[role]
        np.testing.assert_allclose(ours.probabilities, theirs, atol=1e-3)
        true = [e.label for e in texts[role]]
        assert [record.labels[n] for n in ours.label] == true
        said = [record.labels[n] for n in theirs.argmax(axis=1)]
        numbers = record.result["splits"][role]
        assert numbers["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
        machine = np.array([label != "human" for label in true])
        auroc = roc_auc_score(machine, 1 - theirs[:, record.labels.index("human")])
        assert numbers["auroc"] == pytest.approx(auroc)


def test_separate_words_are_told_apart(record: Run) -> None:
    assert record.result["splits"][ID]["macro_f1"] > 0.95


def test_its_identity_and_its_texts(record: Run) -> None:
    assert (record.study, record.setting, record.name, record.seed) == ("play", "toy", "tfidf", 0)
    assert record.key == TfIdf(SETTING).key
    assert record.key != TfIdf(SETTING, ngrams=(1, 1)).key
    assert record.labels == record.corpus_labels == toy.Toy.labels
    texts = {role: sum(n.values()) for role, n in record.result["corpus"]["texts"].items()}
    assert texts == {TRAIN: 40, SELECT: 32, ID: 36, toy.OOD: 16}
    assert record.fingerprint == toy.Toy().load().take(SETTING.texts).fingerprint


def test_it_gives_the_same_result_again(record: Run, tmp_path: Path) -> None:
    again = reference.run(TfIdf(SETTING), "play", "toy", "tfidf", tmp_path, tmp_path)
    assert again.result == record.result
    for role, own in record.predictions.items():
        np.testing.assert_array_equal(own.probabilities, again.predictions[role].probabilities)
