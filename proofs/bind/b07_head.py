"""C07 on a trained classifier: its head's update by an adapter of rank K - 1, exactly."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_da.layers import LoRALinear
from lowrank_da.methods.linear_probe import LinearProbe
from proofs.bind.real import CLASSES, classifier, entering, largest, loss, step, texts
from proofs.binding import Binding, Reading, wrong
from proofs.c07_head import saved

STEPS = 50
RANK = "rank of the update D"
OUTPUTS = "outputs of the adapter of rank K - 1 less those of D"
SAVED = "parameters that it saves"


def rank(matrix: Tensor) -> int:
    """Singular values that are not rounding."""
    sigma = torch.linalg.svdvals(matrix)
    return int((sigma > 1e-9 * sigma[0]).sum())


def softmax(logits: Tensor) -> Tensor:
    """Over the classes."""
    return logits.softmax(dim=-1)


def adapter(base: nn.Linear, D: Tensor, columns: int) -> LoRALinear:
    """The first columns of `D + v 1'` whose last column is zero, beside the weight before D."""
    layer = LoRALinear(base, columns, 1.0, 0.0, "kaiming")
    layer.lora_A.data = (D - D[:, -1:])[:, :columns].T
    layer.lora_B.data = torch.eye(CLASSES, columns, dtype=D.dtype)
    return layer


def sgd(parameters: Any, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Without decay, which would add the weight itself."""
    return torch.optim.SGD(parameters, lr=lr)


def read(
    output: Callable[[Tensor], Tensor] = softmax,
    columns: int = CLASSES - 1,
    optimizer: Any = torch.optim.AdamW,
) -> Iterator[Reading]:
    """The last map's update D; a softmax's gradient has rank K - 1 anyhow, AdamW's step has not."""
    model, batch = classifier(LinearProbe()), texts()
    last = model.head.out_proj
    base = copy.deepcopy(last)
    rule = optimizer(model.head.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(STEPS):
        step(rule, loss(model, batch))
    D = (last.weight - base.weight).detach().T
    base.bias = last.bias
    layer, x = adapter(base, D, columns), entering(model, last, batch)
    added = layer.lora_A.numel() + layer.lora_B.numel()
    yield Reading(RANK, rank(D), "=", CLASSES)
    yield Reading(OUTPUTS, largest(output(layer(x)) - output(last(x))), "=", 0, 1e-12)
    yield Reading(SAVED, last.weight.numel() - added, "=", saved(len(D), CLASSES, CLASSES - 1))


BINDING = Binding(
    id="C07",
    title="the last map of a head trained by AdamW on RoBERTa's states",
    read=read,
    twins={
        "sigmoids in place of the softmax": wrong(OUTPUTS, output=torch.sigmoid),
        "rank K - 2": wrong(OUTPUTS, columns=CLASSES - 2),
        "rank K": wrong(SAVED, columns=CLASSES),
        "plain SGD, whose update has rank K - 1": wrong(RANK, optimizer=sgd),
    },
)
