import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonl_files
import pytest
from local_server import serve

from lowrank_da import fetch
from lowrank_da.corpora import trec6
from lowrank_da.corpora.trec6 import CODES, Trec6
from lowrank_da.corpus import CACHE_VARIABLE, DATA_VARIABLE, ID, SELECT, TRAIN, normalised
from lowrank_da.errors import UserError

Row = dict[str, Any]


def questions(part: str, each: int) -> list[Row]:
    """Invented ones, so many of each class."""
    return [
        {"text": f"What {part} thing number {n} is of kind {label} ?", "label": label}
        for n in range(each)
        for label in CODES
    ]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    folder = tmp_path / "suite" / "trec6"

    def write(train: list[Row], test: list[Row]) -> Path:
        jsonl_files.write(folder / "train.jsonl.gz", train)
        jsonl_files.write(folder / "test.jsonl.gz", test)
        return folder

    return write


def test_a_tenth_of_each_class_is_chosen_on(write: Callable[..., Path]) -> None:
    write(questions("old", 30), questions("new", 5))
    splits = Trec6().load()
    assert {label: splits.counts(SELECT)[label] for label in splits.labels} == dict.fromkeys(
        splits.labels, 3
    )
    assert set(splits.counts(TRAIN).values()) == {27}
    assert set(splits.counts(ID).values()) == {5}
    assert {e.uid for e in splits[ID]} == {f"test-{n}" for n in range(1, 31)}


def test_the_order_of_the_rows_chooses_nothing(write: Callable[..., Path]) -> None:
    rows = questions("old", 30)
    write(rows, questions("new", 5))
    before = {e.text for e in Trec6().load()[SELECT]}
    random.Random(1).shuffle(rows)
    write(rows, questions("new", 5))
    assert {e.text for e in Trec6().load()[SELECT]} == before


def test_repeated_questions_share_a_split_and_tested_ones_are_not_learned(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    rows, tested = questions("old", 30), questions("new", 5)
    again = [row | {"text": row["text"].upper().replace(" ", "  ")} for row in rows[:60]]
    write([*rows, *again, tested[0] | {"text": tested[0]["text"].lower()}], tested)
    with caplog.at_level("INFO", logger="lowrank_da"):
        splits = Trec6().load()
    assert "1 questions of train are in test too" in caplog.text
    role_of: dict[str, str] = {}
    for role in (TRAIN, SELECT):
        for e in splits[role]:
            assert role_of.setdefault(normalised(e.text), role) == role
    assert normalised(tested[0]["text"]) not in role_of
    assert len(splits[TRAIN]) + len(splits[SELECT]) == 240


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "HUMAN"}, "train.jsonl.gz, line 2: unknown label 'HUMAN'"),
        ({"text": " "}, "train.jsonl.gz, line 2: no text in 'text'"),
    ],
)
def test_a_bad_row_is_named(write: Callable[..., Path], change: Row, said: str) -> None:
    rows = questions("old", 30)
    rows[1] |= change
    write(rows, questions("new", 5))
    with pytest.raises(UserError) as caught:
        Trec6().load()
    assert said in str(caught.value)


def test_get_reads_the_published_lines(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"train": questions("\u00f0ld", 30), "test": questions("new", 5)}
    write(rows["train"], rows["test"])
    wanted = Trec6().load().fingerprint
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    fetched = tmp_path / "fetched" / "suite" / "trec6"
    with serve() as home:
        monkeypatch.setitem(fetch.HOMES, "github", home.url)
        for source, part in zip(trec6.SOURCES, trec6.PARTS, strict=True):
            lines = [f"{CODES.index(r['label'])} {r['text']}\n" for r in rows[part]]
            content = "".join(lines).encode("latin-1")
            home.files[source.url.removeprefix("github:")] = content
        with pytest.raises(UserError, match="no pin is known for 2 files") as refused:
            Trec6().get(fetched, "github")
        assert not fetched.exists()
        hashes = str(refused.value).rpartition(" ")[2]
        Trec6().get(fetched, "github", hashes)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "fetched"))
    assert Trec6().load().fingerprint == wanted


@pytest.mark.parametrize("line", ["6 What ?", "x What ?", "2", ""])
def test_get_refuses_other_lines(tmp_path: Path, line: str) -> None:
    path = tmp_path / "TREC.train.all"
    path.write_text(f"0 What is it ?\n{line}\n", encoding="latin-1")
    with pytest.raises(UserError, match="line 2: no class and question"):
        list(trec6._rows(path))


@pytest.mark.data
def test_the_real_questions() -> None:
    splits = Trec6().load()
    assert {role: len(splits[role]) for role in splits.roles} == {TRAIN: 4894, SELECT: 547, ID: 500}
    assert splits.counts(SELECT)["ABBR"] == 9
    assert splits.counts(ID) == {
        "ABBR": 9,
        "DESC": 138,
        "ENTY": 94,
        "HUM": 65,
        "LOC": 81,
        "NUM": 113,
    }
