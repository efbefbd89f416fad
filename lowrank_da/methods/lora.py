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
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from lowrank_da.backbone import ATTENTION, FFN, Backbone, Map
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from lowrank_da.batches import Batch

Start: TypeAlias = Literal["gaussian", "kaiming", "data", "data_rotated"]


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
    start: Start = "kaiming"
    """A ~ N(0, 1/rank^2) as the thesis and peft's `gaussian`, uniform as peft's default, in the
    span of what enters the map on training texts, or the last one rotated (see `span.py`)."""
    top_layers: int | None = None
    """Adapt only so many of the highest layers; None adapts all."""
    decomposed: bool = False
    """Train the length of each of the updated map's columns too (DoRA, Liu et al. 2024)."""
    b_rate: float = 1.0
    """B's learning rate over A's (LoRA+, Hayou et al. 2024, arXiv:2402.12354, advises 16)."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"rank={self.rank} must be at least 1")
        if not 0 < self.alpha < float("inf"):
            raise UserError(f"alpha={self.alpha} must be above 0")
        strange = [t for t in self.targets if t not in ATTENTION + FFN]
        if strange or not self.targets:
            known = ", ".join(ATTENTION + FFN)
            raise UserError(f"targets={self.targets}: choose among {known}")
        if len(set(self.targets)) < len(self.targets):
            raise UserError(f"targets={self.targets}: name each map once")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout} must be in [0, 1)")
        if self.start not in get_args(Start):
            raise UserError(f"start={self.start!r}: choose among {', '.join(get_args(Start))}")
        if not 0 < self.b_rate < float("inf"):
            raise UserError(f"b_rate={self.b_rate} must be above 0")
        if self.top_layers is not None and self.top_layers < 1:
            raise UserError(f"top_layers={self.top_layers} must be at least 1")

    @property
    def scale(self) -> float:
        """s, by which the product of the two factors is multiplied."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Put a `LoRALinear` in place of each target."""
        from torch import nn

        from lowrank_da import anatomy
        from lowrank_da.layers import LoRALinear

        lowest = self.frozen_layers(backbone)
        for layer, target, parent, attribute in list(anatomy.linear_maps(encoder)):
            if target in self.targets and layer >= lowest:
                base = getattr(parent, attribute)
                if not isinstance(base, nn.Linear):
                    raise UserError(f"lora: {target} is adapted already; let lora come first")
                own = (self.rank, self.scale, self.dropout, self.start, self.decomposed)
                setattr(parent, attribute, LoRALinear(base, *own))

    def look(
        self, encoder: "nn.Module", backbone: Backbone, batches: "Iterable[Batch]", seed: int
    ) -> None:
        """With a start of the data, draw the factors A anew, from what enters their maps."""
        if self.start in ("data", "data_rotated"):
            from lowrank_da import span

            rotated = self.start == "data_rotated"
            span.start_in_span(encoder, backbone, batches, seed, rotated)

    def added_parameters(self, backbone: Backbone) -> int:
        """Over adapted layers and maps, the sum of `rank (in + out)`, and `out` if decomposed."""
        shapes = [backbone.map_shape(t) for t in self.targets for _ in range(backbone.copies(t))]
        layers = backbone.layers - self.frozen_layers(backbone)
        lengths = sum(columns for _, columns in shapes) if self.decomposed else 0
        return layers * (self.rank * sum(map(sum, shapes)) + lengths)

    def trained_facts(self, encoder: "nn.Module") -> dict[str, Any]:
        """The singular values of every map's update `s A B`, falling, by `<layer>.<map>`.

        A decoder's second map of one kind has `.2` behind its name.
        """
        from lowrank_da import anatomy
        from lowrank_da.layers import LoRALinear

        values: dict[str, list[float]] = {}
        for layer, target, parent, attribute in anatomy.linear_maps(encoder):
            module = getattr(parent, attribute)
            module = getattr(module, "base", module)
            if isinstance(module, LoRALinear):
                name = f"{layer}.{target}"
                name += ".2" if name in values else ""
                values[name] = [float(f"{s:.6g}") for s in module.update_singular_values()]
        return {"singular_values": values}

    def rate_factor(self, parameter: str) -> float:
        """`b_rate` for B, 1 for A."""
        return self.b_rate if parameter.endswith("lora_B") else 1.0

    def work(self, backbone: Backbone) -> Work:
        return Work(touched=frozenset(self.targets))

    def frozen_layers(self, backbone: Backbone) -> int:
        if self.top_layers is None:
            return 0
        if self.top_layers > backbone.layers:
            raise UserError(
                f"top_layers={self.top_layers}: {backbone.name} has {backbone.layers} layers"
            )
        return backbone.layers - self.top_layers
