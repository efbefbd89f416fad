"""Trained against one generator, tested against others and in another collection.

Question: a detector that knows one language model meets texts of others, and essays instead of
abstracts, news, stories and reviews. Do LoRA or a probe carry over better than full fine-tuning,
and does the threshold that lets 5 % of human texts be blamed at home still do so elsewhere?

Command: `lowrank-da reproduce cross_generator --setting against_chatgpt` (or against_llama,
against_chatgpt_in_essays).

Cost: 15 trials and three trainings a seed; nine minutes a setting on two cores with
`--workers 2`.
"""

from collections.abc import Mapping

from lowrank_da.experiment import Experiment, Setting
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.reference import TfIdf
from lowrank_da.study import Arm, at_rates, rate_trials

SETTINGS = ("against_chatgpt", "against_llama", "against_chatgpt_in_essays")
SEEDS = dict.fromkeys(SETTINGS, (0, 1, 2)) | {"tiny": (0,)}
THEORY = ("C17", "C25")

TRIAL_TEXTS = 200
"""Training texts a class in a trial, at most."""
METHODS: dict[str, Method] = {"full": Full(), "lora": LoRA(), "linear_probe": LinearProbe()}


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every method over its rates, on texts of the generator that is trained against."""
    return rate_trials(setting, METHODS, TRIAL_TEXTS)


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """Three methods, and the bare words: of whole texts, and of what the networks read."""
    words = {"tfidf": TfIdf(setting), "tfidf_cut": TfIdf(setting, cut=True)}
    return {**words, **at_rates(setting, METHODS, rate)}
