"""C25 on RoBERTa: what training makes of an input that the training texts do not span.

One map trains, the lowest layer's query: its inputs are the same at every step, for the embeddings
below it are frozen, and with fewer tokens than the width they span less than the whole space.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_da import anatomy
from lowrank_da.classifier import Classifier
from lowrank_da.layers import LoRALinear
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from proofs.bind.real import BACKBONE, classifier, entering, factors, largest, loss, step, texts
from proofs.binding import Binding, Reading, wrong

BATCH = texts((4, 3, 2))
MOVED, KEPT = "full: largest change of W", "full: change of xW off the span"
LEAK, THROUGH = "LoRA: change of xW off the span", "LoRA: the same less s x A0 B"
STAYS = "LoRA from the span: change of xW"
STEPS = 30


def query(model: Classifier) -> nn.Module:
    """The lowest layer's."""
    _, _, parent, attribute = next(anatomy.linear_maps(model.encoder))
    found: nn.Module = getattr(parent, attribute)
    return found


def weight(model: Classifier) -> Tensor:
    """The query's, (in x out)."""
    found = query(model).weight
    assert isinstance(found, Tensor)
    return found.detach().T.clone()


def off_span(model: Classifier) -> Tensor:
    """(rows, width), orthonormal, and orthogonal to all that enters the map."""
    inputs = entering(model, query(model), BATCH)
    _, sigma, right = torch.linalg.svd(inputs, full_matrices=True)
    rest: Tensor = right[int((sigma > 1e-9 * sigma[0]).sum()) :]
    return rest


def train(model: Classifier, optimizer: Any, options: Mapping[str, Any]) -> None:
    """Of the whole classifier only what its query has of trained parts."""
    module = query(model)
    model.requires_grad_(False)
    parts = [module.lora_A, module.lora_B] if isinstance(module, LoRALinear) else [module.weight]
    rule = optimizer([part.requires_grad_(True) for part in parts], lr=0.5, **options)
    for _ in range(STEPS):
        step(rule, loss(model, BATCH))


def read(
    optimizer: Any = torch.optim.SGD, start: Any = "data", **options: Any
) -> Iterator[Reading]:
    """Full fine-tuning, LoRA from a random A, and LoRA from the data's span."""
    model = classifier(Full())
    x, W = off_span(model), weight(model)
    train(model, optimizer, options)
    moved = weight(model) - W
    yield Reading(MOVED, largest(moved), ">", 1e-3)
    yield Reading(KEPT, largest(x @ moved), "=", 0, 1e-12)
    for place in ("gaussian", start):
        lora = LoRA(rank=2, alpha=2, start=place)
        model = classifier(lora)
        lora.look(model.encoder, BACKBONE, [BATCH], seed=0)
        layer, x = query(model), off_span(model)
        assert isinstance(layer, LoRALinear)
        A0, _ = factors(layer)
        train(model, optimizer, options)
        leak = x @ (layer.merged() - layer.weight).T
        if place == "gaussian":
            apart = largest(leak - layer.scale * (x @ A0) @ factors(layer)[1])
            yield Reading(LEAK, largest(leak), ">", 1e-3)
            yield Reading(THROUGH, apart, "=", 0, 1e-12)
        else:
            yield Reading(STAYS, largest(leak), "=", 0, 1e-7)  # `start_in_span` works in float32


BINDING = Binding(
    id="C25",
    title="the lowest query of RoBERTa, trained on the real loss",
    read=read,
    twins={
        "Adam": wrong(KEPT, optimizer=torch.optim.Adam),
        "weight decay": wrong(THROUGH, weight_decay=0.1),
        "A0 not in the span": wrong(STAYS, start="kaiming"),
    },
)
