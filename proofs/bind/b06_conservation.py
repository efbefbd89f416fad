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
from proofs.binding import Binding, Reading, wrong
from proofs.c06_conservation import balance, velocity

STEP, SHORT, STEPS = 0.05, 0.004, 40
CHANGE = "change of A'A - BB' in one step"
EXACT = "that less h^2 N(P, Q), entry by entry"
HALVED = "drift in one time, steps of 1/2 over steps of 1"


def balances(model: Classifier) -> list[Tensor]:
    """`A'A - BB'` of every adapter."""
    return [balance(*factors(layer)) for layer in adapters(model).values()]


def changes(
    model: Classifier, steps: int, h: float, optimizer: Any, b_rate: float, decay: float
) -> list[Tensor]:
    """What so many steps on the same texts add to the balances."""
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
    return [after - start for after, start in zip(balances(model), before, strict=True)]


def predicted(model: Classifier) -> list[Tensor]:
    """The same for one step, by the claim: `h^2 N(P, Q)`."""
    slopes = gradients(model, texts())
    return [
        STEP**2 * balance(*velocity(*factors(layer), layer.scale * slopes[name]))
        for name, layer in adapters(model).items()
    ]


def read(
    optimizer: Any = torch.optim.SGD, b_rate: float = 1, decay: float = 0
) -> Iterator[Reading]:
    """One step against the formula, then two trainings of one length with steps of two sizes."""
    model = classifier(LoRA(rank=4, alpha=8))
    away_from_start(model)
    rule = (optimizer, b_rate, decay)
    once, said = changes(model, 1, STEP, *rule), predicted(model)
    yield Reading(CHANGE, largest(*once), ">", 1e-3)
    apart = [a - b for a, b in zip(once, said, strict=True)]
    yield Reading(EXACT, largest(*apart), "=", 0, 1e-12)
    coarse, fine = (largest(*changes(model, STEPS * n, SHORT / n, *rule)) for n in (1, 2))
    yield Reading(HALVED, fine / coarse, "=", 0.5, 0.05)


BINDING = Binding(
    id="C06",
    title="SGD on a LoRA RoBERTa, all maps of all layers",
    read=read,
    twins={
        "Adam": wrong(EXACT, optimizer=torch.optim.Adam),
        "weight decay": wrong(HALVED, decay=0.1),
        "B faster than A, as in LoRA+": wrong(HALVED, b_rate=16),
    },
)
