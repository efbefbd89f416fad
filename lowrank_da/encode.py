"""The forward pass of an encoder over packed texts, through the modules that transformers built.

The parameters and their modules are those of transformers' BERT, RoBERTa and Llama, changed by a
method; only the way through them is ours, for three reasons: packed rows need no padding, the pass
can begin above layers whose states are known (`trunk.py`), and a head that reads one token a text
leaves the last layer with one query a text. Tests hold it against transformers' own forward.

Two kinds of a method's modules act here rather than in place of one of transformers': virtual
tokens around every text (`encoder.virtual`), and a prefix of keys and values in every layer
(`encoder.prefix`), see `virtual.py`. No head ever reads a virtual token.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from lowrank_da import anatomy
from lowrank_da.attention import attend
from lowrank_da.backbone import Backbone, Pooling
from lowrank_da.batches import Batch
from lowrank_da.packing import Around, Packing


@dataclass(frozen=True, eq=False)
class _Row:
    """The tokens on their way through the layers."""

    texts: Packing
    """Of the real tokens."""
    packing: Packing
    """Of all tokens, virtual ones among them."""
    around: Around | None
    """How the real tokens lie between virtual ones, where there are any."""
    positions: Tensor
    """(tokens,) place of each token in its text, a prefix counted."""
    rotary: tuple[Tensor, Tensor] | None = None
    """A decoder's cosines and sines, (tokens, width of a head) each."""

    @property
    def right(self) -> int:
        """Virtual tokens behind each text."""
        return 0 if self.around is None else len(self.around.behind) // self.texts.texts

    def real(self) -> "_Asked | None":
        """The real tokens; None where all are."""
        return None if self.around is None else _Asked(self.around.real, self.texts)

    def read(self, pooling: Pooling) -> "_Asked | None":
        """The tokens that the head reads; None where it reads all."""
        if pooling == "mean":
            return self.real()
        left = 0 if self.around is None else len(self.around.before) // self.texts.texts
        first, last = self.packing.first + left, self.packing.last - self.right
        return _Asked(first if pooling == "first" else last, self.texts.singles())


@dataclass(frozen=True, eq=False)
class _Asked:
    """Some of the tokens, whose states alone are wanted; their texts' other tokens are seen."""

    rows: Tensor
    packing: Packing


def embed(encoder: nn.Module, backbone: Backbone, batch: Batch) -> tuple[Tensor, _Row]:
    """(tokens, width) states that enter the lowest layer, and how they lie."""
    positions, around = batch.positions, None
    words = anatomy.words(encoder)(batch.tokens)
    virtual = getattr(encoder, "virtual", None)
    if virtual is not None:
        left, right = virtual()
        around = batch.packing.around(len(left), len(right))
        words = around.row(words, left, right)
        positions = around.packing.positions()
    row = _row(encoder, backbone, words, batch.packing, around, positions)
    if backbone.decoder:
        return words, row
    states: Tensor = anatomy.embeddings(encoder)(
        inputs_embeds=words.unsqueeze(0),
        position_ids=(row.positions + backbone.first_position).unsqueeze(0),
    )
    return states.squeeze(0), row


def _row(
    encoder: nn.Module,
    backbone: Backbone,
    states: Tensor,
    texts: Packing,
    around: Around | None,
    positions: Tensor,
) -> _Row:
    packing = texts if around is None else around.packing
    prefix: Any = getattr(encoder, "prefix", None)
    if prefix is not None:
        positions = positions + prefix.tokens
    if not backbone.decoder:
        return _Row(texts, packing, around, positions)
    cos, sin = encoder.rotary_emb(states, positions.unsqueeze(0))  # type: ignore[operator]
    return _Row(texts, packing, around, positions, (cos[0], sin[0]))


def _encoder_layer(
    layer: Any, states: Tensor, row: _Row, asked: _Asked | None, prefix: Any
) -> Tensor:
    """A layer of BERT or RoBERTa: the norms come after."""
    own = layer.attention.self
    rows, queries = (states, row.packing) if asked is None else (states[asked.rows], asked.packing)
    k, v, keys = _behind_prefix(own.key(states), own.value(states), row.packing, prefix)
    dropout = own.dropout.p if layer.training else 0.0
    mixed = attend(own.query(rows), k, v, queries, keys, own.num_attention_heads, dropout)
    attended = layer.attention.output(mixed, rows)
    out: Tensor = layer.output(layer.intermediate(attended), attended)
    return out


