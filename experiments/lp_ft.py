"""Probing before fine-tuning, against fine-tuning alone, on a domain never seen.

Question: a lecture reports that probing, then fine-tuning beats fine-tuning by 9.6 points of
accuracy out of distribution (Kumar et al. 2022, arXiv:2202.10054, on images). Does that hold on
text, for a detector of machine text that meets a new domain? Does LoRA from a probe's head gain?

Texts, tokens and passes are the same for all arms, and as many rates are tried first for each;
those from a probe have the probe's passes beside, which train the head alone. Each arm has its own
best rate, and a higher one may carry over better or worse by itself: `full_as_lp_ft` is fine-tuning
alone at the rate of LP-FT, so that the head's part can be told from the rate's.

Command: `lowrank-da reproduce lp_ft --setting without_arxiv`, and so for the other three domains.

Cost: at least 25 trials and six trainings a seed; 40 minutes a setting on two cores with
`--workers 2`.
"""

from collections.abc import Mapping
from dataclasses import replace

from lowrank_da.experiment import Experiment, Setting
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.study import Arm, at_rates, rate_trials

SETTINGS = ("without_arxiv", "without_xsum", "without_writing_prompt", "without_yelp_review")
SEEDS = dict.fromkeys(SETTINGS, (0, 1, 2)) | {"tiny": (0,)}
THEORY = ("C24", "C25")

TRIAL_TEXTS = 200
"""Training texts a class in a trial, at most."""
ALONE: dict[str, Method] = {"full": Full(), "linear_probe": LinearProbe(), "lora": LoRA()}
FROM_PROBE: dict[str, Method] = {"lp_ft": Full(), "lp_lora": LoRA()}


def headed(experiment: Experiment, probe_rate: float) -> Experiment:
    """The experiment, but from the head of a probe on the same texts."""
    setting = experiment.setting
    probe = Experiment(setting=setting, method=LinearProbe(), learning_rate=probe_rate)
    return replace(experiment, head_from=probe)


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every arm over its method's rates; heads come from a probe at the middle of its grid."""
    middle = LinearProbe.rates[len(LinearProbe.rates) // 2]
    found = rate_trials(setting, ALONE | FROM_PROBE, TRIAL_TEXTS)
    for name in FROM_PROBE:
        found[name] = tuple(headed(e, middle) for e in found[name])
    return found


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """Five ways to adapt, two of which begin with the third one's head, and the control."""
    rows: dict[str, Arm] = {**at_rates(setting, ALONE, rate)}
    rows["full_as_lp_ft"] = Experiment(setting=setting, method=Full(), learning_rate=rate["lp_ft"])
    for name, alone in at_rates(setting, FROM_PROBE, rate).items():
        rows[name] = headed(alone, rate["linear_probe"])
    return rows
