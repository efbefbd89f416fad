"""Prefix tuning (Li & Liang 2021, arXiv:2101.00190): trained keys and values before every text.

Each layer's attention sees them before those of the text. As in peft they are parameters
themselves, without a network that makes them, and they take up positions.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_da.backbone import Backbone
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work, refuse_two

if TYPE_CHECKING:
    from torch import nn


def _key_width(backbone: Backbone) -> int:
    return backbone.map_shape("key")[1]


@dataclass(frozen=True)
class Prefix(Method):
    """Train `tokens` keys and values in every layer; all else is frozen."""

    tokens: int = 20
    std: float = 0.02
    """Standard deviation of their normal start."""

    rates = (1.6e-2, 3.2e-2, 6.4e-2, 1.28e-1, 2.56e-1)

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UserError(f"tokens={self.tokens} must be at least 1")
        if not 0 <= self.std < float("inf"):
            raise UserError(f"std={self.std} must be at least 0")

    @property
    def virtual_tokens(self) -> int:
        """The positions before the text."""
        return self.tokens

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Add the module `prefix`, which `encode.py` asks in every layer."""
        from lowrank_da import virtual

        width = _key_width(backbone)
        refuse_two(encoder, "prefix", self.name)
        encoder.prefix = virtual.Prefix(backbone.layers, self.tokens, width, self.std)

    def added_parameters(self, backbone: Backbone) -> int:
        """`2 L P d`, with the width of keys for d."""
        return 2 * backbone.layers * self.tokens * _key_width(backbone)

    def work(self, backbone: Backbone) -> Work:
        return Work(touched=frozenset({"key", "value"}), keys=self.tokens)
