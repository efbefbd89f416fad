"""C02 on RoBERTa: our merged LoRA layer against peft's two branches, in float32 and bfloat16."""

from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
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
from proofs.binding import Binding, Reading, wrong
from proofs.c02_merge import bound

BITS = {torch.float32: 24, torch.bfloat16: 8}
"""Significant ones of each precision."""


def two_branches(layer: LoRALinear, dropout: float) -> nn.Module:
    """A layer of peft's with the same numbers."""
    base = nn.Linear(layer.weight.shape[1], layer.weight.shape[0])
    base.weight, base.bias = nn.Parameter(layer.weight), layer.bias
    rank = len(layer.lora_A)
    alpha: Any = layer.scale * rank  # peft's hint says int, its code takes any number
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=["0"])
    whole = inject_adapter_in_model(config, nn.Sequential(base))
    weights = dict(whole.named_parameters())
    for factor in ("lora_A", "lora_B"):
        weights[f"0.{factor}.default.weight"].data = getattr(layer, factor).detach()
    return whole


def difference(
    layer: LoRALinear, x: Tensor, dtype: torch.dtype, dropout: float, scale: float
) -> tuple[Tensor, Tensor]:
    """Of the two outputs, and what it may be: the numbers are rounded before either is computed."""
    layer, x = layer.to(dtype), x.to(dtype)
    two = two_branches(layer, dropout).to(dtype).train(dropout > 0)
    layer.scale *= scale
    gap = (layer(x) - two(x)).double()
    numbers = (x, layer.weight.T, layer.bias, *factors(layer))
    x, W, b, A, B = (t.detach().double() for t in numbers)
    most: Tensor = bound(x, W, b, A, B, layer.scale, BITS[dtype])
    return gap, most


def read(dropout: float = 0.0, computed: Any = None, scale: float = 1.0) -> Iterator[Reading]:
    """Every adapter of the encoder, at what really enters it.

    In bfloat16 the bound is so wide that only gross errors would pass it.
    """
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        model = classifier(LoRA(rank=4, alpha=8))
        away_from_start(model)
        layers = adapters(model)
        inputs = {at: entering(model, layer, texts()) for at, layer in layers.items()}
        torch.manual_seed(3)
        pairs = [
            difference(layer, inputs[at], computed or dtype, dropout, scale)
            for at, layer in layers.items()
        ]
        finer = 2.0 ** (BITS[computed or dtype] - BITS[dtype])
        gaps, shares = [gap for gap, _ in pairs], [gap / (most * finer) for gap, most in pairs]
        yield Reading(f"{name}: difference merged - two branches", largest(*gaps), ">", 0)
        yield Reading(f"{name}: that over its bound", largest(*shares), "<=", 1)


BINDING = Binding(
    id="C02",
    title="LoRA layers of RoBERTa, merged by us and in peft's two branches",
    read=read,
    twins={
        "dropout on": wrong("bfloat16: that over its bound", dropout=0.5),
        "computed in bfloat16, called float32": wrong(
            "float32: that over its bound", computed=torch.bfloat16
        ),
        "a scale 1 % too large": wrong("float32: that over its bound", scale=1.01),
    },
)
