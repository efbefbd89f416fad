"""The forward pass of an encoder over packed texts, through the modules that transformers built.

The parameters and their modules are those of transformers' BERT and RoBERTa, changed by a method;
only the way through them is ours, for three reasons: packed rows need no padding, the pass can
begin above layers whose states are known (`trunk.py`), and a head that reads first tokens alone
leaves the last layer with one query a text. Tests hold it against transformers' own forward.
"""

from typing import Any

from torch import Tensor, nn

from lowrank_da.attention import attend
from lowrank_da.backbone import Backbone
from lowrank_da.batches import Batch
from lowrank_da.packing import Packing


def layers_of(encoder: nn.Module) -> nn.ModuleList:
    """The encoder's layers, from the lowest up."""
    layers: nn.ModuleList = encoder.get_submodule("encoder.layer")  # type: ignore[assignment]
    return layers


def embed(encoder: nn.Module, backbone: Backbone, batch: Batch) -> Tensor:
    """(tokens, width) states that enter the lowest layer."""
    embeddings = encoder.get_submodule("embeddings")
    positions = batch.positions + backbone.first_position
    states: Tensor = embeddings(
        input_ids=batch.tokens.unsqueeze(0), position_ids=positions.unsqueeze(0)
    )
    return states.squeeze(0)


def through(layer: Any, states: Tensor, packing: Packing, first_only: bool) -> Tensor:
    """One layer: (tokens, width) states, or (texts, width) of the first tokens alone."""
    own = layer.attention.self
    # Which tokens ask: with `first_only` one a text, while all are looked at.
    asking, queries = (states[packing.first], packing.firsts()) if first_only else (states, packing)
    mixed = attend(
        own.query(asking),
        own.key(states),
        own.value(states),
        queries,
        packing,
        own.num_attention_heads,
        own.dropout.p if layer.training else 0.0,
    )
    attended = layer.attention.output(mixed, asking)
    out: Tensor = layer.output(layer.intermediate(attended), attended)
    return out


def encode(
    encoder: nn.Module, backbone: Backbone, batch: Batch, stop: int | None = None
) -> tuple[Tensor, Packing]:
    """The states above the layer number `stop` (None: above the last), and how they are packed.

    A batch with states of its own (see `Batch.states`) enters above the layers they come from. Of
    the last layer only what the backbone's pooling reads is computed: with `first`, one state a
    text.
    """
    states = embed(encoder, backbone, batch) if batch.states is None else batch.states
    layers = layers_of(encoder)
    for number in range(batch.layers_done, len(layers) if stop is None else stop):
        pooled = backbone.pooling == "first" and number == len(layers) - 1
        states = through(layers[number], states, batch.packing, first_only=pooled)
        if pooled:
            return states, batch.packing.firsts()
    return states, batch.packing
