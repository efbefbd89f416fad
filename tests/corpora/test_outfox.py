import gzip
import hashlib
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_server import Home, serve
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.tree import DecisionTreeClassifier

from lowrank_da import fetch, train
from lowrank_da.backbone import TINY
from lowrank_da.corpora import outfox
from lowrank_da.corpora._layout import clean, role
from lowrank_da.corpora.outfox import SHARES, Outfox
from lowrank_da.corpus import (
    CACHE_VARIABLE,
    DATA_VARIABLE,
    ID,
    SELECT,
    TRAIN,
    Example,
    data_home,
    normalised,
)
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.methods.lora import LoRA

Row = dict[str, Any]
WORDS = ["school", "phone", "teacher", "reason", "because", "people", "driving", "planet"]


def essays(prompts: int, seed: int = 0) -> list[Row]:
    """Invented essays in the files' layout, each class with a layout of its own."""
    random_ = random.Random(seed)
    layout = {
        "human": "{}.\xa0 {}.  ",
        "chatGPT": "{}.\n{}, and",
        "davinci": "\n\n{}. {}. So it",
        "flan_t5": "{}. {}.",
    }
    return [
        {
            "text": form.format(*(" ".join(random_.choices(WORDS, k=9)) for _ in range(2))),
            "label": label,
            "source": "outfox",
            "split": part,
            "pair_id": f"{part}-{index}",
            "prompt": f"Write about {part} subject {index}.",
        }
        for part in outfox.PARTS
        for index in range(prompts)
        for label, form in layout.items()
    ]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Row]], Path]:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    folder = tmp_path / "outfox"
    folder.mkdir()

    def write(rows: list[Row]) -> Path:
        for part in outfox.PARTS:
            lines = [json.dumps(row) + "\n" for row in rows if row["split"] == part]
            (folder / f"{part}.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
        return folder

    return write


def test_a_text_is_cut_to_its_sentences_in_single_spaces() -> None:
    assert clean("  One.\n\nTwo\xa0 three!\t\tFour") == "One. Two three!"
    assert clean("Is\u2009it? no") == "Is it?"
    assert clean("no end") == clean(" \n") == ""


@given(st.text(alphabet="ab.!? \n\t\xa0\u2009\r"))
def test_clean_leaves_no_layout(text: str) -> None:
    line = clean(text)
    assert line == "" or line[-1] in ".!?"
    assert not line or line == " ".join(line.split())
    assert clean(line) == line
    assert clean(f"\n {text}  \xa0") == line


@given(st.lists(st.tuples(st.sampled_from("pqrstuvP"), st.sampled_from("abcdefgA")), max_size=12))
def test_groups_are_the_connected_components(linked: list[tuple[str, str]]) -> None:
    found = outfox.groups(linked)
    prompts = [f"prompt {normalised(prompt)}" for prompt, _ in linked]
    texts = [f"text {normalised(text)}" for _, text in linked]
    nodes = {node: n for n, node in enumerate(dict.fromkeys(prompts + texts))}
    rows, columns = [nodes[p] for p in prompts], [nodes[t] for t in texts]
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(nodes), len(nodes)))
    component = connected_components(graph, directed=False)[1] if nodes else []
    number = {prompt: component[nodes[f"prompt {normalised(prompt)}"]] for prompt, _ in linked}
    for one, its in number.items():
        assert found[one] == min(prompt for prompt, other in number.items() if other == its)


def test_prompts_are_split_60_15_25_by_their_hash() -> None:
    digests = [hashlib.sha256(f"prompt {n}".encode()).hexdigest() for n in range(4000)]
    roles = [role(digest, SHARES) for digest in digests]
    shares = [roles.count(name) / len(roles) for name in (TRAIN, SELECT, ID)]
    assert shares == pytest.approx([0.60, 0.15, 0.25], abs=0.02)
    assert role("0" * 64, SHARES) == TRAIN
    assert role("99" + "0" * 62, SHARES) == TRAIN
    assert role("9a" + "0" * 62, SHARES) == SELECT
    assert role("bf" + "f" * 62, SHARES) == SELECT
    assert role("c0" + "0" * 62, SHARES) == role("f" * 64, SHARES) == ID


def test_load(write: Callable[[list[Row]], Path]) -> None:
    rows = essays(60)
    write(rows)
    splits = Outfox().load()
    assert splits.labels == ("chatGPT", "flan_t5", "davinci", "human")
    examples = [e for role in splits.roles for e in splits[role]]
    assert {e.uid for e in examples} == {f"{row['pair_id']}-{row['label']}" for row in rows}
    assert len({e.uid for e in examples}) == len(examples) == len(rows)
    for name in splits.roles:
        for example in splits[name]:
            pair_id = example.uid.rpartition("-")[0]
            prompt = next(row["prompt"] for row in rows if row["pair_id"] == pair_id)
            assert role(hashlib.sha256(prompt.encode()).hexdigest(), SHARES) == name
    reordered = list(rows)
    random.Random(1).shuffle(reordered)
    write(reordered)
    assert Outfox().load().fingerprint == splits.fingerprint


