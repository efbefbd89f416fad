"""C07 on a trained classifier: its head's update, without what a softmax cannot see."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lowrank_da.layers import LoRALinear
from lowrank_da.methods.linear_probe import LinearProbe
from proofs.bind.real import CLASSES, classifier, entering, largest, loss, step, texts
from proofs.binding import Binding, Reading

STEPS = 50


def rank(matrix: Tensor) -> int:
    """Singular values that are not rounding."""
    sigma = torch.linalg.svdvals(matrix)
    return int((sigma > 1e-9 * sigma[0]).sum())


def softmax(logits: Tensor) -> Tensor:
    """Over the classes."""
    return logits.softmax(dim=-1)


def read(output: Callable[[Tensor], Tensor] = softmax, short: int = 1) -> Iterator[Reading]:
    """The last map's update D under AdamW, which a softmax's gradient alone would not give."""
    model, batch = classifier(LinearProbe()), texts()
    last = model.head.out_proj
    before = last.weight.detach().T.clone()
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(STEPS):
        step(optimizer, loss(model, batch))
    D = last.weight.detach().T - before
    centred = D - D.mean(dim=1, keepdim=True)  # DP
    few = D - D[:, -short:].mean(dim=1, keepdim=True)  # DS: its last column is zero
    few[:, CLASSES - short :] = 0
    x, d = entering(model, last, batch), len(D)
    apart = output(x @ (before + few)) - output(x @ (before + D))
    yield Reading("rank of the update D", rank(D), "=", CLASSES)
    yield Reading("rank of DP", rank(centred), "=", CLASSES - 1)
    yield Reading("columns of DS that are not zero", rank(few), "=", CLASSES - 1)
    yield Reading("change of the outputs, DS in D's place", largest(apart), "=", 0, 1e-12)
    layer = LoRALinear(last, CLASSES - short, 1.0, 0.0, "kaiming")
    saved = last.weight.numel() - layer.lora_A.numel() - layer.lora_B.numel()
    yield Reading("parameters saved by such an adapter", saved, "=", d - CLASSES * (CLASSES - 1))


BINDING = Binding(
    id="C07",
    title="the last map of a head trained by AdamW on RoBERTa's states",
    read=read,
    twins={
        "sigmoids in place of the softmax": {"output": torch.sigmoid},
        "rank K - 2": {"short": 2},
    },
)
