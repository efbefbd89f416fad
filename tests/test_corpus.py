"""Texts, splits and what they refuse."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from lowrank_da.corpus import (
    CACHE_VARIABLE,
    DATA_VARIABLE,
    ID,
    SELECT,
    TRAIN,
    Corpus,
    Example,
    Splits,
    cache_home,
    corpus,
    data_home,
    splits,
)
from lowrank_da.errors import UserError

LABELS = ("machine", "human")


def roles(groups: int = 3) -> dict[str, tuple[Example, ...]]:
    """In every role so many groups, with a text of both classes each."""
    return {
        role: tuple(
            Example(f"{role}-{label}-{i}", f"{label} text {i} of {role}", label, f"{role}-{i}")
            for i in range(groups)
            for label in LABELS
        )
        for role in (TRAIN, SELECT, ID, "ood/news")
    }


def changed(role: str, index: int, **facts: str) -> Splits:
    """The splits with one text changed."""
    own = roles()
    texts = list(own[role])
    texts[index] = replace(texts[index], **facts)
    return Splits("invented", LABELS, own | {role: tuple(texts)})


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="invented: text 'id-human-0' in id is empty"):
        changed(ID, 1, text=text)


def test_an_unknown_label_is_refused() -> None:
    message = r"'select-human-0' in select has the unknown label 'humna' \(known: machine, human\)"
    with pytest.raises(UserError, match=message):
        changed(SELECT, 1, label="humna")


@pytest.mark.parametrize("role", [TRAIN, SELECT, ID])
def test_an_empty_class_is_refused(role: str) -> None:
    own = roles()
    own[role] = tuple(e for e in own[role] if e.label == "human")
    with pytest.raises(UserError, match=f"invented: class 'machine' has no text in {role}"):
        Splits("invented", LABELS, own)


def test_an_out_of_domain_role_may_lack_a_class() -> None:
    own = roles()
    own["ood/news"] = own["ood/news"][:1]
    assert Splits("invented", LABELS, own).counts("ood/news") == {"machine": 1}


@pytest.mark.parametrize("role", [SELECT, ID, "ood/news"])
def test_a_group_in_two_roles_is_refused(role: str) -> None:
    message = f"invented: group 'train-0' is in both train and {role}; splits must not share"
    with pytest.raises(UserError, match=message):
        changed(role, 0, group="train-0")


@pytest.mark.parametrize("text", ["machine text 0 of train", " MACHINE  text\n0 of\ttrain "])
def test_a_duplicate_in_two_roles_is_refused_whatever_its_case_and_space(text: str) -> None:
    message = "the text of 'id-machine-1' is in both train and id; duplicates must share one split"
    with pytest.raises(UserError, match=message):
        changed(ID, 2, text=text)


def test_a_duplicate_in_one_role_and_the_same_text_in_another_pair_are_admitted() -> None:
    assert changed(TRAIN, 2, text="machine text 0 of train")
    assert changed(ID, 2, text="machine text 0 of train", pair="after another text")


@pytest.mark.parametrize(
    "make",
    [
        lambda: changed(ID, 1, text=""),
        lambda: changed(ID, 1, label="humna"),
        lambda: changed(ID, 1, group="train-0"),
        lambda: changed(ID, 1, text="human text 0 of train"),
        lambda: Splits("invented", LABELS, roles() | {ID: ()}),
    ],
)
def test_every_refusal_is_one_line_that_names_the_corpus(make: object) -> None:
    with pytest.raises(UserError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value).startswith("invented: ")
    assert "\n" not in str(caught.value)


# --- choosing some ------------------------------------------------------------------------------


def uids(examples: Sequence[Example]) -> list[str]:
    return [example.uid for example in examples]


def test_take_chooses_so_many_of_each_class_and_always_the_same() -> None:
    whole = toy.Toy().load()
    some = whole.take({TRAIN: 5, SELECT: None, ID: 100})
    assert some.counts(TRAIN) == dict.fromkeys(whole.labels, 5)
    for role in (SELECT, ID, toy.OOD):
        assert some.counts(role) == whole.counts(role)
    backwards = replace(whole, roles={r: e[::-1] for r, e in whole.roles.items()})
    again = backwards.take({TRAIN: 5, SELECT: None, ID: 100})
    assert {r: uids(e) for r, e in again.roles.items()} == {
        r: uids(e) for r, e in some.roles.items()
    }


def test_taking_fewer_takes_of_the_same() -> None:
    whole = toy.Toy().load()
    five, two = (set(uids(whole.take({TRAIN: n})[TRAIN])) for n in (5, 2))
    assert two < five
    assert {uid.rpartition("-")[2] for uid in five} != {str(n) for n in range(5)}, "not the first"


def test_by_group_the_classes_are_of_the_same_groups() -> None:
    apart = Splits("invented", LABELS, roles(20))
    together = replace(apart, by_group=True)

    def chosen(splits: Splits, texts: int) -> list[set[str]]:
        some = splits.take({TRAIN: texts})[TRAIN]
        return [{e.group for e in some if e.label == label} for label in LABELS]

    machine, human = chosen(apart, 8)
    assert machine != human
    machine, human = chosen(together, 8)
    assert machine == human
    assert len(human) == 8
    assert human > chosen(together, 5)[1]
    assert together.fingerprint == apart.fingerprint


# --- the fingerprint ----------------------------------------------------------------------------


def test_the_fingerprint_does_not_depend_on_the_order() -> None:
    own = roles()
    backwards = {role: own[role][::-1] for role in reversed(own)}
    one, other = (Splits("invented", LABELS, r) for r in (own, backwards))
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 64


@pytest.mark.parametrize("role", [TRAIN, SELECT, ID, "ood/news"])
@pytest.mark.parametrize(
    "facts", [{"text": "human text 0 of trails"}, {"uid": "other"}, {"pair": "b"}]
)
def test_the_fingerprint_sees_every_text(role: str, facts: dict[str, str]) -> None:
    assert changed(role, 1, **facts).fingerprint != changed(role, 1).fingerprint


def test_the_fingerprint_sees_labels_and_roles() -> None:
    assert changed(ID, 1, label="machine").fingerprint != changed(ID, 1).fingerprint
    own = roles()
    own[SELECT], own[ID] = own[ID], own[SELECT]
    assert Splits("invented", LABELS, own).fingerprint != changed(ID, 1).fingerprint


# --- counts -------------------------------------------------------------------------------------


def test_summary_counts_texts_by_role_and_words_by_class() -> None:
    splits = changed(TRAIN, 0, text="one two three four five six seven eight nine ten eleven")
    summary = splits.summary(("machine",))
    assert summary["texts"] == {role: {"machine": 3} for role in splits.roles}
    assert summary["mean_words"] == {"machine": (8 * 5 + 11) / 9}
    assert splits.evaluated == (SELECT, ID, "ood/news")


# --- where things lie ---------------------------------------------------------------------------


def test_the_data_folder_must_exist_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert data_home() == tmp_path / "cache" / "data"
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_home() == tmp_path
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / name))
        message = f"{DATA_VARIABLE}={tmp_path / name} is not a folder; create it or unset"
        with pytest.raises(UserError, match=message):
            data_home()


def test_the_cache_is_the_users_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_home() == tmp_path / ".cache" / "lowrank_da"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "lowrank_da"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    assert cache_home() == tmp_path / "own"


# --- the recipe ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["docstrings", "outfox", "semeval"])
def test_a_corpus_is_found_by_its_files_name(name: str) -> None:
    found = corpus(name)
    assert found.name == name
    assert found.labels[-1] == found.human == "human"
    assert len(set(found.labels)) == 4


def test_an_unknown_corpus_has_a_nearest_one() -> None:
    with pytest.raises(UserError, match="unknown corpus 'outfix'; did you mean 'outfox'"):
        corpus("outfix")


def test_texts_are_loaded_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class Once(Corpus):
        labels = LABELS

        def load(self) -> Splits:
            loaded.append(1)
            return Splits("invented", LABELS, roles())

    once = Once()
    assert splits(once) is splits(once)
    assert loaded == [1]


def test_a_corpus_without_a_home_has_nothing_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="corpus toy: nothing to fetch"):
        toy.Toy().get(tmp_path, "")
    assert toy.Toy().versions() == {}
