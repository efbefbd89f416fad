"""C21 on DistilRoBERTa and peft: the thesis' two counts, from the configuration alone."""

from collections.abc import Iterator

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import RobertaConfig, RobertaForSequenceClassification

from lowrank_da.backbone import DISTILROBERTA, Map
from lowrank_da.methods.lora import LoRA
from proofs.binding import Binding, Reading
from proofs.c21_parameters import CONTROL, PRINTED, counts, lora


def read(rank: int = 5, targets: tuple[Map, ...] = ("query", "value")) -> Iterator[Reading]:
    """A model without any weights in memory, then our own method's closed form."""
    config = DISTILROBERTA.config()
    assert isinstance(config, RobertaConfig)
    config.num_labels = 4
    with torch.device("meta"):
        whole = RobertaForSequenceClassification(config)
        own = LoraConfig(task_type=TaskType.SEQ_CLS, r=rank, target_modules=list(targets))
        model = get_peft_model(whole, own)
    trained, every = model.get_nb_trainable_parameters()
    yield Reading("peft: trained parameters", trained, "=", PRINTED.trainable)
    yield Reading("peft: all parameters", every, "=", PRINTED.all)
    yield Reading("the claim's count of trained ones", trained, "=", counts(CONTROL)[0])
    added = LoRA(rank=rank, targets=targets).added_parameters(DISTILROBERTA)
    yield Reading("our method's adapters", added, "=", lora(CONTROL))


BINDING = Binding(
    id="C21",
    title="DistilRoBERTa with its own head under peft, no weights needed",
    read=read,
    twins={
        "rank 8": {"rank": 8},
        "query, key and value": {"targets": ("query", "key", "value")},
    },
)
