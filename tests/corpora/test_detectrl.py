from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonl_files
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from lowrank_da.corpora import detectrl
from lowrank_da.corpora.detectrl import DOMAINS, Detectrl, repaired
from lowrank_da.corpus import DATA_VARIABLE, ID, SELECT, TRAIN, Example
from lowrank_da.errors import UserError

Row = dict[str, Any]


def rows(each: int = 60) -> Iterator[Row]:
    """Invented ones, so many of each domain and class."""
    for domain in DOMAINS:
        for label in Detectrl.labels:
            for n in range(each):
                attack = "none" if label == "human" else detectrl.PLAIN[1 + n % 2]
                text = f"Text {n} of {label} in {domain}. It has an end."
                yield {"text": text, "label": label, "domain": domain, "attack": attack}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Row]], None]:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    return lambda of: jsonl_files.write(tmp_path / "detectrl" / "clean_union.jsonl.gz", of)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It was good. nnThe food!", "It was good. The food!"),
        ("It was good.nnThe food!", "It was good. The food!"),
        ("(So so. )nMany said no.", "(So so. ) Many said no."),
        ("An n-dimensional $n$ space, and Anne.", "An n-dimensional $n$ space, and Anne."),
        ("They' ll go, he ca n't .", "They'll go, he can't."),
        ("The dogs' tails.", "The dogs' tails."),
        (
            "One end.Another one.No.1 of the U.S. is 3.5.",
            "One end. Another one. No.1 of the U.S. is 3.5.",
        ),
        ('He said "no.""Oh," she said.', 'He said "no." "Oh," she said.'),
        ("**Story:** it *was* so.", "Story: it was so."),
        ("A ( b ) , ``c'' .", 'A (b), "c".'),
        ("Cut off. and more", "Cut off."),
    ],
)
def test_damage_is_repaired(text: str, wanted: str) -> None:
    assert repaired(text).replace(" )", ")") == wanted.replace(" )", ")")


@given(st.text(alphabet="anT.!? \n'\"()*`,s", max_size=40))
def test_repairing_twice_changes_little(text: str) -> None:
    """What one pass leaves, a second may see; it never grows and keeps its end."""
    once = repaired(text)
    assert once == "" or once[-1] in ".!?"
    assert once == " ".join(once.split())
    assert not any(mark in once for mark in ("*", "``", "''"))


def test_it_takes_so_many_of_each(
    write: Callable[[list[Row]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectrl, "HUMAN_TEXTS", 40)
    monkeypatch.setattr(detectrl, "MODEL_TEXTS", 50)
    attacked = [row | {"attack": "paraphrase", "text": "It is attacked."} for row in rows(1)]
    write([*rows(), *attacked])
    splits = Detectrl().load()
    texts = [e for role in splits.roles for e in splits[role]]
    taken = Counter((e.domain, e.label) for e in texts)
    assert set(taken.values()) == {40, 50}
    assert {n for (_, label), n in taken.items() if label == "human"} == {40}
    assert len({e.uid for e in texts}) == len(texts)
    assert not any("attacked" in e.text for e in texts)
    shares = [len(splits[role]) / len(texts) for role in (TRAIN, SELECT, ID)]
    assert shares == pytest.approx([0.60, 0.15, 0.25], abs=0.05)


def test_the_order_of_the_rows_does_not_matter(write: Callable[[list[Row]], None]) -> None:
    every = list(rows())
    write(every)
    before = Detectrl().load().fingerprint
    write(every[::-1])
    assert Detectrl().load().fingerprint == before


def test_refusals_and_repetitions_are_left_out(
    write: Callable[[list[Row]], None], caplog: pytest.LogCaptureFixture
) -> None:
    every = list(rows())
    refusals = ["As an AI I cannot.", "I am a Language Model.", "no end"]
    odd = [every[0] | {"text": text} for text in refusals]
    write([*every, *odd, every[0] | {"text": every[0]["text"].upper()}])
    with caplog.at_level("INFO", logger="lowrank_da"):
        splits = Detectrl().load()
    assert "3 of 1204 texts are refusals or empty" in caplog.text
    assert sum(len(splits[role]) for role in splits.roles) == len(every)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "chatGPT"}, "line 3: unknown label 'chatGPT'"),
        ({"domain": "news"}, "line 3: unknown domain 'news'"),
        ({"text": ""}, "line 3: no text in 'text'"),
    ],
)
def test_a_bad_row_is_named(write: Callable[[list[Row]], None], change: Row, said: str) -> None:
    every = list(rows())
    every[2] |= change
    write(every)
    with pytest.raises(UserError) as caught:
        Detectrl().load()
    assert said in str(caught.value)


def test_it_says_where_the_file_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=r"clean_union\.jsonl\.gz is missing"):
        Detectrl().load()
    with pytest.raises(UserError, match=r"no licence and is not fetched: .*clean_union\.jsonl\.gz"):
        Detectrl().get(tmp_path, "")


# --- the real file ------------------------------------------------------------------------------


def damage(example: Example) -> list[float]:
    """Marks of what was done to human texts alone before it was repaired."""
    text = example.text
    return [
        text.count(" nn"),
        text.count("  "),
        text.count("*"),
        text.count("' "),
        sum(text.count(f" {mark}") for mark in ".,!?"),
        *(text.endswith(mark) for mark in ".!?"),
    ]


@pytest.mark.data
def test_the_real_texts() -> None:
    splits = Detectrl().load()
    texts = [e for role in splits.roles for e in splits[role]]
    taken = Counter((e.domain, e.label) for e in texts)
    assert taken == {
        (d, label): 600 if label == "human" else 150 for d in DOMAINS for label in splits.labels
    }


@pytest.mark.data
def test_damage_does_not_tell_human_texts() -> None:
    splits = Detectrl().load()
    tree = DecisionTreeClassifier(max_depth=6, random_state=0)
    tree.fit([damage(e) for e in splits[TRAIN]], [e.label == "human" for e in splits[TRAIN]])
    for role in (SELECT, ID):
        human = [e.label == "human" for e in splits[role]]
        assert tree.score([damage(e) for e in splits[role]], human) < 0.62
