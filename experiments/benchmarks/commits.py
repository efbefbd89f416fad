"""The trainings of `make reproduce`, by the code as it is and as it was, in turn.

Question: how much sooner are the same texts, passes and arms trained than before batches were
packed and the forward pass was ours, and is the outcome the same?

Command: `python -m experiments.benchmarks.commits --size full` for the kept record.

Cost: full about ten minutes on two cores (estimated). Each commit is checked out into a
folder of its own and trains there in a process of its own, at the rates of the kept trials of now.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from experiments import thesis
from experiments.benchmarks import command, timing
from experiments.benchmarks.command import checkout
from experiments.benchmarks.timing import Case, Measurement, Row
from lowrank_da.corpus import ID
from lowrank_da.errors import UserError
from lowrank_da.machine import Machine
from lowrank_da.run import Run, record_path

BEFORE = "b034924"
"""The last commit whose batches were padded and whose forward pass was transformers'."""


@dataclass(frozen=True)
class Size:
    """Which setting is trained, how often, and which arms of the thesis' study (empty: all)."""

    setting: str
    repeats: int
    arms: tuple[str, ...] = ()


SIZES = {
    "tiny": Size("tiny", 1, ("lora",)),
    "small": Size("embedded", 1, ("lora",)),
    "full": Size("embedded", 1, ("full", "lora", "bigram_vs_human")),
}


@contextmanager
def worktree(root: Path, commit: str) -> Iterator[Path]:
    """A folder with the checkout `root` as it was at `commit`; `UserError` if it never was."""
    with TemporaryDirectory() as name:
        folder = Path(name) / commit
        git = ["git", "-C", str(root), "worktree"]
        try:
            added = [*git, "add", "--detach", str(folder), commit]
            subprocess.run(added, capture_output=True, text=True, check=True)
            here = checkout().results
            results = folder / here.relative_to(checkout().root)
            shutil.copytree(here, results, dirs_exist_ok=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise UserError(f"commit {commit} cannot be checked out: {said.strip()}") from error
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def trained(folder: Path, setting: str, arm: str, machine: Machine) -> Run:
    """Train one arm anew by the code in `folder`, and read its record."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    asked = [sys.executable, "-m", "lowrank_da.cli", "run", "thesis", arm, "--setting", setting]
    precision = "bf16" if machine.precision == "bf16-mixed" else "fp32"
    asked += ["--device", machine.device.type, "--precision", precision]
    inside = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(asked, cwd=folder, env=inside, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{arm} at {folder.name} failed: {said[-1]}")
    return Run.load(record_path(folder / "runs", "thesis", setting, arm, 0))


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    here = checkout()
    setting = here.setting(size.setting)
    arms = size.arms or ("full", "lora_published", "lora", *thesis.binaries(setting))
    last: dict[str, Run] = {}
    needed: dict[str, float] = {}

    def repeat(folder: Path, arm: str, which: str) -> Measurement:
        run = last[f"{arm}/{which}"] = trained(folder, size.setting, arm, machine)
        if which == "now":
            needed[arm] = run.measured["needed_flops"]
        return {
            "seconds": run.measured["train_seconds"],
            "tokens": run.measured["train_tokens"],
            "packing": run.measured["packing_efficiency"],
            "macro_f1": run.result["splits"][ID]["macro_f1"],
        }

    with worktree(here.root, BEFORE) as before, worktree(here.root, "HEAD") as now:
        cases = [
            Case(f"{arm}/{which}", partial(repeat, folder, arm, which))
            for arm in arms
            for which, folder in (("before", before), ("now", now))
        ]
        measured = timing.interleaved(cases, size.repeats, warm_up=False)
    for which in ("before", "now"):
        rounds = zip(*(measured[f"{arm}/{which}"] for arm in arms), strict=True)
        measured[f"all/{which}"] = [
            {"seconds": sum(arm["seconds"] for arm in each)} for each in rounds
        ]
    peak = machine.peak_flops()
    needed["all"] = sum(needed.values())
    rows = [
        timing.ratio(
            f"trainings of make reproduce, {arm if arm != 'all' else ' and '.join(arms)}:"
            " before / now",
            measured[f"{arm}/before"],
            measured[f"{arm}/now"],
            target=">= 2" if arm == "all" else None,
            limit=timing.median(measured[f"{arm}/before"]) * peak / needed[arm],
            note=f"before: {BEFORE}; seconds of training",
        )
        for arm in ("all", *arms)
    ]
    rows += [
        timing.spread(
            f"{arm}: packing efficiency, real / computed tokens",
            [m["packing"] for m in measured[f"{arm}/now"]],
            target=">= 0.97",
            limit=1.0,
            note="attention alone pads, where it is laid out as a rectangle",
        )
        for arm in arms
    ]
    rows += [difference(arm, last[f"{arm}/now"], last[f"{arm}/before"]) for arm in arms]
    return timing.record("commits", name, rows, measured, machine, here.root)


def difference(arm: str, now: Run, before: Run) -> Row:
    """Macro-F1 on *id* of one training now less before."""
    labels, corpus = now.labels, now.corpus_labels
    index = np.array([labels.index(c) if c in labels else -1 for c in corpus])
    one, other = now.predictions[ID], before.predictions[ID]
    if now.key != before.key or not np.array_equal(one.uid, other.uid):
        raise UserError(f"{arm}: the commits differ in experiment or texts; compare others")
    own = index[one.label] >= 0
    said = [p.probabilities.argmax(axis=1)[None, own] for p in (one, other)]
    true = index[one.label][own]
    what = f"{arm}, now - before"
    return timing.points(what, true, said[0], said[1], len(labels), target="low > -2")


if __name__ == "__main__":
    what = "The trainings of `make reproduce` by this commit and by an earlier one."
    sys.exit(command.run("commits", what, SIZES, measure))
