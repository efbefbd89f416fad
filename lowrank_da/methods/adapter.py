r"""Bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751) behind both sublayers of a layer.

    x (n x d)  = output of the attention's, or of the FFN's, last linear map
    |    \
    |   down (d x m), GELU, up (m x d)
    |    /
    x + up(GELU(down(x)))         then the sublayer's skip connection and norm

`up` starts near zero, so that the encoder's function is nearly unchanged. Adapters and the norms of
every layer train; all else is frozen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_da.backbone import Backbone, Map
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work

if TYPE_CHECKING:
    from torch import nn

BEHIND: tuple[Map, ...] = ("attention_output", "ffn_out")


@dataclass(frozen=True)
class Adapter(Method):
    """Train a bottleneck behind attention and behind the FFN, and the layers' norms."""

    bottleneck: int = 16
    """m, the width between `down` and `up`."""

    def __post_init__(self) -> None:
        if self.bottleneck < 1:
            raise UserError(f"bottleneck={self.bottleneck} must be at least 1")

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Put an `Adapted` in place of both maps, and train the norms."""
        from lowrank_da import anatomy
        from lowrank_da.layers import Adapted

        for _, target, parent, attribute in anatomy.linear_maps(encoder):
            if target in BEHIND:
                base = getattr(parent, attribute)
                setattr(parent, attribute, Adapted(base, backbone.width, self.bottleneck))
        for norm in anatomy.norms(encoder):
            norm.requires_grad_(True)

    def added_parameters(self, backbone: Backbone) -> int:
        """`2 L (2 d m + m + d)`."""
        d, m = backbone.width, self.bottleneck
        return 2 * backbone.layers * (2 * d * m + m + d)

    def trained_parameters(self, backbone: Backbone) -> int:
        """The adapters and the layers' norms."""
        return self.added_parameters(backbone) + backbone.norm_parameters

    def work(self, backbone: Backbone) -> Work:
        weights = backbone.width * self.bottleneck
        # A decoder's norms stand before its maps, an encoder's behind them.
        below, behind = backbone.decoder, dict.fromkeys(BEHIND, (weights, weights))
        return Work(embeddings=below, touched=frozenset(BEHIND), behind=behind)
