"""Prompt tuning (Lester et al. 2021, arXiv:2104.08691): trained embeddings before every text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lowrank_da.backbone import Backbone
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work, refuse_two

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Prompt(Method):
    """Train `tokens` embeddings that stand before every text; all else is frozen."""

    tokens: int = 20
    start: Literal["random", "text"] = "random"
    """Normal with the spread of the vocabulary's embeddings, or the embeddings of `text`."""
    text: str = "Who wrote this text: a human being or a machine, and which machine was it?"
    """Repeated, or cut, to as many tokens."""

    rates = (1e-3, 4e-3, 1.6e-2, 6.4e-2, 2.56e-1)

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise UserError(f"tokens={self.tokens} must be at least 1")
        if self.start not in ("random", "text"):
            raise UserError(f"start={self.start!r}: choose random or text")

    @property
    def virtual_tokens(self) -> int:
        """The positions before the text."""
        return self.tokens

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Add the module `virtual`, which `encode.py` asks for the embeddings."""
        from lowrank_da import anatomy, virtual

        vocabulary = anatomy.words(encoder).weight.detach()
        refuse_two(encoder, "virtual", self.name)
        encoder.virtual = virtual.VirtualTokens(self._started(vocabulary, backbone))

    def _started(self, vocabulary: "Tensor", backbone: Backbone) -> "Tensor":
        """(tokens, width)."""
        import torch

        if self.start == "random":
            # A generator of the global seed draws the same on every device.
            return torch.randn(self.tokens, backbone.width).to(vocabulary) * vocabulary.std()
        ids = backbone.tokenizer().encode(self.text, add_special_tokens=False).ids
        if not ids:
            raise UserError(f"text={self.text!r} has no tokens to start the prompt from")
        times = -(-self.tokens // len(ids))
        return vocabulary[torch.tensor((ids * times)[: self.tokens])].clone()

    def added_parameters(self, backbone: Backbone) -> int:
        """`P d`."""
        return self.tokens * backbone.width

    def work(self, backbone: Backbone) -> Work:
        return Work(embeddings=True, tokens=self.tokens)
