"""The resume file: whole or refused, and enough to end as the unbroken training does."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
import toy

from lowrank_da import train
from lowrank_da.classifier import Classifier
from lowrank_da.errors import UserError
from lowrank_da.journal import Journal
from lowrank_da.machine import Machine
from lowrank_da.run import Run

CELL = toy.cell(epochs=2)
NEVER = float("inf")

FULL = """
import resource, signal, sys
from pathlib import Path
import toy
from lowrank_da.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    toy.run(toy.cell(epochs=1), Path(sys.argv[1]), resume_seconds=0.0)
except UserError as error:
    print(error)
"""
"""No file may grow beyond 4 KiB: what writing to a full disk looks like."""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[bytes]]:
    """A training's record, and its resume file after every step and every pass."""
    files: list[bytes] = []

    class Watched(Journal):
        def save(self, *arguments: object) -> None:
            super().save(*arguments)  # type: ignore[arg-type]
            files.append(self.path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowrank_da.train.Journal", Watched)
        run = toy.run(CELL, tmp_path_factory.mktemp("unbroken"), resume_seconds=0.0)
    return run, files


@pytest.fixture
def resume(tmp_path: Path) -> Path:
    """Where the cell looks for its resume file."""
    path = train.resume_path([CELL], tmp_path, Machine.choose("cpu", "fp32"))
    path.parent.mkdir(parents=True)
    return path


def classifier() -> Classifier:
    return Classifier(CELL.experiment, CELL.seed, steps=10)


def test_it_is_saved_after_every_step_and_every_pass(unbroken: tuple[Run, list[bytes]]) -> None:
    run, files = unbroken
    assert len(files) == run.result["steps"]


def test_saving_changes_nothing(unbroken: tuple[Run, list[bytes]], tmp_path: Path) -> None:
    run, _ = unbroken
    assert toy.run(CELL, tmp_path, resume_seconds=NEVER).result == run.result


@pytest.mark.parametrize("place", ["first step", "mid-pass", "end of a pass", "second", "end"])
def test_it_goes_on_to_the_same_result(
    place: str, unbroken: tuple[Run, list[bytes]], resume: Path, tmp_path: Path
) -> None:
    run, files = unbroken
    positions = [torch.load(resume_of(file, resume), weights_only=True) for file in files]
    first = next(i for i, p in enumerate(positions) if (p["epoch"], p["batch"]) == (1, 0))
    number = {
        "first step": 0,
        "mid-pass": first // 2,
        "end of a pass": first,
        "second": first + 3,
        "end": len(files) - 1,
    }[place]
    resume_of(files[number], resume)
    resumed = toy.run(CELL, tmp_path, resume_seconds=NEVER)
    assert resumed.result == run.result
    for role, own in run.predictions.items():
        assert (own.probabilities == resumed.predictions[role].probabilities).all()
    assert resumed.measured["train_tokens"] == run.measured["train_tokens"]
    assert not resume.exists()


def resume_of(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


def test_what_a_kill_left_of_writing_it_goes_too(resume: Path, tmp_path: Path) -> None:
    left = resume.with_name(f".{resume.name}.x1y2z3")
    left.write_bytes(b"half a file")
    toy.run(CELL, tmp_path, resume_seconds=0.0)
    assert not left.exists()


DAMAGES = ("empty", "no zip", "cut short", "a bit of a weight", "a list", "a key less")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(
    damage: str, unbroken: tuple[Run, list[bytes]], resume: Path, tmp_path: Path
) -> None:
    whole = unbroken[1][3]
    if damage == "a list":
        torch.save([1, 2], resume)
    elif damage == "a key less":
        state = torch.load(resume_of(whole, resume), weights_only=True)
        del state["ledgers"][0]["curve"]
        torch.save(state, resume)
    else:
        state = torch.load(resume_of(whole, resume), weights_only=True)
        weight = state["trained"][0]["head.dense.weight"].numpy().tobytes()
        flipped = bytearray(whole)
        flipped[whole.index(weight) + 5] ^= 1
        resume.write_bytes(
            {
                "empty": b"",
                "no zip": b"not a zip file",
                "cut short": whole[: len(whole) // 2],
                "a bit of a weight": bytes(flipped),
            }[damage]
        )
    with pytest.raises(UserError, match=r"damaged resume file .*; delete it") as caught:
        toy.run(CELL, tmp_path, resume_seconds=NEVER)
    assert str(caught.value).startswith(str(resume))
    assert "\n" not in str(caught.value)
    assert [path.name for path in resume.parent.iterdir()] == [resume.name]


def refusal(path: Path, model: Classifier) -> str | None:
    """What restoring `model` from `path` is refused with, if it is."""
    try:
        Journal(path, NEVER).restore([model])
    except UserError as error:
        return str(error)
    return None


def test_any_flipped_bit_is_refused_or_harmless(
    unbroken: tuple[Run, list[bytes]], tmp_path: Path
) -> None:
    whole, random = unbroken[1][3], Random(0)
    path, model = tmp_path / "resume", classifier()
    assert refusal(resume_of(whole, path), model) is None
    intact = model.trained_state()
    refused = 0
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        reason = refusal(resume_of(bytes(flipped), path), model)
        assert reason is None or "damaged resume file" in reason
        refused += reason is not None
        own = model.trained_state()
        assert all(torch.equal(own[name], weight) for name, weight in intact.items())
    assert refused > 10


class Malice:
    """An object whose unpickling would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_code_in_the_file_is_not_run(resume: Path, tmp_path: Path) -> None:
    torch.save({"trained": Malice(tmp_path / "made")}, resume)
    with pytest.raises(UserError, match="damaged resume file"):
        Journal(resume, NEVER).restore([classifier()])
    assert not (tmp_path / "made").exists()


def test_weights_of_another_model_are_refused(
    unbroken: tuple[Run, list[bytes]], resume: Path
) -> None:
    binary = toy.experiment(epochs=2, labels=("owl", "human"))
    journal = Journal(resume_of(unbroken[1][0], resume), NEVER)
    with pytest.raises(UserError, match="holds the weights of another experiment; delete it"):
        journal.restore([Classifier(binary, 0, 10)])


def test_without_a_terminal_it_prints_a_line_a_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy.run(CELL, tmp_path)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 2
    for line, point in zip(lines, run.result["curve"], strict=True):
        assert line.startswith(f"full: epoch {point['epoch']}/2, loss {point['loss']:.3f}")
        assert f"select macro-F1 {point['select_macro_f1']:.3f}" in line
        assert line.endswith(" tokens/s")


def test_a_terminal_gets_a_bar_with_speed_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run = toy.run(CELL, tmp_path)
    printed = capsys.readouterr().err
    steps = run.result["steps"]
    assert f"{steps}/{steps} [" in printed
    assert "epoch 2/2, " in printed
    assert "tokens/s" in printed
    assert "select macro-F1" in printed


def test_other_texts_precision_or_threads_have_another_resume_file(tmp_path: Path) -> None:
    fewer = dataclasses.replace(CELL.experiment.setting, train_texts=8)
    other = dataclasses.replace(CELL, experiment=toy.experiment(setting=fewer))
    paths = {
        train.resume_path([cell], tmp_path, Machine.choose("cpu", precision, threads))
        for cell in (CELL, other)
        for precision in ("fp32", "bf16")
        for threads in (1, 2)
    }
    assert len(paths) == 8


def test_a_full_disk_leaves_one_line_and_the_last_whole_resume_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("no space left on the disk for "), done.stderr
    assert done.stdout.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
