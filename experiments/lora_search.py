"""LoRA by search: rate, scale, maps and layers, against parameters and seconds.

Question: which LoRA is not beaten in quality, adapter parameters and seconds together, below
200,000 adapter parameters? Which of its settings matters most?

Command: `lowrank-da sweep lora_search --setting embedded`.

Cost: 30 trainings; an hour on two cores in embedded (estimated).
"""

from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import Trial

from experiments.lora_anatomy import TARGETS
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.lora import LoRA

SEEDS = {"embedded": (0,), "outfox_400": (0,), "tiny": (0,)}
THEORY = ("C09", "C12", "C23")
TRIALS = 30
OBJECTIVES = ("macro_f1", "adapter_parameters", "seconds")
LIMITS = {"adapter_parameters": 200_000}


def sampler(seed: int) -> BaseSampler:
    """A tree-structured Parzen estimator that knows of trials which other workers have begun."""
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def propose(trial: Trial, setting: Setting) -> Experiment:
    """A rank, maps, a layer range, a scale at that rank, and a rate."""
    rank = trial.suggest_categorical("rank", (1, 2, 4, 8, 16))
    targets = trial.suggest_categorical("targets", tuple(TARGETS))
    layers = trial.suggest_int("top_layers", 1, setting.backbone.layers)
    scale = trial.suggest_float("scale", 0.5, 8.0, log=True)
    method = LoRA(
        rank=rank,
        alpha=scale * rank,
        targets=TARGETS[targets],
        top_layers=None if layers == setting.backbone.layers else layers,
    )
    rate = trial.suggest_float("learning_rate", 2e-4, 1e-2, log=True)
    return Experiment(setting=setting, method=method, learning_rate=rate)
