"""C23 on transformers' RoBERTa and peft's LoRA: operations as torch counts them."""

from collections.abc import Iterator

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from proofs.bind.real import BACKBONE
from proofs.binding import Binding, Reading, wrong
from proofs.c23_cost import operations

TEXTS, TOKENS, RANK = 3, 40, 2
FULL, LORA = "full fine-tuning: operations", "LoRA on all maps: operations"
RATIO = "full over LoRA, of 3/2"


def counted(model: nn.Module, length: int) -> int:
    """A forward and a backward pass on texts of equal length."""
    tokens = torch.randint(4, BACKBONE.vocab, (TEXTS, length))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens).last_hidden_state.sum().backward()
    return int(counter.get_total_flops())


def loaded() -> nn.Module:
    """With attention as plain products, which torch counts."""
    model = BACKBONE.load()
    model.set_attn_implementation("eager")
    return model


def read(lowest: int = 0, rank: int = RANK, length: int = TOKENS) -> Iterator[Reading]:
    """Every product of both trainings, the head left out, and the bound on their ratio."""
    sizes = {"d": BACKBONE.width, "f": BACKBONE.ffn, "L": BACKBONE.layers, "T": TOKENS}
    full_said, lora_said = (
        n * TEXTS * TOKENS for n in operations({**sizes, "r": RANK, "frozen": 0})
    )
    full, model = counted(loaded(), length), loaded().requires_grad_(False)
    layers = "|".join(map(str, range(lowest, BACKBONE.layers)))
    maps = rf"encoder\.layer\.({layers})\..*(query|key|value|dense)"
    config = LoraConfig(r=rank, target_modules=maps)
    lora = counted(inject_adapter_in_model(config, model), length)
    yield Reading(FULL, full, "=", full_said)
    yield Reading(LORA, lora, "=", lora_said)
    yield Reading(RATIO, full / lora / 1.5, "<=", 1)


BINDING = Binding(
    id="C23",
    title="transformers' RoBERTa, fully and with peft's LoRA on all maps",
    read=read,
    twins={
        "no adapters in the lowest layers": wrong(RATIO, lowest=1),
        "the same, seen in the operations": wrong(LORA, lowest=1),
        "another rank": wrong(LORA, rank=RANK + 1),
        "shorter texts": wrong(FULL, length=TOKENS // 2),
    },
)
