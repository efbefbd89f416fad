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
from proofs.binding import Binding, Reading
from proofs.c06_conservation import velocity

STEP = 1e-5


def read(moved: bool = False, both_zero: bool = False) -> Iterator[Reading]:
    """Every adapter of a fresh classifier, its head held still."""
    model, batch = classifier(LoRA(rank=4, alpha=8)), texts()
    model.head.requires_grad_(False)
    if moved:
        away_from_start(model)
    if both_zero:
        for layer in adapters(model).values():
            torch.nn.init.zeros_(layer.lora_A)
    apart = largest(model(batch) - plain(model, merged=False)(batch))
    slopes, start = gradients(model, batch), loss(model, batch)
    torch.autograd.backward(start)
    of_a, of_b, off, fall = 0.0, 0.0, 0.0, 0.0
    for name, layer in adapters(model).items():
        assert layer.lora_A.grad is not None
        assert layer.lora_B.grad is not None
        _, down = velocity(*factors(layer), layer.scale * slopes[name])
        of_a = max(of_a, largest(layer.lora_A.grad))
        of_b = max(of_b, largest(layer.lora_B.grad))
        off = max(off, largest(layer.lora_B.grad + down.T))
        fall += float((down**2).sum())
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=STEP).step()
    fell = (start - loss(model, batch)).item() / STEP
    yield Reading("change of the logits by fresh adapters", apart, "=", 0, 1e-12)
    yield Reading("largest gradient of any A", of_a, "=", 0)
    yield Reading("largest gradient of any B", of_b, ">", 0)
    yield Reading("gradient of B less s A'G", off, "=", 0, 1e-12)
    yield Reading("fall of the loss a unit of step: s^2 |A'G|^2", fell, "=", fall, 1e-3 * fall)


BINDING = Binding(
    id="C08",
    title="fresh LoRA adapters in RoBERTa, all maps of all layers",
    read=read,
    twins={"B away from 0": {"moved": True}, "A = B = 0": {"both_zero": True}},
)
