import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from local_server import Home, serve

from lowrank_da import fetch, train
from lowrank_da.backbone import TINY
from lowrank_da.corpora import semeval
from lowrank_da.corpora.semeval import ESSAYS, PEERREAD, SemEval
from lowrank_da.corpus import (
    DATA_VARIABLE,
    ID,
    SELECT,
    TRAIN,
    Example,
    Splits,
    data_home,
    normalised,
)
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.methods.lora import LoRA

Row = dict[str, Any]
DOMAINS = ("wikipedia", "wikihow", "reddit", "arxiv")


def official(domains: Iterable[str], count: int, name: str) -> list[Row]:
    """Invented rows in the layout of the task's files, `count` a class and domain, six classes."""
    return [
        {
            "text": f"A text by {model} about {domain}, number {index} of {name}.",
            "label": number,
            "model": model,
            "source": domain,
            "id": f"{number}-{domain}-{index}",
        }
        for number, model in semeval.NUMBERS.items()
        for domain in domains
        for index in range(count)
    ]


def m4(domain: str, model: str, count: int) -> list[Row]:
    """Invented rows in the layout of an M4 file; human texts are shared between models."""
    return [
        {
            "prompt": f"Write about {domain} {index}",
            "human_text": f"What people say about {domain}, number {index}.",
            "machine_text": f"What {model} says about {domain}, number {index}.",
            "model": f"{model}-001",
            "source": "eli5" if domain == "reddit" else domain,
            "source_ID": index,
        }
        for index in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "semeval/m4").mkdir(parents=True)
    return tmp_path / "semeval"


