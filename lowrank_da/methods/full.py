"""Full fine-tuning: every weight of the encoder trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_da.backbone import ATTENTION, FFN, Backbone
from lowrank_da.method import Method, Work

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Full(Method):
    """Train all of the encoder, embeddings included."""

    rates = (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4)

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Let every parameter require a gradient."""
        encoder.requires_grad_(True)

    def added_parameters(self, backbone: Backbone) -> int:
        """None: full fine-tuning adds nothing."""
        return 0

    def trained_parameters(self, backbone: Backbone) -> int:
        """The whole body."""
        return backbone.body_parameters

    def work(self, backbone: Backbone) -> Work:
        return Work(embeddings=True, weights=True, touched=frozenset(ATTENTION + FFN))
