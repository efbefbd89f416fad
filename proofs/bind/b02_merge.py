"""C02 on RoBERTa: our merged LoRA layer against peft's two branches, in float32 and bfloat16."""

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import Linear as TwoBranches
from peft.tuners.lora import LoraConfig
from torch import Tensor, nn

from lowrank_da.layers import LoRALinear
from lowrank_da.methods.lora import LoRA
from proofs.bind.real import (
    adapters,
    away_from_start,
    classifier,
    entering,
    factors,
    largest,
    texts,
)
from proofs.binding import Binding, Reading
from proofs.c02_merge import bound

BITS = {torch.float32: 24, torch.bfloat16: 8}
"""Significant ones of each precision."""


def peft_layer(layer: LoRALinear, dropout: float) -> nn.Module:
    """The layer that peft has, with the same numbers."""
    base = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    base.weight, base.bias = nn.Parameter(layer.weight), layer.bias
    rank = len(layer.lora_A)
    alpha: Any = layer.scale * rank  # peft's hint says int, its code takes any number
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout)
    made: nn.Module = TwoBranches(base, "own", config, r=rank, lora_alpha=alpha)
    made.lora_A["own"].weight.data = layer.lora_A.detach()  # type: ignore[index, union-attr]
    made.lora_B["own"].weight.data = layer.lora_B.detach()  # type: ignore[index, union-attr]
    return made


def difference(layer: LoRALinear, x: Tensor, dtype: torch.dtype, dropout: float) -> tuple[Any, Any]:
    """Of the two outputs, and what it may be: the numbers are rounded before either is computed."""
    layer, x = layer.to(dtype), x.to(dtype)
    two = peft_layer(layer, dropout).to(dtype).train(dropout > 0)
    gap = (layer(x) - two(x)).double()
    numbers = (x, layer.weight.T, layer.bias, *factors(layer))
    x, W, b, A, B = (t.detach().double() for t in numbers)
    return gap, bound(x, W, b, A, B, layer.scale, BITS[dtype])


def read(dropout: float = 0.0, computed: Any = None) -> Iterator[Reading]:
    """Every adapter of the encoder, at what really enters it."""
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        model = classifier(LoRA(rank=4, alpha=8))
        away_from_start(model)
        layers = adapters(model)
        inputs = {at: entering(model, layer, texts()) for at, layer in layers.items()}
        torch.manual_seed(3)
        gaps, shares = [], []
        for where, layer in layers.items():
            gap, most = difference(layer, inputs[where], computed or dtype, dropout)
            if computed:
                most = most * 2.0 ** (BITS[computed] - BITS[dtype])
            gaps.append(largest(gap))
            shares.append(largest(gap / most))
        yield Reading(f"{name}: difference merged - two branches", max(gaps), ">", 0)
        yield Reading(f"{name}: that over its bound", max(shares), "<=", 1)


BINDING = Binding(
    id="C02",
    title="LoRA layers of RoBERTa, merged by us and in peft's two branches",
    read=read,
    twins={
        "dropout on": {"dropout": 0.5},
        "computed in bfloat16, called float32": {"computed": torch.bfloat16},
    },
)
