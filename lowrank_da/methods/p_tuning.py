"""P-tuning (Liu et al. 2021, arXiv:2103.10385): trained tokens made by a small network.

`both` sets them left and right of the text, half each, as the original does; `left` sets all of
them on the left, as P-tuning & bias does (see `both.py`). A decoder's text sees nothing behind it:
there the tokens on the right learn nothing, and `left` is the better choice.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lowrank_da.backbone import Backbone
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work, refuse_two

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PTuning(Method):
    """Train `tokens` embeddings around every text, and the network that makes them."""

    tokens: int = 20
    """On both sides together; of an odd number, one more stands on the left."""
    side: Literal["both", "left"] = "both"
    hidden: int | None = None
    """Width of the network's two hidden layers; None: the encoder's."""

    rates = (2.5e-4, 1e-3, 4e-3, 1.6e-2, 6.4e-2)

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UserError(f"tokens={self.tokens} must be at least 1")
        if self.side not in ("both", "left"):
            raise UserError(f"side={self.side!r}: choose both or left")
        if self.hidden is not None and self.hidden < 1:
            raise UserError(f"hidden={self.hidden} must be at least 1")

    @property
    def virtual_tokens(self) -> int:
        """The positions around the text."""
        return self.tokens

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Add the module `virtual`, which `encode.py` asks for the embeddings."""
        from lowrank_da import virtual

        right = self.tokens // 2 if self.side == "both" else 0
        hidden = self.hidden or backbone.width
        refuse_two(encoder, "virtual", self.name)
        encoder.virtual = virtual.EncodedTokens(self.tokens - right, right, backbone.width, hidden)

    def added_parameters(self, backbone: Backbone) -> int:
        """`P d + (d h + h) + (h h + h) + (h d + d)`."""
        d = backbone.width
        h = self.hidden or d
        return self.tokens * d + (d * h + h) + (h * h + h) + (h * d + d)

    def work(self, backbone: Backbone) -> Work:
        return Work(embeddings=True, tokens=self.tokens)
