"""A random model of each family, small enough for every property to be tried on all of them."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from lowrank_da.backbone import TINY, TINY_DECODER, Backbone
from lowrank_da.layers import LoRALinear
from lowrank_da.method import Method

TINY_BERT = replace(
    TINY, name="tiny_bert", family="bert", positions=128, type_vocab=2, pooling="mean"
)
BACKBONES = {"roberta": TINY, "bert": TINY_BERT}
FAMILIES = BACKBONES | {"decoder": TINY_DECODER}
CAP = 128
"""Tokens that each takes at most."""
LENGTHS = {
    "one token": (1,),
    "one token each": (1, 1, 1),
    "the cap": (CAP,),
    "equal": (5, 5),
    "mixed": (9, 1, CAP, 4),
}
"""Lengths of the texts of one batch."""


def encoder(
    backbone: Backbone = TINY, method: Method | None = None, dtype: torch.dtype = torch.float64
) -> PreTrainedModel:
    """The encoder in evaluation mode, changed by `method`, its adapters away from their start."""
    model = backbone.load()
    if method is not None:
        torch.manual_seed(1)
        method.attach(model, backbone)
        move_from_start(model)
    return model.to(dtype).eval()


def move_from_start(model: nn.Module) -> None:
    """Give every B, which starts at zero, and DoRA's lengths values as if they had been trained."""
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.3)
        if layer.magnitude is not None:
            nn.init.uniform_(layer.magnitude, 0.5, 1.5)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted maps by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}


def texts(backbone: Backbone = TINY, lengths: tuple[int, ...] = (9, 4, 6)) -> list[list[int]]:
    """Random token ids of texts of these lengths, no special ones among them."""
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(4, backbone.vocab, (n,), generator=generator).tolist() for n in lengths]


def padded(
    backbone: Backbone = TINY,
    lengths: tuple[int, ...] = (9, 4, 6),
    side: Literal["left", "right"] = "right",
) -> tuple[Tensor, Tensor]:
    """(batch, tokens) ids of `texts`, filled up on that side, and the mask of real tokens."""
    rows = [torch.tensor(text) for text in texts(backbone, lengths)]
    tokens = pad_sequence(rows, True, backbone.pad_token, side)
    mask = pad_sequence([torch.ones_like(row) for row in rows], True, 0, side).bool()
    return tokens, mask
