"""A temporary checkout whose one study, `play`, trains on the toy corpus."""

import subprocess
import sys
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from lowrank_da.study import Checkout

SETTINGS = '''
"""One setting, of seconds."""

import toy

room = toy.setting(epochs=1)
'''

STUDY = '''
"""Question: does it run? Command: `lowrank-da reproduce play --setting room`. Cost: seconds."""

from dataclasses import replace

import toy
from lowrank_da.experiment import Experiment
from lowrank_da.methods.lora import LoRA
from lowrank_da.reference import TfIdf

SEEDS = {"room": (0, 1)}
THEORY = ()


def trials(setting):
    small = replace(setting, train_texts=8)
    return {
        "full": tuple(toy.experiment(setting=small, learning_rate=rate) for rate in (1e-9, 0.02))
    }


def arms(setting, rate):
    full = toy.experiment(setting=setting, learning_rate=rate["full"])
    machines = [label for label in setting.corpus.labels if label != "human"]
    binaries = {f"{m}_vs_human": replace(full, labels=(m, "human")) for m in machines}
    return {"tfidf": TfIdf(setting), "full": full, **binaries}


def combinations(setting):
    return {"coupled": tuple(f"{m}_vs_human" for m in setting.corpus.labels if m != "human")}
'''

ARMS = ["tfidf", "full", "parrot_vs_human", "kettle_vs_human", "owl_vs_human"]
TRIALS = ["grid/full--lr1.0e-09", "grid/full--lr2.0e-02"]
_number = count()


def make(root: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout in `root`; its package has a name of its own, so that many fit one process."""
    folder = root / "experiments"
    folder.mkdir()
    (folder / "settings.py").write_text(SETTINGS)
    (folder / "play.py").write_text(STUDY)
    package = ModuleType(f"toy_experiments_{next(_number)}")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    return Checkout(package)


def commit(root: Path) -> None:
    """Make `root` a clean git repository."""
    (root / ".gitignore").write_text("__pycache__/\nruns/\npaper/generated/\n")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "start"],
    ):
        subprocess.run(["git", "-C", str(root), *command], check=True)
