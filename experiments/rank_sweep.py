"""Which rank is enough: LoRA on all maps at eight ranks, one learning rate.

Question: what does each further rank buy on this corpus, where is the knee, and is the answer the
same under other seeds? Is rank 5, which the thesis' parameter count gives away, enough?

The learning rate is that of LoRA of rank 8 in the study `thesis`, tuned there on shorter training.
It serves all ranks as far as the first step goes: from B = 0 AdamW moves every entry of B by the
rate, so that A B moves by a sum of r coherent terms, and with the scale alpha / r the update does
not depend on r. (Claim C09's alpha / sqrt r is for plain descent.) What another rate would give a
rank is not asked here.

Command: `lowrank-da sweep rank_sweep --setting embedded` (or outfox_1200).

Cost: eight trainings a seed; on two cores a quarter of an hour in embedded, 45 minutes in
outfox_1200 with `--workers 2`.
"""

from collections.abc import Sequence

from optuna.trial import Trial

from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.lora import LoRA

SEEDS = {"embedded": (0,), "outfox_1200": (0, 1, 2), "tiny": (0,)}
THEORY = ("C03", "C07", "C10")

RANKS = (1, 2, 4, 5, 8, 16, 32, 64)
RATES = {"docstrings": 2e-3, "outfox": 5e-4}
"""By corpus the best of `lora` in the kept trials of `thesis`."""
ALPHA = 16.0


def grid(setting: Setting) -> dict[str, Sequence[int]]:
    """The ranks."""
    return {"rank": RANKS}


def propose(trial: Trial, setting: Setting) -> Experiment:
    """LoRA of the trial's rank."""
    method = LoRA(rank=trial.suggest_int("rank", min(RANKS), max(RANKS)), alpha=ALPHA)
    return Experiment(setting=setting, method=method, learning_rate=RATES[setting.corpus.name])
