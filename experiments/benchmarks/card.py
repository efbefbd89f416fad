"""The thesis' five trainings at their full size, on a card: minutes, and share of its peak.

Question: the thesis took 4,041 s for full fine-tuning, 3,211 s for LoRA and 4,850 s for the three
binaries. What does a card of today need for the same texts, passes and model?

Command: `python -m experiments.benchmarks.card --size full`, on a machine with a card.

Cost: under ten minutes on a large card (estimated, not measured). Speed does not depend on what a
text says: DistilRoBERTa's shape under random weights reads random letters, one token each, as many
texts as the thesis had and as long as its classes were on average (tables 2 and 3; the spread
around the average is our assumption). The three binaries train jointly.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from experiments import thesis
from experiments.benchmarks import command, peers, timing
from experiments.benchmarks.hf_trainer import Tuning
from experiments.benchmarks.sharing import binaries
from experiments.benchmarks.timing import Case, Measurement
from lowrank_da import train
from lowrank_da.backbone import DISTILROBERTA, TINY
from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus, Example, Splits
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.study import Checkout
from lowrank_da.train import Cell
from paper.published import published

TOKENS_A_WORD = 1.3
"""Of RoBERTa's tokenizer in English prose, about."""
SPREAD = 0.4
"""Standard deviation of the logarithm of a text's length."""
RATE = 1e-4
JUDGED = 8
"""Texts a class in *select* and *id*: judging is not what is measured."""


@dataclass(frozen=True)
class RandomLetters(Corpus):
    """As many texts as the thesis trained on, as long as they were, of random letters."""

    texts: int
    """For training, of all classes."""

    labels = tuple(published()["thesis"]["classes"])
    description = "random letters"
    licence = "none needed"
    citation = "none"

    def load(self) -> Splits:
        """The same letters every time."""
        generator = np.random.default_rng(0)
        words = [int(n) for n in published()["thesis"]["mean_words"]["words"]]

        def texts(role: str, label: str, mean: int, number: int) -> list[Example]:
            # The mean of a log-normal variable lies half its variance above its median.
            middle = np.log(TOKENS_A_WORD * mean) - SPREAD**2 / 2
            lengths = np.exp(generator.normal(middle, SPREAD, number)).astype(int) + 8
            letters = [generator.integers(97, 123, n, dtype=np.uint8).tobytes() for n in lengths]
            names = [f"{role}-{label}-{i}" for i in range(number)]
            return [
                Example(name, text.decode(), label, name)
                for name, text in zip(names, letters, strict=True)
            ]

        numbers = {TRAIN: self.texts // len(self.labels), SELECT: JUDGED, ID: JUDGED}
        roles = {
            role: tuple(
                example
                for label, mean in zip(self.labels, words, strict=True)
                for example in texts(role, label, mean, number)
            )
            for role, number in numbers.items()
        }
        return Splits(self.name, self.labels, roles)


@dataclass(frozen=True)
class Size:
    """How much is trained, and how many tokens a step."""

    setting: Setting
    peer: Setting
    """A part of it, for the comparison with the libraries."""
    batch_tokens: int
    repeats: int


def _setting(texts: int, epochs: int) -> Setting:
    backbone = replace(DISTILROBERTA, random=True)
    return Setting(corpus=RandomLetters(texts), backbone=backbone, max_tokens=512, epochs=epochs)


_TINY = Setting(corpus=RandomLetters(32), backbone=TINY, max_tokens=64, epochs=1)
SIZES = {
    "tiny": Size(_TINY, _TINY, 512, 1),
    "small": Size(_setting(2000, 1), _setting(500, 1), 32_768, 1),
    "full": Size(_setting(published()["thesis"]["data"]["texts"], 3), _setting(4000, 1), 65_536, 1),
}


def trained(experiments: list[Experiment], machine: Machine, root: Path) -> Measurement:
    """Train them, several jointly, and add up their seconds and operations."""
    cells = [
        Cell("benchmarks", "card", f"cell_{i}", experiment, seed=0, select_only=True)
        for i, experiment in enumerate(experiments)
    ]
    with TemporaryDirectory() as folder:
        runs = train.run(
            cells,
            Path(folder),
            root,
            machine,
            resume_seconds=float("inf"),
            jointly=len(cells) > 1,
        )
    parts = [run.measured for run in runs]
    return {
        "seconds": sum(p["train_seconds"] for p in parts),
        "tokens": sum(p["train_tokens"] for p in parts),
        "flops": sum(p["needed_flops"] for p in parts),
        "peak_memory_bytes": max(p["peak_memory_bytes"] for p in parts),
    }


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    here, peak = Checkout.here(), machine.peak_flops()
    arms = {
        arm: replace(experiment, batch_tokens=size.batch_tokens)
        for arm, experiment in peers.experiments_of(
            size.setting, {"full": RATE, "lora": RATE}
        ).items()
    }
    pairs = [
        replace(pair, batch_tokens=size.batch_tokens)
        for pair in binaries(size.setting, RATE, thesis.TUNED)
    ]
    short = replace(arms["full"], setting=size.peer)
    cases = [
        Case("full", partial(trained, [arms["full"]], machine, here.root)),
        Case("lora", partial(trained, [arms["lora"]], machine, here.root)),
        Case("three binaries jointly", partial(trained, pairs, machine, here.root)),
        Case("a part of full/ours", partial(peers.ours, short, machine, here.root)),
        Case("a part of full/library_tuned", partial(peers.theirs, short, machine, Tuning("sdpa"))),
    ]
    measured = timing.interleaved(cases, size.repeats, warm_up=False)
    full = measured["full"]
    shares = [m["flops"] / m["seconds"] / peak for m in full]
    five = ("full", "lora", "three binaries jointly")
    minutes = [
        sum(m["seconds"] for m in each) / 60
        for each in zip(*(measured[case] for case in five), strict=True)
    ]
    rows = [
        timing.spread(
            "full: share of the peak (MFU)", shares, target=">= 0.4", note="peak: one large product"
        ),
        timing.spread(
            "the thesis' five trainings, minutes",
            minutes,
            target="<= 5",
            note="its texts and passes",
        ),
        timing.ratio(
            "full: (b) library tuned / ours",
            measured["a part of full/library_tuned"],
            measured["a part of full/ours"],
            target=">= 3",
            note="on a part of the texts, one pass; attention of (b): sdpa",
        ),
    ]
    return timing.record("card", name, rows, measured, machine, here.root)


if __name__ == "__main__":
    sys.exit(command.run("card", "The thesis' five trainings at full size.", SIZES, measure))
