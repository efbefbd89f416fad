"""Every adaptation method, each at a learning rate of its own, and references without training.

Question: what does a method give for the parameters that it trains, and does it learn at all: is it
above the majority class, and above what the frozen encoder and the bare words give?

Command: `lowrank-da reproduce method_comparison --setting embedded` (or
`outfox_800`, `trec6`); one arm alone,
with the trials it needs: `lowrank-da run method_comparison adapter --setting embedded`.

Cost: an arm for each file of `lowrank_da/methods/` with default arguments, and LP-FT; five trials
or more and one training a seed for each. Over an hour on two cores in embedded and outfox_800, with
`--workers 2`.
"""

from collections.abc import Mapping
from dataclasses import replace

import lowrank_da.methods
from experiments.lp_ft import headed
from experiments.thesis import TRIAL_TEXTS
from lowrank_da import discover
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.method import Method, method
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.reference import Centroid, TfIdf, ZeroShot
from lowrank_da.study import Arm, at_rates, rate_trials

SEEDS = {"embedded": (0,), "outfox_800": (1, 2, 3), "trec6": (0, 1, 2), "tiny": (0,)}
"""In `outfox_800` a trial is a whole training under seed 0, which no arm has again."""
THEORY = ("C22", "C23", "C24")

SHOTS = (1, 4, 16)


def methods() -> dict[str, Method]:
    """Every method found, by name, with its default arguments."""
    return {name: method(name)() for name in discover.names(lowrank_da.methods.__name__)}


def cut(setting: Setting) -> Setting:
    """The setting with texts short enough for the most virtual tokens: one length for all arms."""
    most = max(one.virtual_tokens for one in methods().values())
    room = setting.backbone.max_tokens - most
    return replace(setting, max_tokens=min(setting.max_tokens, room))


def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
    """Every method over its own rates; LP-FT over those of `full`.

    In LP-FT's trials the head comes from a probe at the middle of its grid, for the best rate of
    the probe is found beside them.
    """
    found = rate_trials(cut(setting), methods(), TRIAL_TEXTS)
    middle = LinearProbe.rates[len(LinearProbe.rates) // 2]
    return found | {"lp_ft": tuple(headed(e, middle) for e in found["full"])}


def arms(setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
    """The references, every method, and LP-FT; zero-shot where the corpus describes its labels."""
    same = cut(setting)
    rows: dict[str, Arm] = {"tfidf": TfIdf(same), "tfidf_cut": TfIdf(same, cut=True)}
    if same.corpus.descriptions:
        rows["zero_shot"] = ZeroShot(same)
    for shots in SHOTS:
        rows[f"centroid_{shots}"] = Centroid(same, shots=shots)
    rows |= at_rates(same, methods(), rate)
    fine_tuned = Experiment(setting=same, method=Full(), learning_rate=rate["lp_ft"])
    return rows | {"lp_ft": headed(fine_tuned, rate["linear_probe"])}
