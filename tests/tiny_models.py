"""Two random encoders of each family, small enough for every property to be tried on both."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank_da.backbone import TINY, Backbone
from lowrank_da.layers import LoRALinear
from lowrank_da.method import Method

TINY_BERT = replace(TINY, name="tiny_bert", family="bert", type_vocab=2, pooling="mean")
BACKBONES = {"roberta": TINY, "bert": TINY_BERT}


def encoder(
    backbone: Backbone = TINY, method: Method | None = None, dtype: torch.dtype = torch.float64
) -> PreTrainedModel:
    """The encoder in evaluation mode, changed by `method`, its adapters away from their start."""
    model = backbone.load().to(dtype)
    if method is not None:
        torch.manual_seed(1)
        method.attach(model)
        move_from_start(model)
    return model.eval()


def move_from_start(model: nn.Module) -> None:
    """Give every B, which starts at zero, values as if it had been trained."""
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.3)


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted maps by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}


def padded(
    backbone: Backbone = TINY, lengths: tuple[int, ...] = (9, 4, 6)
) -> tuple[Tensor, Tensor]:
    """(batch, tokens) random ids and the mask of real tokens, for texts of these lengths."""
    generator = torch.Generator().manual_seed(2)
    shape = (len(lengths), max(lengths))
    tokens = torch.randint(4, backbone.vocab, shape, generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return tokens.where(mask, torch.tensor(backbone.pad_token)), mask