def write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make small counts the published ones."""

    def publish(count: int) -> None:
        classes = SemEval.labels
        monkeypatch.setattr(semeval, "CLASS_COUNTS", dict.fromkeys(classes, 4 * count))
        by_domain = {label: dict.fromkeys(DOMAINS, count) for label in classes[:-1]}
        monkeypatch.setattr(semeval, "DOMAIN_COUNTS", by_domain)
        monkeypatch.setattr(semeval, "DEV_COUNT", 3)
        monkeypatch.setattr(semeval, "TEST_COUNT", 4)

    return publish


def write_official(folder: Path, test_file: str = "subtaskB.jsonl") -> None:
    write(folder / "subtaskB_train.jsonl", official(DOMAINS, 20, "train"))
    write(folder / "subtaskB_dev.jsonl", official(["peerread"], 3, "dev"))
    gold = official(["outfox"], 4, "test")
    write(folder / test_file, ({k: r[k] for k in ("text", "label", "id")} for r in gold))


def write_m4(folder: Path, count: int = 20) -> None:
    for stem in semeval.M4_BLOBS:
        domain, _, model = stem.partition("_")
        write(folder / "m4" / f"{stem}.jsonl", m4(domain, model, count))


def in_domain(splits: Splits) -> list[Example]:
    return [e for role in (TRAIN, SELECT, ID) for e in splits[role]]


def test_the_published_counts_are_the_thesis_corpus() -> None:
    assert sum(semeval.CLASS_COUNTS.values()) == 47_327
    for label, counts in semeval.DOMAIN_COUNTS.items():
        assert sum(counts.values()) == semeval.CLASS_COUNTS[label]
    assert list(semeval.CLASS_COUNTS) == list(SemEval.labels)


@pytest.mark.parametrize("test_file", semeval.TEST_FILES)
def test_the_task_s_files(folder: Path, publish: Callable[[int], None], test_file: str) -> None:
    publish(20)
    write_official(folder, test_file)
    splits = SemEval().load()
    assert list(splits.roles) == [TRAIN, SELECT, ID, PEERREAD, ESSAYS]
    for role, count in ((TRAIN, 64), (SELECT, 8), (ID, 8), (PEERREAD, 3), (ESSAYS, 4)):
        assert splits.counts(role) == Counter(dict.fromkeys(splits.labels, count))
    strata = Counter((e.label, e.domain) for e in splits[TRAIN])
    assert set(strata.values()) == {16}
    assert len(strata) == 16
    assert {e.domain for e in splits[ESSAYS]} == {"outfox"}
    for role in splits.roles:
        assert all(f"by {e.label} about {e.domain}" in e.text for e in splits[role])
    everything = [e.uid for role in splits.roles for e in splits[role]]
    assert len(set(everything)) == len(everything)
    assert "subtaskB_train:1-reddit-7" in everything
    assert SemEval().load().fingerprint == splits.fingerprint


def test_the_split_depends_on_the_texts_alone() -> None:
    texts = [
        Example(str(n), f"text {n}", "human", semeval.text_group(f"text {n}"), "wikihow")
        for n in range(100)
    ]
    forward, backward = semeval.split(texts), semeval.split(reversed(texts))
    for role, count in ((TRAIN, 80), (SELECT, 10), (ID, 10)):
        assert len(forward[role]) == count
        assert {e.uid for e in forward[role]} == {e.uid for e in backward[role]}


def test_duplicates_stay_with_the_first(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_official(folder)
    rows = official(DOMAINS, 20, "train")
    # The same words as human text in arXiv and, later, as davinci's in reddit, many times over.
    for index in range(10):
        rows[60 + index]["text"] = "The  same words."
        rows[280 + index]["text"] = "the same WORDS."
    write(folder / "subtaskB_train.jsonl", rows)
    splits = SemEval().load()
    homes = {role for role in splits.roles for e in splits[role] if "ame words." in e.text.lower()}
    assert len(homes) == 1
    assert len(in_domain(splits)) == 320
    first = [e for e in in_domain(splits) if (e.label, e.domain) == ("human", "arxiv")]
    groups = sorted({e.group for e in first})
    cuts = [round(0.8 * len(groups)), round(0.9 * len(groups))]
    place = groups.index(semeval.text_group("the same words."))
    assert homes == {TRAIN if place < cuts[0] else SELECT if place < cuts[1] else ID}


def test_duplicates_leave_the_out_of_domain_roles(
    folder: Path, publish: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    publish(20)
    write_official(folder)
    train, dev = official(DOMAINS, 20, "train"), official(["peerread"], 3, "dev")
    dev[0]["text"] = train[0]["text"].upper()
    write(folder / "subtaskB_dev.jsonl", dev)
    test = official(["outfox"], 4, "test")
    test[0]["text"] = dev[1]["text"] + " "
    write(folder / "subtaskB.jsonl", test)
    with caplog.at_level("INFO", logger="lowrank_da"):
        splits = SemEval().load()
    assert splits.counts(PEERREAD)["human"] == 2
    assert splits.counts(ESSAYS)["human"] == 3
    assert len(in_domain(splits)) == 320
    for role in (PEERREAD, ESSAYS):
        assert f"1 texts of {role} left out as duplicates" in caplog.text


def test_other_counts_are_refused_unless_partial_is_allowed(folder: Path) -> None:
    write_official(folder)
    with pytest.raises(UserError) as caught:
        SemEval().load()
    assert "500" in str(caught.value)
    for advice in (
        "SemEval(allow_partial=True) in experiments/settings.py",
        "`lowrank-da data check semeval --allow-partial`",
    ):
        assert advice in str(caught.value)
    assert "\n" not in str(caught.value)
    (folder / "subtaskB.jsonl").unlink()
    assert list(SemEval(allow_partial=True).load().roles) == [TRAIN, SELECT, ID, PEERREAD]


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ("train", r"human 79 texts \(published 80\)"),
        ("dev", r"subtaskB_dev\.jsonl: human 2 texts \(published 3\)"),
        ("test", r"subtaskB\.jsonl: human 3 texts \(published 4\)"),
        ("domain", r"chatGPT: reddit 19 texts \(published 20\), wikihow 21 texts \(published 20\)"),
    ],
)
def test_one_missing_text_is_noticed(
    folder: Path, publish: Callable[[int], None], drop: str, said: str
) -> None:
    publish(20)
    write_official(folder)
    if drop == "domain":
        rows = official(DOMAINS, 20, "train")
        moved = next(r for r in rows if (r["label"], r["source"]) == (1, "reddit"))
        moved["source"] = "wikihow"
        write(folder / "subtaskB_train.jsonl", rows)
    else:
        path = folder / {"test": "subtaskB.jsonl"}.get(drop, f"subtaskB_{drop}.jsonl")
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=said):
        SemEval().load()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": None}, "no text in 'text'"),
        ({"text": "  "}, "no text in 'text'"),
        ({"label": 6}, "unknown label 6 (known: 0 human, 1 chatGPT"),
        ({"label": "human"}, "unknown label 'human'"),
        ({"label": True}, "unknown label True"),
        ({"label": 2}, "label 2 means cohere, but the model is 'human'"),
        ({"id": "0-wikipedia-0"}, "id '0-wikipedia-0' is there twice"),
    ],
)
def test_a_bad_row_is_named(
    folder: Path, publish: Callable[[int], None], change: Row, said: str
) -> None:
    publish(20)
    write_official(folder)
    rows = official(DOMAINS, 20, "train")
    rows[4] |= change
    write(folder / "subtaskB_train.jsonl", rows)
    with pytest.raises(UserError) as caught:
        SemEval().load()
    assert f"subtaskB_train.jsonl, line 5: {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_without_id_is_named(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_official(folder)
    rows = official(DOMAINS, 20, "train")
    del rows[4]["id"]
    write(folder / "subtaskB_train.jsonl", rows)
    with pytest.raises(UserError, match=r"line 5: no 'id'"):
        SemEval().load()


def test_a_truncated_or_missing_file_is_named(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_official(folder)
    path = folder / "subtaskB_train.jsonl"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UserError, match=r"subtaskB_train\.jsonl, line 480: not a JSON object"):
        SemEval().load()
    write_official(folder)
    (folder / "subtaskB_dev.jsonl").unlink()
    with pytest.raises(UserError, match=r"subtaskB_dev\.jsonl is missing; .* data get semeval"):
        SemEval().load()
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"subtaskB_train\.jsonl is missing"):
        SemEval().load()


def test_rebuilt_from_m4(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_m4(folder)
    splits = SemEval().load()
    assert list(splits.roles) == [TRAIN, SELECT, ID, PEERREAD]
    texts = in_domain(splits)
    assert Counter(e.label for e in texts) == dict.fromkeys(splits.labels, 80)
    assert {e.domain for e in texts} == set(DOMAINS)
    assert splits.counts(PEERREAD) == dict.fromkeys(splits.labels, 20)
    uids = [e.uid for role in splits.roles for e in splits[role]]
    assert len(set(uids)) == len(uids)
    assert {"arxiv_chatGPT:1", "wikipedia_chatgpt:20"} <= set(uids)
    write(folder / "subtaskB.jsonl", official(["outfox"], 4, "test"))
    assert list(SemEval().load().roles) == [TRAIN, SELECT, ID, PEERREAD, ESSAYS]


def test_rebuilt_counts_and_rows_are_checked(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_m4(folder)
    path = folder / "m4/reddit_cohere.jsonl"
    rows = m4("reddit", "cohere", 20)
    rows[3]["machine_text"] = ""
    write(path, rows)
    with pytest.raises(UserError, match=r"reddit_cohere\.jsonl, line 4: no text in 'machine_text'"):
        SemEval().load()
    assert len(in_domain(SemEval(allow_partial=True).load())) == 319
    write(path, rows[:3])
    with pytest.raises(UserError, match=r"cohere 63 texts \(published 80\)"):
        SemEval().load()
    path.unlink()
    with pytest.raises(UserError, match=r"reddit_cohere\.jsonl is missing; .*get semeval/m4"):
        SemEval().load()
    assert SemEval(allow_partial=True).load().counts(TRAIN)["cohere"] == 48


def test_a_list_of_reviews_is_several_texts(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_m4(folder)
    rows = m4("peerread", "cohere", 2)
    rows[0]["machine_text"] = ["A first review.", "A second review."]
    write(folder / "m4/peerread_cohere.jsonl", rows)
    peerread = SemEval().load()[PEERREAD]
    uids = [e.uid for e in peerread if e.label == "cohere"]
    assert uids == ["peerread_cohere:1", "peerread_cohere:1.1", "peerread_cohere:2"]
    rows[0]["machine_text"] = ["A first review.", None]
    write(folder / "m4/peerread_cohere.jsonl", rows)
    with pytest.raises(UserError, match=r"peerread_cohere\.jsonl, line 1: no text"):
        SemEval(allow_partial=True).load()


def test_the_task_s_files_come_before_m4_s(folder: Path, publish: Callable[[int], None]) -> None:
    publish(20)
    write_m4(folder)
    write_official(folder)
    assert all(e.uid.startswith("subtaskB_train:") for e in in_domain(SemEval().load()))


# --- fetching -----------------------------------------------------------------------------------


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with serve() as home:
        monkeypatch.setitem(fetch.HOMES, "github", home.url)
        yield home


def test_m4_is_fetched_by_its_blob_ids(
    folder: Path, home: Home, publish: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(20)
    write_m4(folder)
    blobs = {}
    for stem in semeval.M4_BLOBS:
        path = folder / "m4" / f"{stem}.jsonl"
        home.files[f"mbzuai-nlp/M4/{semeval.M4_COMMIT}/data/{stem}.jsonl"] = path.read_bytes()
        command = ["git", "hash-object", "--no-filters", path]
        blobs[stem] = subprocess.check_output(command, text=True).strip()
    by_hand = SemEval().load().fingerprint
    shutil.rmtree(folder / "m4")
    with pytest.raises(UserError, match="git blob id"):
        SemEval().get(folder, "m4")
    monkeypatch.setattr(semeval, "M4_BLOBS", blobs)
    SemEval().get(folder, "m4")
    assert SemEval().load().fingerprint == by_hand


class Drive(ModuleType):
    """gdown, as far as it is used here, over files on this machine."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__("gdown")
        self.files = files
        self.fetched: list[str] = []

    def download_folder(
        self, *, id: str, output: str, skip_download: bool, quiet: bool
    ) -> list[SimpleNamespace]:
        assert skip_download
        return [
            SimpleNamespace(id=name, path=f"SubtaskB/{name}")
            for name in [*self.files, "something_else.jsonl"]
        ]

    def download(self, *, id: str, output: str, resume: bool) -> str:
        assert resume
        self.fetched.append(id)
        shutil.copy(self.files[id], output)
        return output


