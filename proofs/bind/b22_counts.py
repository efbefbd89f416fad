"""C22 on RoBERTa: what six methods really put in, or let train, parameter by parameter."""

from collections.abc import Iterator

from torch import nn

from lowrank_da import anatomy
from lowrank_da.backbone import TINY_DECODER, Backbone
from lowrank_da.method import Method
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt
from proofs.bind.real import BACKBONE
from proofs.binding import Binding, Reading
from proofs.c22_counts import formulas, transformer

P, M, R = 5, 3, 2
METHODS: dict[str, Method] = {
    "prompt tuning": Prompt(tokens=P),
    "prefix": Prefix(tokens=P),
    "adapters": Adapter(bottleneck=M),
    "LoRA": LoRA(rank=R, targets=("query", "value")),
}


def size(model: nn.Module) -> int:
    """Of all parameters."""
    return sum(p.numel() for p in model.parameters())


def read(backbone: Backbone = BACKBONE, rank: int = R) -> Iterator[Reading]:
    """New parameters of four methods; the biases that BitFit trains; the norms."""
    sizes = (backbone.layers, backbone.width, backbone.ffn, P, M, rank)
    said = formulas(transformer(*sizes))
    before = size(backbone.load())
    for name, method in METHODS.items():
        model = backbone.load()
        method.attach(model, backbone)
        yield Reading(f"{name}: new parameters", size(model) - before, "=", said[name])
    model = backbone.load()
    BitFit().attach(model, backbone)
    biases = sum(p.numel() for p in model.parameters() if p.requires_grad)
    yield Reading("BitFit: trained parameters", biases, "=", said["BitFit"])
    norms = sum(size(norm) for norm in anatomy.norms(model))
    yield Reading("norms: their parameters", norms, "=", said["norms"])


BINDING = Binding(
    id="C22",
    title="six methods on RoBERTa",
    read=read,
    twins={
        "a decoder: no biases, fewer keys": {"backbone": TINY_DECODER},
        "another rank than LoRA's": {"rank": R + 1},
    },
)
