"""LoRA started in the data's span against a random start: the leak off the span on trial.

Question: full fine-tuning never changes a map off the span of its training inputs, LoRA from a
random A does (claim C25). If that leak harms on another domain, LoRA whose A lies in the span of
the data loses less there, at equal quality at home.

Command: `lowrank-da reproduce data_span --setting without_arxiv`, and so for the other domains.

Cost: 15 trials and three trainings a seed; about 25 minutes a setting on two cores (estimated).
"""

from collections.abc import Mapping

from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.lora import LoRA
from lowrank_da.study import Arm, at_rates, rate_trials

SETTINGS = ("without_arxiv", "without_xsum", "without_writing_prompt", "without_yelp_review")
SEEDS = dict.fromkeys(SETTINGS, (0, 1, 2)) | {"tiny": (0,)}
THEORY = ("C09", "C25")

TRIAL_TEXTS = 200
"""Training texts a class in a trial, at most."""
STARTS = {
    "lora_kaiming": LoRA(start="kaiming"),
    "lora_gaussian": LoRA(start="gaussian"),
    "lora_data": LoRA(start="data"),
}


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every start over LoRA's rates: another size of A asks for another rate."""
    return rate_trials(setting, STARTS, TRIAL_TEXTS)


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """The three starts."""
    return {**at_rates(setting, STARTS, rate)}
