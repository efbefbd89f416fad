"""C22 on RoBERTa: what five methods really put in, or let train, and the norms."""

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
from proofs.binding import Binding, Reading, wrong
from proofs.c22_counts import formulas, transformer

P, M, R = 5, 3, 2
ADDED = "{}: new parameters"
BIASES, NORMS = "BitFit: trained parameters", "norms: their parameters"


def size(model: nn.Module) -> int:
    """Of all parameters."""
    return sum(p.numel() for p in model.parameters())


def read(backbone: Backbone = BACKBONE, p: int = P, m: int = M, r: int = R) -> Iterator[Reading]:
    """New parameters of four methods; the biases that BitFit trains; the norms."""
    methods: dict[str, Method] = {
        "prompt tuning": Prompt(tokens=p),
        "prefix": Prefix(tokens=p),
        "adapters": Adapter(bottleneck=m),
        "LoRA": LoRA(rank=r, targets=("query", "value")),
    }
    said = formulas(transformer(backbone.layers, backbone.width, backbone.ffn, P, M, R))
    before = size(backbone.load())
    for name, method in methods.items():
        model = backbone.load()
        method.attach(model, backbone)
        yield Reading(ADDED.format(name), size(model) - before, "=", said[name])
    model = backbone.load()
    BitFit().attach(model, backbone)
    biases = sum(bias.numel() for bias in model.parameters() if bias.requires_grad)
    yield Reading(BIASES, biases, "=", said["BitFit"])
    yield Reading(NORMS, sum(size(norm) for norm in anatomy.norms(model)), "=", said["norms"])


BINDING = Binding(
    id="C22",
    title="five methods on RoBERTa, and its norms",
    read=read,
    twins={
        "a longer prompt": wrong(ADDED.format("prompt tuning"), p=P + 1),
        "wider adapters": wrong(ADDED.format("adapters"), m=M + 1),
        "a larger rank": wrong(ADDED.format("LoRA"), r=R + 1),
        "a decoder, whose maps have no biases": wrong(BIASES, backbone=TINY_DECODER),
        "a decoder, whose norms have none": wrong(NORMS, backbone=TINY_DECODER),
        "a decoder, with fewer keys": wrong(ADDED.format("prefix"), backbone=TINY_DECODER),
    },
)
