"""The trainings of `make reproduce`, by the code as it is and as it was, in turn.

Question: how much sooner are the same texts, passes and arms trained than before batches were
packed and the forward pass was ours, and is the outcome the same?

Command: `python -m experiments.benchmarks.commits --size full` for the kept record.

Cost: full about ten minutes on two cores (estimated). Each commit is checked out into a
folder of its own and trains there in a process of its own, at the rates of the kept trials of now.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments import thesis
from experiments.benchmarks import command, timing
from experiments.benchmarks.command import rates
from experiments.benchmarks.timing import Case, Measurement, Row
from lowrank_da.errors import UserError
from lowrank_da.machine import Machine
from lowrank_da.study import Checkout

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
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            raise UserError(f"commit {commit} cannot be checked out: {said.strip()}") from error
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


SCRIPT = """
import json, sys
from pathlib import Path

import numpy as np

from experiments import settings, thesis
from lowrank_da import train

setting, arm, rates, device, precision, out = json.loads(sys.argv[1])
experiment = thesis.arms(getattr(settings, setting), rates)[arm]
choose = train.machine if hasattr(train, "machine") else train.Machine.choose
cell = train.Cell("benchmarks", "commits", arm, experiment, 0)
(run,) = train.run([cell], Path(out), Path("."), choose(device, precision))
p = run.predictions["id"]
index = [run.labels.index(c) if c in run.labels else -1 for c in run.corpus_labels]
true = np.array(index)[p.label]
own = true >= 0
columns = {"uid": p.uid, "group": getattr(p, "group", p.uid), "true": true}
columns |= {"said": p.probabilities.argmax(axis=1)}
np.savez(Path(out) / "answers.npz", **{name: column[own] for name, column in columns.items()})
facts = {"key": run.key, "labels": len(run.labels), **run.measured}
print(json.dumps(facts | {"macro_f1": run.result["splits"]["id"]["macro_f1"]}))
"""
"""Trains one arm by the code of the folder it is run in, old or new, and tells what came of it."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What the script told: its facts, and its answers to the texts of the arm's classes."""

    facts: dict[str, Any]
    uid: NDArray[np.uint64]
    group: NDArray[np.uint64]
    """Where the code did not yet know groups, the uid."""
    true: NDArray[np.int64]
    said: NDArray[np.int64]


def trained(
    folder: Path, setting: str, arm: str, tuned: Mapping[str, float], machine: Machine
) -> Trained:
    """Train one arm anew by the code in `folder`, at these rates."""
    precision = "bf16" if machine.precision == "bf16-mixed" else "fp32"
    with TemporaryDirectory() as out:
        asked = [setting, arm, dict(tuned), machine.device.type, precision, out]
        command = [sys.executable, "-c", SCRIPT, json.dumps(asked)]
        inside = os.environ | {"PYTHONPATH": str(folder)}
        done = subprocess.run(command, cwd=folder, env=inside, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"{arm} at {folder.name} failed: {said[-1]}")
        with np.load(Path(out) / "answers.npz") as answers:
            columns = {name: answers[name] for name in answers.files}
    return Trained(json.loads(done.stdout.splitlines()[-1]), **columns)


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    here = Checkout.here()
    setting = here.setting(size.setting)
    arms = size.arms or ("full", "lora_published", "lora", *thesis.binaries(setting))
    tuned = rates(here)
    last: dict[str, Trained] = {}
    needed: dict[str, float] = {}

    def repeat(folder: Path, arm: str, which: str) -> Measurement:
        run = last[f"{arm}/{which}"] = trained(folder, size.setting, arm, tuned, machine)
        if which == "now":
            needed[arm] = run.facts["needed_flops"]
        return {
            "seconds": run.facts["train_seconds"],
            "tokens": run.facts["train_tokens"],
            "packing": run.facts["packing_efficiency"],
            "macro_f1": run.facts["macro_f1"],
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


def difference(arm: str, now: Trained, before: Trained) -> Row:
    """Macro-F1 on *id* of one training now less before."""
    if now.facts["key"] != before.facts["key"] or not np.array_equal(now.uid, before.uid):
        raise UserError(f"{arm}: the commits differ in experiment or texts; compare others")
    a, b = (one.said[np.newaxis] for one in (now, before))
    classes = int(now.facts["labels"])
    what = f"{arm}, now - before"
    return timing.points(what, now.true, a, b, classes, now.group, target="low > -2")


if __name__ == "__main__":
    what = "The trainings of `make reproduce` by this commit and by an earlier one."
    sys.exit(command.run("commits", what, SIZES, measure))