def test_shared_essays_and_prompts_stay_together(write: Callable[[list[Row]], Path]) -> None:
    rows = essays(60)
    human = [row for row in rows if row["label"] == "human"]
    for one, other in ((0, 70), (70, 90), (5, 20)):
        human[other]["text"] = human[one]["text"].upper() + "\n"
    for row in rows:
        if row["pair_id"] == "valid-33":
            row["prompt"] = human[20]["prompt"]
    write(rows)
    splits = Outfox().load()
    role_of = {e.uid.rpartition("-")[0]: r for r in splits.roles for e in splits[r]}
    for tied in ((0, 70, 90), (5, 20, 33)):
        assert len({role_of[human[index]["pair_id"]] for index in tied}) == 1


def test_texts_without_a_sentence_end_are_left_out_and_counted(
    write: Callable[[list[Row]], Path], caplog: pytest.LogCaptureFixture
) -> None:
    rows = essays(60)
    rows[0]["text"] = "no sentence ends here"
    write(rows)
    with caplog.at_level("INFO", logger="lowrank_da"):
        splits = Outfox().load()
    assert "1 texts without a sentence end left out" in caplog.text
    assert sum(len(splits[role]) for role in splits.roles) == len(rows) - 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": None}, "valid.jsonl.gz, line 5: no text in 'text'"),
        ({"text": " \n"}, "valid.jsonl.gz, line 5: no text in 'text'"),
        ({"label": "cohere"}, "valid.jsonl.gz, line 5: unknown label 'cohere'"),
        ({"prompt": ""}, "valid.jsonl.gz, line 5: no text in 'prompt'"),
    ],
)
def test_a_bad_row_is_named(write: Callable[[list[Row]], Path], change: Row, said: str) -> None:
    rows = essays(60)
    rows[4] |= change
    write(rows)
    with pytest.raises(UserError) as caught:
        Outfox().load()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_file_is_named(write: Callable[[list[Row]], Path]) -> None:
    folder = write(essays(60))
    path = folder / "test.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"test\.jsonl\.gz is truncated after line \d+"):
        Outfox().load()
    path.write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"test\.jsonl\.gz is damaged"):
        Outfox().load()
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-9]))
    with pytest.raises(UserError, match=r"test\.jsonl\.gz, line 240: not a JSON object"):
        Outfox().load()
    path.write_bytes(gzip.compress(b"[1]\n"))
    with pytest.raises(UserError, match=r"test\.jsonl\.gz, line 1: not a JSON object"):
        Outfox().load()
    path.unlink()
    with pytest.raises(UserError, match=r"test\.jsonl\.gz is missing; .* data get outfox"):
        Outfox().load()


# --- fetching -----------------------------------------------------------------------------------

NAMES = {
    "human": "common/{0}/{0}_humans.pkl",
    "chatGPT": "chatgpt/{0}/{0}_lms.pkl",
    "davinci": "text_davinci_003/{0}/{0}_lms.pkl",
    "flan_t5": "flan_t5_xxl/{0}/{0}_lms.pkl",
}


def published(rows: list[Row]) -> dict[str, Any]:
    """The content of the published pickles by path, made from rows."""
    values: dict[str, Any] = {}
    for part in outfox.PARTS:
        for label, name in NAMES.items():
            values[f"data/{name.format(part)}"] = [
                row["text"] for row in rows if (row["split"], row["label"]) == (part, label)
            ]
        values[f"data/common/{part}/{part}_problem_statements.pkl"] = [
            row["prompt"] for row in rows if (row["split"], row["label"]) == (part, "human")
        ]
    return values


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    with serve() as home:
        monkeypatch.setitem(fetch.HOMES, "github", home.url)
        yield home


def publish(home: Home, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve the pickles and pin what is served, at the real addresses."""
    sources = []
    for source in outfox.SOURCES:
        content = pickle.dumps(values[source.path])
        home.files[source.url.removeprefix("github:")] = content
        sha256 = hashlib.sha256(content).hexdigest()
        sources.append(fetch.Source(source.path, source.url, len(content), sha256))
    monkeypatch.setattr(outfox, "SOURCES", tuple(sources))


def test_get_writes_the_layout_that_load_reads(
    home: Home,
    tmp_path: Path,
    write: Callable[[list[Row]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = essays(40)
    by_hand = write(rows)
    publish(home, published(rows), monkeypatch)
    fetched = tmp_path / "fetched"
    Outfox().get(fetched, "github")
    for part in outfox.PARTS:
        name = f"{part}.jsonl.gz"
        one, other = (
            [json.loads(line) for line in gzip.decompress((f / name).read_bytes()).splitlines()]
            for f in (fetched, by_hand)
        )
        order = list(NAMES)
        other.sort(key=lambda r: (int(r["pair_id"].split("-")[1]), order.index(r["label"])))
        assert one == other
        assert list(one[0]) == list(other[0])
    before = {path.name: path.read_bytes() for path in fetched.iterdir()}
    Outfox().get(fetched, "github")
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == before


class Harmful:
    """Unpickled carelessly, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["harmful", "no list", "no texts", "uneven", "cut"])
