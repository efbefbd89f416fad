"""An invented corpus of four classes that a tiny random encoder learns in a second.

Each class speaks with its own words, sprinkled with words that all share. `setting`, `experiment`
and `cell` build what tests train, `run` trains it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from lowrank_da import train
from lowrank_da.backbone import TINY
from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus, Example, Splits
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.methods.full import Full
from lowrank_da.run import Run
from lowrank_da.train import Cell

WORDS = {
    "parrot": "krrak krakra rakk karrk rkka",
    "kettle": "sss ssshs pssss hsss ssps",
    "owl": "uhu huuh uhuhu uuhu huhu",
    "human": "tea tote eta tetee otete",
}
SHARED = "lily dill illy"
OOD = "ood/attic"

BACKBONE = replace(TINY, pooling="mean")
"""Random weights learn sooner when every token reaches the head."""
LEARNED = 6
"""Epochs after which the toy is learned."""


@dataclass(frozen=True)
class Toy(Corpus):
    """Animals, a kettle and a person, heard in one room; and, out of domain, in the attic."""

    train_texts: int = 24
    select_texts: int = 8
    id_texts: int = 12
    ood_texts: int = 4
    """Texts a class in each role."""
    humans: int = 1
    """How many times more texts the human class has."""

    labels = tuple(WORDS)
    description = "invented noises"
    licence = "invented"
    citation = "none"

    def load(self) -> Splits:
        """The same texts every time."""
        sizes = {
            TRAIN: self.train_texts,
            SELECT: self.select_texts,
            ID: self.id_texts,
            OOD: self.ood_texts,
        }
        return Splits(
            self.name, self.labels, {r: tuple(self.texts(r, n)) for r, n in sizes.items()}
        )

    def texts(self, role: str, number: int) -> list[Example]:
        """`number` texts of each class, none of them twice."""
        random = Random(role)
        made = []
        for label, own in WORDS.items():
            for index in range(number * (self.humans if label == self.human else 1)):
                words = random.choices(own.split(), k=random.randint(2, 4))
                words += random.choices(SHARED.split(), k=1)
                random.shuffle(words)
                uid = f"{role}-{label}-{index}"
                made.append(Example(uid, f"{' '.join(words)} {role[0]}{index}", label, uid))
        return made


def setting(**changes: Any) -> Setting:
    """The toy corpus read by the tiny encoder."""
    facts: dict[str, Any] = {"corpus": Toy(), "backbone": BACKBONE, "max_tokens": 64, "epochs": 2}
    return Setting(**facts | changes)


def experiment(**changes: Any) -> Experiment:
    """Full fine-tuning at a rate at which the toy is learned; `epochs` is the setting's."""
    epochs = changes.pop("epochs", 2)
    facts: dict[str, Any] = {
        "setting": setting(epochs=epochs),
        "method": Full(),
        "learning_rate": 0.02,
        "batch_tokens": 256,
    }
    return Experiment(**facts | changes)


def cell(seed: int = 0, name: str = "full", select_only: bool = False, **changes: Any) -> Cell:
    """One training of the study `play` in the setting `toy`."""
    return Cell("play", "toy", name, experiment(**changes), seed, select_only)


def run(cell: Cell, folder: Path, resume_seconds: float = float("inf")) -> Run:
    """Train it below `folder`, in float32 on the CPU."""
    machine = Machine.choose("cpu", "fp32")
    (done,) = train.run([cell], folder, folder, machine, resume_seconds=resume_seconds)
    return done
