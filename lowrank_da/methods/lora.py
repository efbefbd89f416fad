r"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of the encoder's linear maps.

          x (n x d)
         /         \
    W (d x k)     A (d x r)  ~ N(0, 1/r^2) or Kaiming-uniform
    frozen            |
        |         B (r x k)  = 0
        |             | s = alpha / r
         \           /
          y = xW + b + s (xA)B = x(W + sAB) + b

At the start `B = 0`, so the encoder's function is unchanged. The layer itself, with its
arithmetic, is `layers.LoRALinear`.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lowrank_da.backbone import ATTENTION, FFN, Backbone, Map, linear_maps
from lowrank_da.errors import UserError
from lowrank_da.method import Method

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoRA(Method):
    """Train `s A B` beside chosen linear maps; all else is frozen."""

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[Map, ...] = ATTENTION + FFN
    """Which of a layer's six linear maps are adapted."""
    dropout: float = 0.0
    """On the adapter's input, in training."""
    rank_stabilised: bool = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank (Kalajdzievski 2023)."""
    start: Literal["gaussian", "kaiming"] = "kaiming"
    """A ~ N(0, 1/rank^2) as the thesis and peft's `gaussian`, or uniform as peft's default."""
    top_layers: int | None = None
    """Adapt only so many of the highest layers; None adapts all."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"rank={self.rank} must be at least 1")
        strange = [t for t in self.targets if t not in ATTENTION + FFN]
        if strange or not self.targets:
            known = ", ".join(ATTENTION + FFN)
            raise UserError(f"targets={self.targets}: choose among {known}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout} must be in [0, 1)")
        if self.start not in ("gaussian", "kaiming"):
            raise UserError(f"start={self.start!r}: choose gaussian or kaiming")
        if self.top_layers is not None and self.top_layers < 1:
            raise UserError(f"top_layers={self.top_layers} must be at least 1")

    @property
    def scale(self) -> float:
        """s, by which the product of the two factors is multiplied."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def attach(self, encoder: "nn.Module") -> None:
        """Freeze the encoder and put a `LoRALinear` in place of each target."""
        from lowrank_da.layers import LoRALinear

        encoder.requires_grad_(False)
        maps = list(linear_maps(encoder))
        layers = 1 + max(layer for layer, *_ in maps)
        lowest = layers - (self.top_layers or layers)
        for layer, target, parent, attribute in maps:
            if target in self.targets and layer >= lowest:
                base = getattr(parent, attribute)
                adapted = LoRALinear(base, self.rank, self.scale, self.dropout, self.start)
                setattr(parent, attribute, adapted)

    def added_parameters(self, backbone: Backbone) -> int:
        """`sum over adapted layers and targets of rank (in + out)`."""
        shapes = [backbone.map_shape(target) for target in self.targets]
        layers = backbone.layers - self.frozen_layers(backbone)
        return layers * self.rank * sum(rows + columns for rows, columns in shapes)

    def frozen_layers(self, backbone: Backbone) -> int:
        if self.top_layers is None:
            return 0
        if self.top_layers > backbone.layers:
            raise UserError(
                f"top_layers={self.top_layers}: {backbone.name} has {backbone.layers} layers"
            )
        return backbone.layers - self.top_layers
