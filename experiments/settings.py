"""The settings: where a comparison takes place, and how much it may cost."""

from lowrank_da.backbone import DISTILROBERTA, MINILM, TINY
from lowrank_da.corpora.docstrings import Docstrings
from lowrank_da.corpora.outfox import Outfox
from lowrank_da.corpora.semeval import SemEval
from lowrank_da.experiment import Setting

embedded = Setting(
    corpus=Docstrings(),
    backbone=MINILM,
    max_tokens=128,
    epochs=2,
    train_texts=500,
    select_texts=100,
    id_texts=250,
)
"""Two cores, minutes, nothing but a package index: the default."""

outfox = Setting(corpus=Outfox(), backbone=MINILM, max_tokens=256, epochs=3)
"""Real student essays and three real generators.

45 minutes a seed on two cores, and as many for the trials.
"""

thesis = Setting(corpus=SemEval(), backbone=DISTILROBERTA, max_tokens=512, epochs=3)
"""The thesis' own corpus and model; it wants a card."""

tiny = Setting(
    corpus=Docstrings(),
    backbone=TINY,
    max_tokens=64,
    epochs=1,
    train_texts=40,
    select_texts=20,
    id_texts=20,
)
"""Random weights, seconds: shows that every command works, and nothing else."""
