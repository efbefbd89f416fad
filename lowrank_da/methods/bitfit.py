"""BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): the biases train, and nothing else.

Every bias of the layers' linear maps and norms; those of the embeddings stay. A decoder's maps have
none: there zero-initialised ones are added, so that its function is unchanged at the start.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowrank_da.backbone import ATTENTION, FFN, Backbone
from lowrank_da.method import Method, Work

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BitFit(Method):
    """Train every bias of attention, FFN and norms."""

    rates = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Let every bias require a gradient; give maps without one a bias of zeros."""
        import torch
        from torch import nn

        from lowrank_da import anatomy

        for _, _, parent, attribute in anatomy.linear_maps(encoder):
            module = getattr(parent, attribute)
            linear = getattr(module, "base", module)
            if linear.bias is None:
                linear.bias = nn.Parameter(torch.zeros_like(linear.weight[:, 0]))
            linear.bias.requires_grad_(True)
        for norm in anatomy.norms(encoder):
            if getattr(norm, "bias", None) is not None:
                norm.bias.requires_grad_(True)

    def _of_maps(self, backbone: Backbone) -> int:
        return backbone.layers * sum(columns for _, columns in backbone.map_shapes)

    def added_parameters(self, backbone: Backbone) -> int:
        """On a decoder the outputs of all maps; else none, for the biases are there."""
        return self._of_maps(backbone) if backbone.decoder else 0

    def trained_parameters(self, backbone: Backbone) -> int:
        """`L (7 d + f)` on BERT and RoBERTa: 5 d + f of the maps, 2 d of the norms."""
        of_norms = 0 if backbone.decoder else backbone.layers * 2 * backbone.width
        return self._of_maps(backbone) + of_norms

    def work(self, backbone: Backbone) -> Work:
        return Work(touched=frozenset(ATTENTION + FFN))
