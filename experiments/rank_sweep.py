"""Which rank is enough: LoRA on all maps at eight ranks, one learning rate.

Question: what does each further rank buy on this corpus, where is the knee, and is the answer the
same under other seeds? Is rank 5, which the thesis' parameter count gives away, enough?

The scale is alpha / sqrt(rank), so that the first step of the product A B does not depend on the
rank (claim C09) and one learning rate serves all; at rank 8 it is that of the study `thesis`.

Command: `lowrank-da sweep rank_sweep --setting embedded` (or outfox_1200).

Cost: eight trainings a seed; 20 minutes on two cores in embedded (estimated).
"""

import math
from collections.abc import Sequence

from optuna.trial import Trial

from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.lora import LoRA

SEEDS = {"embedded": (0,), "outfox_1200": (0, 1, 2), "tiny": (0,)}
THEORY = ("C03", "C07", "C09", "C10")

RANKS = (1, 2, 4, 5, 8, 16, 32, 64)
RATES = {"docstrings": 2e-3, "outfox": 5e-4}
"""By corpus the best of `lora` in the kept trials of `thesis`."""
ALPHA = 2 * math.sqrt(8)


def grid(setting: Setting) -> dict[str, Sequence[int]]:
    """The ranks."""
    return {"rank": RANKS}


def propose(trial: Trial, setting: Setting) -> Experiment:
    """LoRA of the trial's rank."""
    rank = trial.suggest_categorical("rank", RANKS)
    method = LoRA(rank=rank, alpha=ALPHA, rank_stabilised=True)
    return Experiment(setting=setting, method=method, learning_rate=RATES[setting.corpus.name])
