"""References without gradient training: scikit-learn's and transformers' own numbers in records."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import toy
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from lowrank_da import corpora, discover, reference
from lowrank_da.corpus import CACHE_VARIABLE, ID, SELECT, TRAIN, corpus
from lowrank_da.errors import UserError
from lowrank_da.machine import Machine
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.reference import TEMPERATURE, Centroid, Frozen, Matrix, Reference, TfIdf, ZeroShot
from lowrank_da.run import Run
from lowrank_da.study import Checkout

CPU = Machine.choose("cpu", "fp32")


@dataclass(frozen=True)
class Described(toy.Toy):
    """The toy, its labels described in their own words."""

    descriptions: ClassVar[Mapping[str, str]] = toy.WORDS


SETTING = toy.setting(corpus=Described(), train_texts=10, id_texts=9)
TEXTS = Described().load().take(SETTING.texts)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


def made(one: Reference, folder: Path, seed: int = 0) -> Run:
    """The record of a reference, read back."""
    done = reference.run(one, "play", "toy", "some", seed, folder, folder, CPU)
    return Run.load(done.path(folder))


def states(texts: list[str]) -> Matrix:
    """(texts, width) means over the last states of transformers' own forward, text by text."""
    model = SETTING.backbone.load().eval()
    ids = SETTING.backbone.encode(texts, [None] * len(texts), SETTING.max_tokens)
    with torch.no_grad():
        rows = [model(torch.tensor([row])).last_hidden_state[0].mean(dim=0) for row in ids]
    means: Matrix = torch.stack(rows).double().numpy()
    return means


def of_role(role: str) -> Matrix:
    return states([e.text for e in TEXTS[role]])


# --- TF-IDF -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tfidf(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(TfIdf(SETTING), tmp_path_factory.mktemp("runs"))


def test_cut_it_reads_no_more_than_the_networks(tmp_path: Path) -> None:
    setting = replace(SETTING, max_tokens=9)
    one, whole = TfIdf(setting, cut=True), TfIdf(setting)
    shown = one._read(TEXTS, ID)
    assert all(e.text.startswith(cut) for e, cut in zip(TEXTS[ID], shown, strict=True))
    assert any(len(cut) < len(e.text) for e, cut in zip(TEXTS[ID], shown, strict=True))
    encode = setting.backbone.encode
    none = [None] * len(shown)
    assert encode(shown, none, 9) == encode([e.text for e in TEXTS[ID]], none, 9)
    assert encode(shown, none, 512) == encode(shown, none, 9), "nothing is left to be cut"
    assert one.key != whole.key == TfIdf(setting, cut=False).key
    said = [each.predict(TEXTS, 0, CPU)[ID] for each in (one, whole)]
    assert np.abs(said[0] - said[1]).max() > 0.01


