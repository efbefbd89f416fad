"""Where transformers puts the parts of an encoder, by family: no other file knows the names."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from lowrank_da.backbone import Map

_POST_NORM: dict[str, Any] = {
    "layers": "encoder.layer",
    "embeddings": "embeddings",
    "words": "embeddings.word_embeddings",
    "maps": {
        "query": ("attention.self.query",),
        "key": ("attention.self.key",),
        "value": ("attention.self.value",),
        "attention_output": ("attention.output.dense",),
        "ffn_in": ("intermediate.dense",),
        "ffn_out": ("output.dense",),
    },
    "norms": ("attention.output.LayerNorm", "output.LayerNorm"),
}
_LLAMA: dict[str, Any] = {
    "layers": "layers",
    "embeddings": "embed_tokens",
    "words": "embed_tokens",
    "maps": {
        "query": ("self_attn.q_proj",),
        "key": ("self_attn.k_proj",),
        "value": ("self_attn.v_proj",),
        "attention_output": ("self_attn.o_proj",),
        "ffn_in": ("mlp.gate_proj", "mlp.up_proj"),
        "ffn_out": ("mlp.down_proj",),
    },
    "norms": ("input_layernorm", "post_attention_layernorm"),
}
_OF = {"bert": _POST_NORM, "roberta": _POST_NORM, "llama": _LLAMA}


def _names(encoder: nn.Module) -> dict[str, Any]:
    return _OF[encoder.config.model_type]  # type: ignore[union-attr, index]


def layers(encoder: nn.Module) -> nn.ModuleList:
    """The encoder's layers, from the lowest up."""
    found: nn.ModuleList = encoder.get_submodule(_names(encoder)["layers"])  # type: ignore[assignment]
    return found


def embeddings(encoder: nn.Module) -> nn.Module:
    """What makes the states that enter the lowest layer."""
    return encoder.get_submodule(_names(encoder)["embeddings"])


def words(encoder: nn.Module) -> nn.Embedding:
    """The (vocabulary, width) table of the tokens' embeddings."""
    found: nn.Embedding = encoder.get_submodule(_names(encoder)["words"])  # type: ignore[assignment]
    return found


def linear_maps(encoder: nn.Module) -> Iterator[tuple[int, Map, nn.Module, str]]:
    """(layer, map, parent module, attribute) of every linear map, from the lowest layer up.

    The attribute holds the map itself, or the module that a method has put in its place.
    """
    for number, layer in enumerate(layers(encoder)):
        for target, paths in _names(encoder)["maps"].items():
            for path in paths:
                parent, _, attribute = path.rpartition(".")
                yield number, target, layer.get_submodule(parent), attribute


def norms(encoder: nn.Module) -> Iterator[nn.Module]:
    """The two norms of every layer, from the lowest layer up."""
    for layer in layers(encoder):
        for path in _names(encoder)["norms"]:
            yield layer.get_submodule(path)
