"""LoRA started in the data's span against random starts, at home and on a domain never seen.

Question: full fine-tuning by gradient descent never changes a map off the span of its training
inputs, LoRA from a random A does (claim C25). Thousands of tokens span the whole width of the
encoder, and AdamW leaves the span too: of the claim only its direction is left to be tried. A start
A = X^T N weighs each direction of a map's input as the training texts do. Does LoRA from there lose
less on another domain, at equal quality at home? And is that the directions' doing, or that of
their uneven weights, which a rotated start has too? Another start asks for another learning rate,
and a rate may carry over better or worse by itself: `lora_kaiming_as_data` is the random start at
the rate of the start from the data.

Command: `lowrank-da reproduce data_span --setting without_arxiv`, and so for the other domains.

Cost: at least 15 trials and four trainings a seed; about 12 minutes a setting on two cores with
`--workers 2`.
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
    "lora_data": LoRA(start="data"),
    "lora_rotated": LoRA(start="data_rotated"),
}


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every start over LoRA's rates: another size of A asks for another rate."""
    return rate_trials(setting, STARTS, TRIAL_TEXTS)


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """The three starts, and the control."""
    rows: dict[str, Arm] = {**at_rates(setting, STARTS, rate)}
    rows["lora_kaiming_as_data"] = Experiment(
        setting=setting, method=STARTS["lora_kaiming"], learning_rate=rate["lora_data"]
    )
    return rows
