"""The settings: where a comparison takes place, and how much it may cost."""

from dataclasses import replace

from lowrank_da.backbone import DISTILROBERTA, MINILM, TINY
from lowrank_da.corpora.detectrl import DOMAINS
from lowrank_da.corpora.docstrings import Docstrings
from lowrank_da.corpora.machine_or_human import MachineOrHuman
from lowrank_da.corpora.outfox import Outfox
from lowrank_da.corpora.semeval import SemEval
from lowrank_da.corpora.trec6 import Trec6
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

outfox_800 = Setting(
    corpus=Outfox(by_prompt=True),
    backbone=MINILM,
    max_tokens=192,
    epochs=3,
    train_texts=200,
    select_texts=75,
)
"""800 essays on 200 prompts to train on: one small ground for every method."""

outfox_1200 = replace(outfox_800, train_texts=300, select_texts=None)
"""1,200 essays on 300 prompts, for the sweep over ranks."""

outfox_400 = Setting(
    corpus=Outfox(by_prompt=True),
    backbone=MINILM,
    max_tokens=128,
    epochs=3,
    train_texts=100,
    select_texts=100,
    id_texts=100,
)
"""400 essays on 100 prompts, for studies of many arms."""

trec6 = Setting(corpus=Trec6(), backbone=MINILM, max_tokens=48, epochs=3)
"""Whole: 4,894 questions to train on."""

trec6_200 = replace(trec6, train_texts=200)
"""At most 200 questions a class, for studies of many arms."""

_LEFT_OUT = {
    domain: Setting(
        corpus=MachineOrHuman(domains=tuple(d for d in DOMAINS if d != domain)),
        backbone=MINILM,
        max_tokens=128,
        epochs=3,
        train_texts=400,
        select_texts=100,
        id_texts=200,
    )
    for domain in DOMAINS
}
without_arxiv = _LEFT_OUT["arxiv"]
without_xsum = _LEFT_OUT["xsum"]
without_writing_prompt = _LEFT_OUT["writing_prompt"]
without_yelp_review = _LEFT_OUT["yelp_review"]
"""Human against machine in three domains of DetectRL, reported on the fourth too."""

against_chatgpt = Setting(
    corpus=MachineOrHuman(generators=("ChatGPT",), elsewhere=True),
    backbone=MINILM,
    max_tokens=128,
    epochs=3,
    train_texts=300,
    select_texts=90,
)
against_llama = replace(
    against_chatgpt, corpus=MachineOrHuman(generators=("Llama-2-70b",), elsewhere=True)
)
against_chatgpt_in_essays = replace(
    against_chatgpt,
    corpus=MachineOrHuman(collection="outfox", generators=("chatGPT",), elsewhere=True),
)
"""Human against one generator, reported on the others and on the other collection."""

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
