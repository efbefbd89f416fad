"""Linear probing: the encoder is frozen, and the head alone trains.

Its inputs depend on text and weights alone, so they are computed once and kept (see `trunk.py`):
every further probe on the same texts trains a head on vectors.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_da.backbone import Backbone
from lowrank_da.method import Method

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LinearProbe(Method):
    """Train the head on features that do not change."""

    rates = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Leave everything frozen."""

    def added_parameters(self, backbone: Backbone) -> int:
        """None."""
        return 0

    def frozen_layers(self, backbone: Backbone) -> int:
        """All of them."""
        return backbone.layers
