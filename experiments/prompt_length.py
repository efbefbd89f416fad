"""Prompt tuning by length and start: how far seeds lie apart.

Question: prompt tuning is called unstable. At 1, 5, 20 and 100 tokens, started at random or from
the words of a question: how good is it, and how far apart are five seeds of the same training?
Further than those of LoRA and of a probe on the same texts?

Command: `lowrank-da reproduce prompt_length --setting trec6_200`.

Cost: 50 trials and ten trainings a seed; 25 minutes on two cores with `--workers 2`.
"""

from collections.abc import Mapping
from dataclasses import replace

from lowrank_da.experiment import Experiment, Setting
from lowrank_da.method import Method
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.prompt import Prompt
from lowrank_da.study import Arm, at_rates, rate_trials

SEEDS = {"trec6_200": (0, 1, 2, 3, 4), "tiny": (0,)}
THEORY = ("C22",)

LENGTHS = (1, 5, 20, 100)
TEXT = "What kind of answer does this question ask for: a person, a place, a number, a thing?"
TRIAL_TEXTS = 100
"""Training texts a class in a trial, at most."""


def methods() -> dict[str, Method]:
    """Prompts by length and start, and what they are held against."""
    prompts = {
        f"prompt_{tokens}_{start}": Prompt(tokens=tokens, start=start, text=TEXT)
        for tokens in LENGTHS
        for start in ("random", "text")
    }
    return {**prompts, "lora": LoRA(), "linear_probe": LinearProbe()}


def cut(setting: Setting) -> Setting:
    """The setting with texts short enough for the longest prompt: one length for all arms."""
    room = setting.backbone.max_tokens - max(LENGTHS)
    return replace(setting, max_tokens=min(setting.max_tokens, room))


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every arm over its method's rates."""
    return rate_trials(cut(setting), methods(), TRIAL_TEXTS)


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """Every prompt, and the two beside them."""
    return {**at_rates(cut(setting), methods(), rate)}
