"""Where LoRA sits, and how much of its rank it uses.

Question: which maps (query and value, all of attention, the FFN, all six), in which layers (all,
the top half, the top two), from which start? And of rank 8, how many directions does a trained
update really use: what is its effective rank?

Command: `lowrank-da reproduce lora_anatomy --setting outfox_400`.

Cost: at least 120 trials and 24 trainings a seed; 45 minutes on two cores with `--workers 2`.
"""

from collections.abc import Mapping
from typing import Literal

from lowrank_da.backbone import ATTENTION, FFN, Map
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.lora import LoRA
from lowrank_da.study import Arm, at_rates, rate_trials

SEEDS = {"outfox_400": (0, 1, 2), "tiny": (0,)}
THEORY = ("C03", "C10", "C12", "C23")

TARGETS: dict[str, tuple[Map, ...]] = {
    "qv": ("query", "value"),
    "attention": ATTENTION,
    "ffn": FFN,
    "all": ATTENTION + FFN,
}
STARTS: tuple[Literal["kaiming", "gaussian"], ...] = ("kaiming", "gaussian")
TRIAL_TEXTS = 50
"""Training texts a class in a trial, at most."""


def methods(setting: Setting) -> dict[str, LoRA]:
    """By targets, layers and start; a layer count that occurs twice counts once."""
    layers = setting.backbone.layers
    ranges = {"all": layers, "half": layers // 2, "two": min(2, layers)}
    counted = {count: word for word, count in reversed(ranges.items())}
    return {
        f"{targets}_{word}_{start}": LoRA(
            targets=maps, top_layers=None if count == layers else count, start=start
        )
        for targets, maps in TARGETS.items()
        for count, word in sorted(counted.items(), reverse=True)
        for start in STARTS
    }


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every arm over LoRA's rates: another place, or size of A, may ask for another one."""
    return rate_trials(setting, methods(setting), TRIAL_TEXTS)


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """The same with their rates."""
    return {**at_rates(setting, methods(setting), rate)}