def _decoder_layer(
    layer: Any, states: Tensor, row: _Row, asked: _Asked | None, prefix: Any
) -> Tensor:
    """A layer of Llama: the norms come before, and a token looks back only."""
    own, normed = layer.self_attn, layer.input_layernorm(states)
    assert row.rotary is not None
    rows, asking, queries, places = states, normed, row.packing, row.rotary
    if asked is not None:
        rows, asking, queries = states[asked.rows], normed[asked.rows], asked.packing
        places = (row.rotary[0][asked.rows], row.rotary[1][asked.rows])
    q = _turned(own.q_proj(asking), places, own.head_dim)
    k = _turned(own.k_proj(normed), row.rotary, own.head_dim)
    k, v, keys = _behind_prefix(k, own.v_proj(normed), row.packing, prefix)
    if own.num_key_value_groups > 1:
        k, v = (
            _heads(part, own.head_dim).repeat_interleave(own.num_key_value_groups, dim=1).flatten(1)
            for part in (k, v)
        )
    dropout = own.attention_dropout if layer.training else 0.0
    heads = q.shape[1] // own.head_dim
    # Tokens that are asked alone are the last of their text: `causal` hides what it has to.
    mixed = attend(q, k, v, queries, keys, heads, dropout, causal=True)
    attended = rows + own.o_proj(mixed)
    out: Tensor = attended + layer.mlp(layer.post_attention_layernorm(attended))
    return out


def _behind_prefix(
    k: Tensor, v: Tensor, packing: Packing, prefix: Any
) -> tuple[Tensor, Tensor, Packing]:
    """Each text's keys and values, behind the layer's prefix of trained ones if there is one."""
    if prefix is None:
        return k, v, packing
    keys, values = prefix
    around = packing.around(len(keys), 0)
    nothing = keys[:0]
    return around.row(k, keys, nothing), around.row(v, values, nothing), around.packing


def _heads(x: Tensor, width: int) -> Tensor:
    """(tokens, heads, width of a head)."""
    return x.view(len(x), -1, width)


def _turned(x: Tensor, rotary: tuple[Tensor, Tensor], head: int) -> Tensor:
    """Queries or keys with their places turned into them, head by head."""
    cos, sin = rotary
    heads = _heads(x, head)
    turned, _ = apply_rotary_pos_emb(heads, heads, cos, sin, unsqueeze_dim=1)
    out: Tensor = turned.flatten(1).to(x.dtype)
    return out


def encode(
    encoder: nn.Module, backbone: Backbone, batch: Batch, stop: int | None = None
) -> tuple[Tensor, Packing]:
    """The states above the layer number `stop` (None: above the last), and how they are packed.

    A batch with states of its own (see `Batch.states`) enters above the layers they come from;
    known above all layers, they are one a text, pooled. Of the last layer only what the backbone's
    pooling reads is computed and given: one state a text, unless it is the mean.
    """
    layers = anatomy.layers(encoder)
    end = len(layers) if stop is None else stop
    if batch.states is not None and batch.layers_done == len(layers):
        return batch.states, batch.packing.singles()
    if batch.states is None:
        states, row = embed(encoder, backbone, batch)
    else:
        states = batch.states
        row = _row(encoder, backbone, states, batch.packing, None, batch.positions)
    wanted = row.read(backbone.pooling) if end == len(layers) else row.real()
    # Asked alone, a decoder's token sees its whole text, so it must be the last there.
    alone = not backbone.decoder or (backbone.pooling != "first" and not row.right)
    through = _decoder_layer if backbone.decoder else _encoder_layer
    prefix = getattr(encoder, "prefix", None)
    asked = None
    for number in range(batch.layers_done, end):
        asked = wanted if alone and number == len(layers) - 1 else None
        states = through(
            layers[number], states, row, asked, None if prefix is None else prefix(number)
        )
    if end == len(layers):
        states = _finished(encoder, backbone, states)
    if wanted is None:
        return states, batch.packing
    return (states[wanted.rows] if asked is None else states), wanted.packing


def _finished(encoder: nn.Module, backbone: Backbone, states: Tensor) -> Tensor:
    """The states above the last layer: a decoder has one more norm there."""
    if not backbone.decoder:
        return states
    normed: Tensor = encoder.norm(states)  # type: ignore[operator]
    return normed