@pytest.fixture
def drive(
    folder: Path,
    tmp_path: Path,
    publish: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Drive:
    publish(20)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_official(elsewhere)
    drive = Drive({path.name: path for path in elsewhere.iterdir()})
    monkeypatch.setitem(sys.modules, "gdown", drive)
    return drive


def test_the_task_s_files_are_fetched_and_counted(folder: Path, drive: Drive) -> None:
    SemEval().get(folder, "official")
    wanted = ["subtaskB.jsonl", "subtaskB_dev.jsonl", "subtaskB_train.jsonl"]
    assert sorted(drive.fetched) == wanted
    assert len(in_domain(SemEval().load())) == 320
    write(drive.files["subtaskB_dev.jsonl"], official(["peerread"], 2, "dev"))
    with pytest.raises(UserError, match=r"subtaskB_dev\.jsonl: .*published 3"):
        SemEval().get(folder, "official")


def test_drive_s_errors_are_told_in_one_line(
    folder: Path, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = drive.files.pop("subtaskB_dev.jsonl")
    with pytest.raises(UserError, match=r"gave no subtaskB_dev\.jsonl"):
        SemEval().get(folder, "official")
    assert missing.exists()

    def fails(**_: object) -> None:
        raise RuntimeError("Too many users\n have viewed it")

    monkeypatch.setattr(drive, "download_folder", fails)
    with pytest.raises(UserError, match=r"\(Too many users have viewed it\); check the network"):
        SemEval().get(folder, "official")
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[data\]' in the checkout"):
        SemEval().get(folder, "official")


# --- the real files -----------------------------------------------------------------------------


@pytest.fixture
def real() -> SemEval:
    """The corpus over its real files; skipped where they do not lie, for they are not everywhere.

    The task's files come from Google Drive, so even where corpora are required they are not.
    """
    if not (data_home() / "semeval").is_dir():
        pytest.skip(f"semeval is not in {DATA_VARIABLE}; lowrank-da data get semeval")
    return SemEval()


@pytest.mark.data
def test_the_real_texts(real: SemEval) -> None:
    splits = real.load()
    assert splits.labels == ("chatGPT", "cohere", "davinci", "human")
    texts = in_domain(splits)
    counts = {label: sum(e.label == label for e in texts) for label in splits.labels}
    assert counts == {"chatGPT": 11_995, "cohere": 11_336, "davinci": 11_999, "human": 11_997}
    for role, share in ((TRAIN, 0.8), (SELECT, 0.1), (ID, 0.1)):
        for label, count in splits.counts(role).items():
            assert count == pytest.approx(share * counts[label], rel=0.05)
    for role, most in ((PEERREAD, 500), (ESSAYS, 3_000)):
        if role in splits.roles:
            assert min(splits.counts(role).values()) > 0
            assert max(splits.counts(role).values()) <= most
    uids = [e.uid for role in splits.roles for e in splits[role]]
    assert len(set(uids)) == len(uids)
    assert real.load().fingerprint == splits.fingerprint


@pytest.mark.data
def test_no_real_text_or_group_is_in_two_roles(real: SemEval) -> None:
    splits = real.load()
    for of in (lambda e: e.group, lambda e: normalised(e.text)):
        found = [{of(e) for e in splits[role]} for role in splits.roles]
        assert len(set().union(*found)) == sum(map(len, found))


@pytest.mark.data
def test_a_training_on_the_real_texts(real: SemEval, tmp_path: Path) -> None:
    setting = Setting(
        corpus=real,
        backbone=TINY,
        max_tokens=32,
        epochs=1,
        train_texts=4,
        select_texts=2,
        id_texts=2,
    )
    experiment = Experiment(setting=setting, method=LoRA(rank=2), learning_rate=1e-3)
    cell = train.Cell("study", "real", "lora", experiment, seed=0)
    (run,) = train.run([cell], tmp_path, tmp_path, Machine.choose("cpu"))
    assert run.corpus_labels == ("chatGPT", "cohere", "davinci", "human")
    assert run.result["corpus"]["texts"][TRAIN] == dict.fromkeys(run.labels, 4)
    assert run.confusion(ID).sum() == 8
