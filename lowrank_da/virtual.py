"""Trained tokens and prefixes: the modules that `encode.py` asks for, where an encoder has them.

`encoder.virtual()` gives the embeddings that stand before and behind every text, (left, width) and
(right, width), positions counted through from the first of them. `encoder.prefix(n)` gives the keys
and values that layer n sees before those of every text, (tokens, width of keys) each.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Rows = Float[Tensor, "tokens width"]


class VirtualTokens(nn.Module):
    """Embeddings that are themselves the parameters."""

    def __init__(self, start: Rows) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(start)

    def forward(self) -> tuple[Rows, Rows]:
        """All before the text, none behind it."""
        return self.embeddings, self.embeddings[:0]


class EncodedTokens(nn.Module):
    """Embeddings that a small trained network makes of trained inputs (Liu et al. 2021).

    Width to `hidden` to `hidden` to width with ReLU between, as peft's `PromptEncoder` has it.
    """

    def __init__(self, left: int, right: int, width: int, hidden: int) -> None:
        super().__init__()
        self.left = left
        self.inputs = nn.Parameter(torch.randn(left + right, width))
        self.network = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, width),
        )

    def forward(self) -> tuple[Rows, Rows]:
        """The first `left` of them before the text, the others behind it."""
        made = self.network(self.inputs)
        return made[: self.left], made[self.left :]


class Prefix(nn.Module):
    """Keys and values before those of every text, one block a layer."""

    def __init__(self, layers: int, tokens: int, width: int, std: float) -> None:
        super().__init__()
        self.tokens = tokens
        self.keys_values = nn.Parameter(torch.randn(layers, 2, tokens, width) * std)

    def forward(self, layer: int) -> tuple[Rows, Rows]:
        """Of the layer with this number."""
        keys, values = self.keys_values[layer]
        return keys, values
