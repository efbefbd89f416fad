"""Why fine-tuning MiniLM on outfox stays below TF-IDF: fewer texts, fewer tokens, more passes.

Question: does full fine-tuning still gain from training texts, from tokens a text, and from passes,
where the setting `outfox` stops? The rate's curve and the passes' are in the records of `thesis`.

Command: `lowrank-da reproduce outfox_gap --setting texts_150`, and so for every setting below.

Cost: 2 to 10 minutes a setting on two cores (estimated).
"""

from collections.abc import Mapping
from dataclasses import replace

from experiments.settings import outfox
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.full import Full
from lowrank_da.reference import TfIdf
from lowrank_da.study import Arm

texts_150 = replace(outfox, train_texts=150)
texts_300 = replace(outfox, train_texts=300)
"""A quarter and a half of the training texts."""

tokens_64 = replace(outfox, max_tokens=64)
tokens_128 = replace(outfox, max_tokens=128)
"""A quarter and a half of the tokens."""

passes_6 = replace(tokens_128, epochs=6)
"""Twice the passes over half the tokens."""

SEEDS = dict.fromkeys(("texts_150", "texts_300", "tokens_64", "tokens_128", "passes_6"), (0,))
THEORY = ()

RATE = 2e-4
"""The best of the trials of `thesis` in `outfox`, by *select*."""


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """None: the rate is known."""
    return {}


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """Full fine-tuning, and what it is held against."""
    return {
        "tfidf": TfIdf(setting),
        "full": Experiment(setting=setting, method=Full(), learning_rate=RATE),
    }
