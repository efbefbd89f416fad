"""C08 on RoBERTa: gradients at the start, and how the first step lowers the real loss."""

from collections.abc import Iterator

import torch

from lowrank_da.methods.lora import LoRA
from proofs.bind.real import (
    adapters,
    away_from_start,
    classifier,
    factors,
    gradients,
    largest,
    loss,
    plain,
    texts,
)
from proofs.binding import Binding, Reading, wrong
from proofs.c06_conservation import velocity

STEP = 1e-5
FACTORS = ("lora_A", "lora_B")
SAME = "change of the logits by fresh adapters"
STILL = "largest gradient of any A"
MOVES = "least of the adapters' largest gradients of B"
GRADIENT = "gradient of B less s A'G"
FALL = "fall of the loss a unit of step: s^2 |A'G|^2"


def read(moved: bool = False, both_zero: bool = False, scale: float = 1) -> Iterator[Reading]:
    """Every adapter of a fresh classifier, its head held still."""
    model, batch = classifier(LoRA(rank=4, alpha=8)), texts()
    model.head.requires_grad_(False)
    if moved:
        away_from_start(model)
    layers = adapters(model)
    if both_zero:
        for layer in layers.values():
            torch.nn.init.zeros_(layer.lora_A)
    apart = model(batch) - plain(model, merged=False)(batch)
    slopes, start = gradients(model, batch), loss(model, batch)
    torch.autograd.backward(start)
    of_a, of_b = ([getattr(layer, name).grad for layer in layers.values()] for name in FACTORS)
    downs = [
        velocity(*factors(layer), scale * layer.scale * slopes[name])[1]
        for name, layer in layers.items()
    ]
    off = [grad + down.T for grad, down in zip(of_b, downs, strict=True)]
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=STEP).step()
    fell = (start - loss(model, batch)).item() / STEP
    said = sum((down**2).sum() for down in downs).item()
    yield Reading(SAME, largest(apart), "=", 0, 1e-12)
    yield Reading(STILL, largest(*of_a), "=", 0)
    yield Reading(MOVES, min(map(largest, of_b)), ">", 1e-6)
    yield Reading(GRADIENT, largest(*off), "=", 0, 1e-12)
    yield Reading(FALL, fell, "=", said, 1e-3 * said)


BINDING = Binding(
    id="C08",
    title="fresh LoRA adapters in RoBERTa, all maps of all layers",
    read=read,
    twins={
        "B away from 0": wrong(STILL, moved=True),
        "B away from 0, seen in the logits": wrong(SAME, moved=True),
        "A = B = 0": wrong(MOVES, both_zero=True),
        "another scale": wrong(GRADIENT, scale=2),
        "another scale, seen in the loss": wrong(FALL, scale=2),
    },
)
