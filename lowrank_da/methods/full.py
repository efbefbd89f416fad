"""Full fine-tuning: every weight of the encoder trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_da.backbone import Backbone
from lowrank_da.method import Method

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Full(Method):
    """Train all of the encoder, embeddings included."""

    def attach(self, encoder: "nn.Module") -> None:
        """Let every parameter require a gradient."""
        encoder.requires_grad_(True)

    def added_parameters(self, backbone: Backbone) -> int:
        """None: full fine-tuning adds nothing."""
        return 0

    def trained_parameters(self, backbone: Backbone) -> int:
        """The whole body."""
        return backbone.body_parameters
