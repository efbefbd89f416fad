"""C21 on DistilRoBERTa and peft: the thesis' two counts, from the configuration alone."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import RobertaConfig, RobertaForSequenceClassification

from lowrank_da.backbone import DISTILROBERTA, Map
from lowrank_da.methods.lora import LoRA
from proofs.binding import Binding, Reading, wrong
from proofs.c21_parameters import PRINTED, dense, lora, size

TRAINED, ALL = "peft: trained parameters", "peft: all parameters"
HEAD, OURS = "transformers: the head's parameters", "our method: trained parameters"
EXPLAINED = {"rank": 5, "attention": 2, "ffn": 0, "layers": 6}


def numbers(model: nn.Module, trained: bool = False) -> int:
    """Of parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def read(
    rank: int = 5, targets: tuple[Map, ...] = ("query", "value"), classes: int = 4
) -> Iterator[Reading]:
    """Models without any weights in memory: with peft's LoRA, then with ours."""
    config = DISTILROBERTA.config()
    assert isinstance(config, RobertaConfig)
    config.num_labels = classes
    with torch.device("meta"):
        whole = RobertaForSequenceClassification(config)
        head = numbers(whole.classifier)
        own = LoraConfig(task_type=TaskType.SEQ_CLS, r=rank, target_modules=list(targets))
        trained, every = get_peft_model(whole, own).get_nb_trainable_parameters()
        encoder = replace(DISTILROBERTA, random=True).load()
        LoRA(rank=rank, targets=targets).attach(encoder, DISTILROBERTA)
    yield Reading(TRAINED, trained, "=", PRINTED.trainable)
    yield Reading(ALL, every, "=", PRINTED.all)
    yield Reading(HEAD, head, "=", size(dense(4)))
    yield Reading(OURS, numbers(encoder, trained=True), "=", lora(EXPLAINED))


BINDING = Binding(
    id="C21",
    title="DistilRoBERTa with its own head, under peft's LoRA and ours",
    read=read,
    twins={
        "rank 8": wrong(TRAINED, rank=8),
        "rank 8, seen in our method": wrong(OURS, rank=8),
        "query, key and value": wrong(ALL, targets=("query", "key", "value")),
        "two classes": wrong(HEAD, classes=2),
    },
)
