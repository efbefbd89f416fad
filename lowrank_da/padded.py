"""A classifier over padded texts, by transformers' own forward pass: the graph that ONNX gets.

`encode.py` packs texts, and its shapes depend on where they end. Here a batch is a rectangle of
token ids and a mask, as every other program has it; virtual tokens and prefixes go the way that
peft takes. The logits are the same, whichever side is filled up.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from lowrank_da import anatomy
from lowrank_da.backbone import Backbone
from lowrank_da.head import Head


class Padded(nn.Module):
    """(texts, tokens) ids and mask to (texts, classes) logits."""

    left: Tensor
    right: Tensor

    def __init__(self, encoder: PreTrainedModel, head: Head, backbone: Backbone) -> None:
        """`encoder` may hold a method's modules, but no layer with an autograd function of its own.

        Its attention becomes the plain one of matrix products, which every runtime has.
        """
        super().__init__()
        encoder.set_attn_implementation("eager")
        self.encoder, self.backbone = encoder, backbone
        self.dense, self.out_proj = head.dense, head.out_proj
        virtual = getattr(encoder, "virtual", None)
        none = torch.zeros(0, backbone.width)
        left, right = (none, none) if virtual is None else virtual()
        self.register_buffer("left", left.detach())
        self.register_buffer("right", right.detach())

    def forward(
        self,
        input_ids: Int[Tensor, "texts tokens"],
        attention_mask: Int[Tensor, "texts tokens"],
    ) -> Float[Tensor, "texts classes"]:
        """Logits; the mask is 1 at real tokens, of which each text has at least one."""
        texts, tokens = input_ids.shape
        before, behind = len(self.left), len(self.right)

        def ones(number: int) -> Tensor:
            return attention_mask.new_ones(texts, number)

        parts = (self.left, self.right)
        left, right = (part.unsqueeze(0).expand(texts, -1, -1) for part in parts)
        states = torch.cat([left, anatomy.words(self.encoder)(input_ids), right], dim=1)
        # Tokens on the right stand behind the padding; their positions go on where the text ends.
        mask = torch.cat([ones(before), attention_mask, ones(behind)], dim=1)
        places = (mask.cumsum(dim=1) - 1).clamp(min=0) + self.backbone.first_position
        prefix = getattr(self.encoder, "prefix", None)
        past = {}
        if prefix is not None:
            mask = torch.cat([ones(prefix.tokens), mask], dim=1)
            places = places + prefix.tokens
            past = {"past_key_values": self._cache(prefix, texts)}
        out = self.encoder(inputs_embeds=states, attention_mask=mask, position_ids=places, **past)
        pooled = self._pool(out.last_hidden_state[:, before : before + tokens], attention_mask)
        logits: Tensor = self.out_proj(torch.tanh(self.dense(pooled)))
        return logits

    def _cache(self, prefix: nn.Module, texts: int) -> DynamicCache:
        """The prefix as if it were the keys and values of tokens that were there before."""
        head = self.backbone.width // self.backbone.heads

        def of_heads(rows: Tensor) -> Tensor:
            split = rows.view(1, len(rows), -1, head).transpose(1, 2)
            return split.expand(texts, -1, -1, -1)

        layers = range(self.backbone.layers)
        return DynamicCache([tuple(of_heads(part) for part in prefix(n)) for n in layers])

    def _pool(
        self, states: Float[Tensor, "texts tokens width"], mask: Int[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts width"]:
        """What the backbone's pooling reads, as a mean over the chosen tokens."""
        number, chosen = mask.cumsum(dim=1), mask.bool()
        if self.backbone.pooling == "first":
            chosen = chosen & (number == 1)
        if self.backbone.pooling == "last":
            chosen = chosen & (number == number[:, -1:])
        weights = chosen.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)
