"""The command line: what it does, and the one line that every mistake gets."""

import gzip
import json
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
import toy
import toy_checkout
from transformers import RobertaForSequenceClassification

from lowrank_da import cli, corpora, discover, methods
from lowrank_da.backbone import DISTILROBERTA
from lowrank_da.classifier import Classifier
from lowrank_da.corpora.outfox import PARTS
from lowrank_da.corpus import CACHE_VARIABLE, DATA_VARIABLE
from lowrank_da.method import method
from lowrank_da.run import Run, record_path
from lowrank_da.study import Checkout

CPU = ["--device", "cpu", "--precision", "fp32"]
HERE = ["--setting", "room"]
CORPORA = discover.names(corpora.__name__)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The toy checkout, which the commands then work on, with empty data and cache folders."""
    root = tmp_path / "checkout"
    root.mkdir()
    here = toy_checkout.make(root, monkeypatch)
    monkeypatch.setattr(Checkout, "here", lambda: here)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return here


def files(root: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def refused(command: list[str], root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command gets; it leaves all files as they are."""
    before = files(root)
    assert cli.main(command) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("lowrank-da: ")
    assert printed.err.endswith("\n")
    assert printed.err.count("\n") == 1
    assert files(root) == before
    return printed.err


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["list", "corpra"], "unknown kind 'corpra'; did you mean 'corpora'"),
        (["run", "plya", "full", *HERE], "unknown study 'plya'; did you mean 'play'"),
        (["run", "play", "ful", *HERE], "unknown experiment 'ful'; did you mean 'full'"),
        (
            ["run", "play", "full", "--setting", "rooom"],
            "unknown setting 'rooom'; did you mean 'room'",
        ),
        (["reproduce", "plya", *HERE], "unknown study 'plya'; did you mean 'play'"),
        (["reproduce", "play", "--setting", "rom"], "unknown setting 'rom'; did you mean 'room'"),
        (["status", "plya", *HERE], "unknown study 'plya'; did you mean 'play'"),
        (["tables", "plya", *HERE], "unknown study 'plya'; did you mean 'play'"),
        (["tables", "plya"], "unknown study 'plya'; did you mean 'play'"),
        (
            ["run", "play", "full", *HERE, "--seed", "-1"],
            "--seed -1: seeds go from 0 to 2147483647",
        ),
        (["run", "play", "tfidf", *HERE, "--seed", "1"], "--seed 1: tfidf takes seed 0 alone"),
        (["reproduce", "play", *HERE, "--seeds", "0"], "--seeds 0: at least one seed is needed"),
        (["tables", "play", "--setting", "rom"], "unknown setting 'rom'; did you mean 'room'"),
        (["keep", "play", *HERE], "nothing of play in room to keep below"),
        (["run", "play", "full", *HERE, "--device", "cuda"], "no CUDA device is there"),
        (["reproduce", "play", *HERE, "--device", "cuda"], "no CUDA device is there"),
        (
            ["run", "play", "full", *HERE, "--device", "cpuu"],
            "unknown device 'cpuu'; did you mean 'cpu'",
        ),
        (
            ["run", "play", "full", *HERE, "--precision", "fp23"],
            "unknown precision 'fp23'; did you mean 'fp32'",
        ),
        (["data", "check", "outfix"], "unknown corpus or backbone 'outfix'; did you mean 'outfox'"),
        (["data", "get", "outfix"], "unknown corpus or backbone 'outfix'; did you mean 'outfox'"),
        (["data", "get", "distilberta"], "did you mean 'distilroberta'"),
        (["data", "get", "docstrings"], "corpus docstrings: nothing to fetch"),
        (["data", "check"], "data check needs a name; `lowrank-da data list` shows them"),
        (["data", "check", "outfox"], "valid.jsonl.gz is missing; fetch it with"),
        (["data", "check", "semeval"], "subtaskB_train.jsonl is missing; fetch it with"),
        (["data", "check", "outfox", "--allow-partial"], "outfox has no partial form"),
    ],
)
def test_a_mistake_gets_one_line(
    command: list[str],
    message: str,
    checkout: Checkout,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in refused(command, tmp_path, capsys)


@pytest.mark.parametrize(
    "command", [["data", "list"], ["data", "check", "outfox"], ["data", "get", "outfox"]]
)
def test_a_data_folder_that_is_not_there_gets_one_line(
    command: list[str],
    checkout: Checkout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    line = refused(command, tmp_path, capsys)
    assert f"{DATA_VARIABLE}={tmp_path / 'nowhere'} is not a folder" in line


def essays(folder: Path, **changes: str) -> list[Path]:
    """Invented essays in the layout of the OUTFOX files, the last row changed."""
    folder.mkdir()
    written = []
    for part in PARTS:
        rows = [
            {
                "text": f"A {label} essay, number {index} of {part}.",
                "label": label,
                "pair_id": f"{part}-{index}",
                "prompt": f"Write essay {index} of {part}",
            }
            for index in range(20)
            for label in ("chatGPT", "flan_t5", "davinci", "human")
        ]
        rows[-1] |= changes
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        written.append(folder / f"{part}.jsonl.gz")
        written[-1].write_bytes(gzip.compress(lines))
    return written


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("truncated", "is truncated after line"),
        ("no gzip", "is damaged after line 0"),
        ("no text", "line 80: no text in 'text'"),
        ("label", "line 80: unknown label 'hunam'"),
    ],
)
def test_a_damaged_corpus_gets_one_line_with_its_file(
    damage: str,
    message: str,
    checkout: Checkout,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"no text": {"text": " "}, "label": {"label": "hunam"}}.get(damage, {})
    path, _ = essays(tmp_path / "data" / "outfox", **changes)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    if damage == "no gzip":
        path.write_bytes(b"not gzip")
    line = refused(["data", "check", "outfox"], tmp_path, capsys)
    assert message in line
    assert str(path) in line


