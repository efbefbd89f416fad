"""C06 on RoBERTa: what a step of SGD on the real loss does to `A'A - BB'` in every LoRA layer."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lowrank_da.classifier import Classifier
from lowrank_da.methods.lora import LoRA
from proofs.bind.real import (
    adapters,
    away_from_start,
    classifier,
    factors,
    gradients,
    largest,
    loss,
    step,
    texts,
)
from proofs.binding import Binding, Reading
from proofs.c06_conservation import balance, velocity

STEP = 0.05


def balances(model: Classifier) -> list[Tensor]:
    """`A'A - BB'` of every adapter."""
    return [balance(*factors(layer)) for layer in adapters(model).values()]


def drift(
    model: Classifier, steps: int, h: float, optimizer: Any, b_rate: float, decay: float
) -> float:
    """How far the balances are, at most, after so many steps on the same texts."""
    model, batch = copy.deepcopy(model), texts()
    before, layers = balances(model), adapters(model).values()
    groups = [
        {"params": [layer.lora_A for layer in layers], "lr": h},
        {"params": [layer.lora_B for layer in layers], "lr": h * b_rate},
        {"params": model.head.parameters(), "lr": h},
    ]
    rule = optimizer(groups, weight_decay=decay)
    for _ in range(steps):
        step(rule, loss(model, batch))
    return max(largest(a - b) for a, b in zip(balances(model), before, strict=True))


def predicted(model: Classifier) -> float:
    """The same after one step, by the claim's formula: `h^2 N(P, Q)`."""
    slopes = gradients(model, texts())
    moves = [
        STEP**2 * balance(*velocity(*factors(layer), layer.scale * slopes[name]))
        for name, layer in adapters(model).items()
    ]
    return max(map(largest, moves))


def read(
    optimizer: Any = torch.optim.SGD, b_rate: float = 1, decay: float = 0
) -> Iterator[Reading]:
    """One step against the formula, then two trainings of one length with steps of two sizes."""
    model = classifier(LoRA(rank=4, alpha=8))
    away_from_start(model)
    once, said = drift(model, 1, STEP, optimizer, b_rate, decay), predicted(model)
    yield Reading("change of A'A - BB' in one step", once, "=", said, 1e-12)
    coarse, fine = (drift(model, 15 * n, STEP / n, optimizer, b_rate, decay) for n in (1, 4))
    yield Reading("the same in one time, steps of 1/4 over steps of 1", fine / coarse, "<=", 0.3)


BINDING = Binding(
    id="C06",
    title="SGD on a LoRA RoBERTa, all maps of all layers",
    read=read,
    twins={
        "Adam": {"optimizer": torch.optim.Adam},
        "weight decay": {"decay": 0.1},
        "B faster than A, as in LoRA+": {"b_rate": 16},
    },
)
