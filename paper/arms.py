"""Which arms a study has: those of the thesis in the order of its tables, or whatever is found."""

from typing import TYPE_CHECKING

from lowrank_da.corpus import Corpus
from lowrank_da.run import HEAD, TRIAL

if TYPE_CHECKING:
    from paper.table import Runs, SettingFacts

ALL_CLASSES = ("full", "lora_published", "lora", "binaries_average", "binaries_coupled", "tfidf")
"""The arms of the thesis that classify all classes."""


def every_arm(facts: "SettingFacts") -> tuple[str, ...]:
    """The classifiers of all classes, then the binaries."""
    return ALL_CLASSES + facts.binaries


def found(runs: "Runs") -> tuple[str, ...]:
    """The names of the arms among records, sorted."""
    names = (name for name in sorted(runs) if runs[name])
    return tuple(n for n in names if not n.startswith(TRIAL) and not n.endswith(HEAD))


def beyond_thesis(runs: "Runs") -> bool:
    """Whether an arm, or a trial of one, is there that the thesis' study does not have."""
    binary = f"_vs_{Corpus.human}"
    trials = (name for name in runs if runs[name] and name.startswith(TRIAL))
    tried = {name.removeprefix(TRIAL).partition("--lr")[0] for name in trials}
    every = {*found(runs), *tried}
    return any(name not in ALL_CLASSES and not name.endswith(binary) for name in every)