def test_tfidfs_probabilities_are_scikit_learns(tfidf: Run) -> None:
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    known = vectors.fit_transform([e.text for e in TEXTS[TRAIN]])
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(known, [e.label for e in TEXTS[TRAIN]])
    columns = [list(model.classes_).index(label) for label in tfidf.labels]
    for role in (SELECT, ID, toy.OOD):
        theirs = model.predict_proba(vectors.transform([e.text for e in TEXTS[role]]))[:, columns]
        ours = tfidf.predictions[role]
        np.testing.assert_allclose(ours.probabilities, theirs, atol=1e-3)
        true = [e.label for e in TEXTS[role]]
        assert [tfidf.labels[n] for n in ours.label] == true
        said = [tfidf.labels[n] for n in theirs.argmax(axis=1)]
        numbers = tfidf.result["splits"][role]
        assert numbers["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
        machine = np.array([label != "human" for label in true])
        auroc = roc_auc_score(machine, 1 - theirs[:, tfidf.labels.index("human")])
        assert numbers["auroc"] == pytest.approx(auroc)


def test_separate_words_are_told_apart(tfidf: Run) -> None:
    assert tfidf.result["splits"][ID]["macro_f1"] > 0.95


def test_its_identity_and_its_texts(tfidf: Run) -> None:
    assert (tfidf.study, tfidf.setting, tfidf.name, tfidf.seed) == ("play", "toy", "some", 0)
    assert tfidf.key == TfIdf(SETTING).key
    assert tfidf.key != TfIdf(SETTING, ngrams=(1, 1)).key
    assert tfidf.labels == tfidf.corpus_labels == toy.Toy.labels
    texts = {role: sum(n.values()) for role, n in tfidf.result["corpus"]["texts"].items()}
    assert texts == {TRAIN: 40, SELECT: 32, ID: 36, toy.OOD: 16}
    assert tfidf.fingerprint == TEXTS.fingerprint
    assert "parameters" not in tfidf.result


def test_kept_records_are_of_the_same_key() -> None:
    here = Checkout.here()
    for setting in ("embedded", "outfox"):
        kept = Run.load(here.results / "thesis" / setting / "tfidf--seed0.json")
        assert TfIdf(here.setting(setting)).key == kept.key


# --- the frozen encoder -------------------------------------------------------------------------


def test_features_are_means_over_transformers_states() -> None:
    for pooling in ("mean", "first"):
        backbone = replace(SETTING.backbone, pooling=pooling)
        one = Centroid(replace(SETTING, backbone=backbone))
        np.testing.assert_allclose(one.of_role(SELECT, CPU), of_role(SELECT), atol=1e-5)


def test_zero_shot_is_similarity_to_descriptions_and_reads_no_training_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    of_role_before = Frozen.of_role

    def remember(self: Frozen, role: str, machine: Machine) -> Matrix:
        asked.append(role)
        return of_role_before(self, role, machine)

    monkeypatch.setattr(Frozen, "of_role", remember)
    record = made(ZeroShot(SETTING), tmp_path)
    assert asked == [SELECT, ID, toy.OOD]
    cosines = cosine_similarity(of_role(ID), states(list(toy.WORDS.values())))
    ours = record.predictions[ID].probabilities
    np.testing.assert_allclose(ours, softmax(cosines / TEMPERATURE, axis=1), atol=2e-3)


def test_a_centroid_of_all_texts_is_scikit_learns() -> None:
    every = Centroid(SETTING, shots=10)
    said = every.predict(TEXTS, 0, CPU)
    numbers = [TEXTS.labels.index(e.label) for e in TEXTS[TRAIN]]
    centres = NearestCentroid().fit(of_role(TRAIN), numbers).centroids_
    np.testing.assert_allclose(every.prototypes(TEXTS, 0, CPU), centres, atol=1e-5)
    near = KNeighborsClassifier(1, metric="cosine").fit(centres, range(4))
    np.testing.assert_array_equal(said[ID].argmax(axis=1), near.predict(of_role(ID)))
    np.testing.assert_allclose(said[ID].sum(axis=1), 1)


def test_shots_are_drawn_by_the_seed_from_their_class_and_fewer_among_more() -> None:
    train_texts = of_role(TRAIN)

    def drawn(shots: int, seed: int) -> list[set[int]]:
        """The training texts whose mean each prototype is, for one shot; else nothing."""
        centres = Centroid(SETTING, shots=shots).prototypes(TEXTS, seed, CPU)
        near = [np.abs(train_texts - centre).max(axis=1) < 1e-5 for centre in centres]
        return [set(np.flatnonzero(row).tolist()) for row in near]

    one = drawn(1, seed=0)
    for label, texts in zip(TEXTS.labels, one, strict=True):
        assert {TEXTS[TRAIN][i].label for i in texts} == {label}
    assert one == drawn(1, seed=0)
    assert one != drawn(1, seed=1)
    first, two = (Centroid(SETTING, shots=k).prototypes(TEXTS, 0, CPU) for k in (1, 2))
    second = 2 * two - first
    for label, centre in zip(TEXTS.labels, second, strict=True):
        (other,) = set(np.flatnonzero(np.abs(train_texts - centre).max(axis=1) < 1e-5).tolist())
        assert TEXTS[TRAIN][other].label == label


@pytest.mark.parametrize("one", [TfIdf(SETTING), ZeroShot(SETTING), Centroid(SETTING, shots=4)])
def test_it_gives_the_same_result_again_and_its_record_is_found(
    one: Reference, tmp_path: Path
) -> None:
    first, again = (made(one, tmp_path / place) for place in ("here", "there"))
    assert first.result == again.result
    for role, own in first.predictions.items():
        np.testing.assert_array_equal(own.probabilities, again.predictions[role].probabilities)
    assert made(one, tmp_path / "here").measured == first.measured


def test_nothing_trains_and_the_record_says_so(tmp_path: Path) -> None:
    record = made(Centroid(SETTING), tmp_path, seed=3)
    assert record.seed == 3
    body = SETTING.backbone.body_parameters
    counted = {"trained": 0, "head": 0, "adapter": 0, "backbone": body}
    assert record.result["parameters"] == counted
    assert record.measured["seconds"] > 0
    assert record.made_by["precision"] == "32-true"


def test_one_pass_serves_all_references_and_probes(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(Centroid(SETTING), tmp_path)
    trunks = set(cache.rglob("*.states"))
    assert trunks
    capsys.readouterr()
    made(Centroid(SETTING, shots=4), tmp_path / "four", seed=1)
    probe = toy.cell(method=LinearProbe(), setting=SETTING)
    toy.run(probe, tmp_path)
    assert "frozen layers" not in capsys.readouterr().err
    assert set(cache.rglob("*.states")) == trunks


# --- what is refused, and what is another experiment --------------------------------------------


def test_mistakes_get_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="zero-shot: corpus toy does not describe parrot, kettle"):
        ZeroShot(toy.setting())
    with pytest.raises(UserError, match="shots=0 must be at least 1"):
        Centroid(SETTING, shots=0)
    with pytest.raises(UserError, match=r"shots=11: class 'parrot' has 10 training texts"):
        made(Centroid(SETTING, shots=11), tmp_path)
    with pytest.raises(UserError, match="seed=1: nothing in some is random"):
        made(TfIdf(SETTING), tmp_path, seed=1)


def test_a_changed_description_is_another_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ZeroShot(SETTING).key
    assert before == ZeroShot(SETTING).key
    monkeypatch.setattr(Described, "descriptions", toy.WORDS | {"human": "an old clock"})
    assert ZeroShot(SETTING).key != before
    assert Centroid(SETTING).key == Centroid(SETTING, shots=1).key


def test_seeds_are_taken_where_something_is_random() -> None:
    assert TfIdf(SETTING).seeds((0, 1, 2)) == ZeroShot(SETTING).seeds((1, 2)) == (0,)
    assert Centroid(SETTING).seeds((0, 1, 2)) == (0, 1, 2)


@pytest.mark.parametrize("name", discover.names(corpora.__name__))
def test_a_corpus_describes_all_its_labels_or_none(name: str) -> None:
    one = corpus(name)
    assert not one.descriptions or set(one.descriptions) == set(one.labels)
    assert all(text.endswith(".") for text in one.descriptions.values())
