"""The thesis: full fine-tuning, LoRA, and three one-vs-human LoRA models combined.

Question: does LoRA lose quality on the 4-class task, as the thesis found, or was its learning rate
wrong? And what do three binary models give when they are combined into a real 4-class classifier?

Command: `lowrank-da reproduce thesis --setting embedded` (or outfox, thesis).

Cost: six trainings and ten learning-rate trials; embedded reads its trials from the kept records
and takes about ten minutes on two cores.
"""

from collections.abc import Mapping
from dataclasses import replace

from lowrank_da.coupling import Rule
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.reference import TfIdf
from lowrank_da.study import Arm

SEEDS = {"embedded": (0,), "outfox": (0, 1, 2), "thesis": (0, 1, 2), "tiny": (0,)}
THEORY = ("C08", "C18", "C19", "C20", "C21", "C23")

RATES = {
    "full": (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4),
    "lora": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
}
"""Tried on *select*: equally many for both."""

TRIAL_TEXTS = 200
"""Training texts a class in a trial, at most."""

PUBLISHED = LoRA(rank=5, alpha=8.0, targets=("query", "value"), start="gaussian")
"""What the thesis' parameter count gives away: rank 5, query and value. Alpha is not known."""

TUNED = LoRA(rank=8, alpha=16.0)


def binaries(setting: Setting) -> dict[str, str]:
    """The name of each one-vs-human arm, with its machine label."""
    corpus = setting.corpus
    return {f"{c.lower()}_vs_human": c for c in corpus.labels if c != corpus.human}


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Learning-rate trials of `full` and `lora`."""
    small = replace(setting, train_texts=min(TRIAL_TEXTS, setting.train_texts or TRIAL_TEXTS))
    methods = {"full": Full(), "lora": TUNED}
    return {
        arm: tuple(
            Experiment(setting=small, method=methods[arm], learning_rate=rate) for rate in rates
        )
        for arm, rates in RATES.items()
    }


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """All rows of the thesis' tables."""
    full = Experiment(setting=setting, method=Full(), learning_rate=rate["full"])
    lora = Experiment(setting=setting, method=TUNED, learning_rate=rate["lora"])
    rows: dict[str, Arm] = {
        "tfidf": TfIdf(setting),
        "full": full,
        "lora_published": replace(full, method=PUBLISHED),
        "lora": lora,
    }
    for name, label in binaries(setting).items():
        rows[name] = replace(lora, labels=(label, setting.corpus.human))
    return rows


def combinations(setting: Setting) -> dict[Rule, tuple[str, ...]]:
    """The three binary models as one 4-class classifier, in two ways."""
    parts = tuple(binaries(setting))
    return {"average": parts, "coupled": parts}