def test_a_damaged_record_or_resume_file_gets_one_line(
    checkout: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "play", toy_checkout.TRIALS[1], *HERE, *CPU]
    assert cli.main(command) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    run = Run.load(path)
    state = f".{run.key}-{run.fingerprint[:8]}-32-true-1.resume"
    whole = path.read_text()
    path.write_text(whole[:100])
    assert f"{path}: the record is damaged" in refused(command, tmp_path, capsys)
    results = record_path(checkout.results, "play", "room", toy_checkout.TRIALS[1], 0)
    results.parent.mkdir(parents=True)
    path.rename(results)
    line = refused(["tables", "play"], tmp_path, capsys)
    assert f"{results}: the record is damaged" in line
    results.unlink()
    path.with_suffix(state).write_bytes(b"half")
    assert "damaged resume file" in refused(command, tmp_path, capsys)


def test_outside_a_checkout_a_command_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "experiments", None)
    for command in (["list"], ["status"], ["tables"], ["prove"]):
        assert "needs a checkout of the project" in refused(command, tmp_path, capsys)


def test_prove_is_the_proofs_own_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prove", "C03", "--without", "one adapter"]) == 0
    assert capsys.readouterr().out.startswith("C03 without 'one adapter'")
    assert cli.main(["prove", "C3"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_the_checkout_is_the_one_that_is_installed() -> None:
    assert Checkout.here().root == Path(__file__).parents[1]
    assert "thesis" in Checkout.here().studies()


def test_an_interruption_is_no_traceback_and_goes_on_from_there(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(self: Classifier, batch: object, batch_idx: int) -> None:
        signal.raise_signal(signal.SIGINT)

    command = ["run", "play", toy_checkout.TRIALS[0], *HERE, *CPU]
    # A shell starts background jobs with Ctrl-C ignored; here it is meant to arrive.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "validation_step", interrupt)
        assert cli.main(command) == 130
    signal.signal(signal.SIGINT, handler)
    assert "the same command goes on from the last resume file" in capsys.readouterr().err
    assert cli.main(command) == 0


def test_an_unknown_command_is_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["trian"])
    assert caught.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


# --- commands that work -------------------------------------------------------------------------


def test_list_names_what_there_is(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"docstrings", "outfox", "semeval"} <= set(CORPORA)
    assert f"corpora: {', '.join(CORPORA)}" in lines
    assert "backbones: distilroberta, minilm, smollm, tiny, tiny_decoder" in lines
    assert f"methods: {', '.join(discover.names(methods.__name__))}" in lines
    assert "settings: room" in lines
    assert "studies: play" in lines
    assert cli.main(["list", "studies"]) == 0
    assert capsys.readouterr().out == "studies: play\n"
    assert cli.main(["list", "sweeps"]) == 0
    assert capsys.readouterr().out == "sweeps: \n"


def test_list_methods_tells_what_each_trains(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list", "methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("method "))
    rows = {line.split()[0]: re.split(r" {2,}", line) for line in lines[header + 1 :]}
    assert list(rows) == discover.names(methods.__name__)
    with torch.device("meta"):
        whole = RobertaForSequenceClassification(DISTILROBERTA.config())
    whole.classifier.out_proj = torch.nn.Linear(DISTILROBERTA.width, 4, device="meta")
    body, head = (sum(p.numel() for p in part.parameters()) for part in whole.children())
    assert rows["full"][1:5] == ["0", f"{body:,}", f"{head:,}", "100.00%"]
    assert rows["linear_probe"][1:5] == ["0", "0", f"{head:,}", f"{head / (body + head):.2%}"]
    assert rows["lora"][5] == "0.00025 0.0005 0.001 0.002 0.004"
    for name, row in rows.items():
        assert row[6] == (type(method(name)()).__doc__ or "").splitlines()[0]


def test_data_list_names_every_corpus_and_backbone(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    named = re.findall(r"^(\w+):", printed, re.MULTILINE)
    backbones = ["distilroberta", "minilm", "smollm", "tiny", "tiny_decoder"]
    assert named == [*CORPORA, *backbones]


def test_data_check_counts_a_corpus(
    checkout: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    essays(tmp_path / "data" / "outfox")
    assert cli.main(["data", "check", "outfox"]) == 0
    assert re.search(r"^fingerprint [0-9a-f]{64}$", capsys.readouterr().out, re.MULTILINE)


def test_one_arm_is_run_under_one_seed(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "play", "owl_vs_human", *HERE, "--seed", "3", *CPU]) == 0
    lines = capsys.readouterr().out.splitlines()
    path = record_path(checkout.runs, "play", "room", "owl_vs_human", 3)
    assert lines[-2:] == ["Against the kept record: there is none", str(path)]
    run = Run.load(path)
    assert run.labels == ("owl", "human")
    assert lines[:-2] == [
        f"owl_vs_human on {role}: macro-F1 {run.result['splits'][role]['macro_f1']:.4f}"
        for role in ("select", "id", toy.OOD)
    ]


def test_a_study_is_reproduced_kept_and_shown(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    root, generated = checkout.root, checkout.root / "paper" / "generated" / "play" / "room"

    def run(*command: str) -> str:
        assert cli.main([*command]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert run("status", "play", *HERE).splitlines() == [
        *(f"{name} (seed 0): missing" for name in [*toy_checkout.TRIALS, "tfidf"]),
        *(f"{n} (seed {seed}): missing" for n in toy_checkout.ARMS[1:] for seed in (0, 1)),
    ]
    toy_checkout.commit(root)
    printed = run("reproduce", "play", *HERE, "--seeds", "1", *CPU)
    assert "Corpus: toy" in printed
    assert "full (seed 0): there is none" in printed
    for kind in ("*.md", "*.tex", "*.png", "*.pdf"):
        assert list((generated / "en").glob(kind))

    assert "full (seed 0): fresh\nfull (seed 1): missing\n" in run("status", "play", *HERE)
    kept = run("keep", "play", *HERE).splitlines()
    assert str(record_path(checkout.results, "play", "room", "full", 0)) in kept
    assert "full (seed 0): kept; fresh\n" in run("status", "play", *HERE)
    before = files(checkout.runs)
    assert run("tables", "play").partition("written below")[0] in printed
    assert files(checkout.runs) == before
    russian = run("tables", "play", *HERE, "--lang", "ru")
    assert "Корпус: toy" in russian
    assert (generated / "ru" / "tables.tex").exists()