def test_get_refuses_other_pickles(
    kind: str, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = published(essays(3))
    path = "data/chatgpt/valid/valid_lms.pkl"
    made = tmp_path / "made by a pickle"
    values[path] = {
        "harmful": [Harmful(made)],
        "no list": {"a": "b"},
        "no texts": [1, 2, 3],
        "uneven": values[path][:2],
        "cut": values[path],
    }[kind]
    publish(home, values, monkeypatch)
    if kind == "cut":
        cut = tmp_path / "cut.pkl"
        cut.write_bytes(pickle.dumps(values[path])[:-5])
        with pytest.raises(UserError, match="no plain list"):
            outfox.read_pickle(cut)
        return
    said = {
        "harmful": "it names posix.mkdir",
        "no list": "not a list of texts",
        "no texts": "not a list of texts",
        "uneven": "2 chatGPT essays for 3 prompts in valid",
    }[kind]
    with pytest.raises(UserError, match=said):
        Outfox().get(tmp_path / "fetched", "github")
    assert not made.exists()
    assert list((tmp_path / "fetched").iterdir()) == []


# --- the real file ------------------------------------------------------------------------------


def layout(example: Example) -> list[float]:
    """Length, final mark, line breaks, no-break, edge and double spaces.

    One length only: characters and words together give the mean word length, which is style.
    """
    text = example.text
    return [
        len(text),
        *(text.endswith(mark) for mark in ".!?"),
        text.count("\n"),
        text.count("\xa0"),
        text != text.lstrip(),
        text != text.rstrip(),
        text.count("  "),
    ]


@pytest.mark.data
def test_the_real_essays() -> None:
    splits = Outfox().load()
    texts = [e for role in splits.roles for e in splits[role]]
    counts = {label: sum(e.label == label for e in texts) for label in splits.labels}
    assert counts == {"chatGPT": 1000, "flan_t5": 1000, "davinci": 1000, "human": 997}
    assert len({e.uid for e in texts}) == len(texts)
    assert splits.fingerprint == "2fdf2e5c4fa9fe4fa7be6be3a690877e59a21612a50bee2a437b7c86debfbc0d"


@pytest.mark.data
def test_layout_does_not_tell_the_real_classes() -> None:
    splits = Outfox().load()
    tree = DecisionTreeClassifier(max_depth=6, random_state=0)
    tree.fit([layout(e) for e in splits[TRAIN]], [e.label for e in splits[TRAIN]])
    for part in (SELECT, ID):
        own = tree.score([layout(e) for e in splits[part]], [e.label for e in splits[part]])
        assert own < 0.45


def written(folder: Path) -> list[Row]:
    """The rows of the corpus' files, in order."""
    files = [gzip.decompress((folder / f"{part}.jsonl.gz").read_bytes()) for part in outfox.PARTS]
    return [json.loads(line) for file in files for line in file.splitlines()]


@pytest.mark.data
def test_get_with_the_real_pins_gives_the_real_files(home: Home, tmp_path: Path) -> None:
    """The published pickles, made again from the real rows, have the pinned bytes."""
    rows = written(data_home() / "outfox")
    values = published(rows)
    for source in outfox.SOURCES:
        content = pickle.dumps(values[source.path], protocol=4)
        home.files[source.url.removeprefix("github:")] = content
    Outfox().get(tmp_path, "github")
    assert written(tmp_path) == rows


@pytest.mark.data
def test_a_training_on_the_real_essays(tmp_path: Path) -> None:
    setting = Setting(
        corpus=Outfox(),
        backbone=TINY,
        max_tokens=64,
        epochs=1,
        train_texts=4,
        select_texts=2,
        id_texts=2,
    )
    experiment = Experiment(setting=setting, method=LoRA(rank=2), learning_rate=1e-3)
    cell = train.Cell("study", "real", "lora", experiment, seed=0)
    (run,) = train.run([cell], tmp_path, tmp_path, Machine.choose("cpu"))
    assert run.corpus_labels == ("chatGPT", "flan_t5", "davinci", "human")
    assert run.result["corpus"]["texts"][TRAIN] == dict.fromkeys(run.labels, 4)
    assert run.result["steps"] == 1
    assert run.confusion(ID).sum() == 8
