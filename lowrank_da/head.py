"""The classification head that every method trains: pool real tokens, dense, tanh, project.

It is RoBERTa's own head (transformers' `RobertaClassificationHead`), used for every backbone so
that heads never differ between the methods and models compared.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lowrank_da.backbone import Pooling
from lowrank_da.packing import Packing


def pool(
    states: Float[Tensor, "tokens width"], packing: Packing, pooling: Pooling
) -> Float[Tensor, "texts width"]:
    """The first or the last token's state, or the mean over the tokens of each text."""
    if pooling == "mean":
        # Sums of many tokens want more than half precision.
        wide = states.to(torch.promote_types(states.dtype, torch.float32))
        return packing.rectangle(wide).sum(dim=1) / packing.lengths.unsqueeze(1)
    return states[packing.first if pooling == "first" else packing.last]


class Head(nn.Module):
    """(tokens, width) states of packed texts to (texts, classes) logits."""

    def __init__(self, width: int, classes: int, pooling: Pooling, dropout: float) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, classes)
        for layer in (self.dense, self.out_proj):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(
        self, states: Float[Tensor, "tokens width"], packing: Packing
    ) -> Float[Tensor, "texts classes"]:
        """Logits."""
        hidden = self.dropout(pool(states, packing, self.pooling))
        hidden = self.dropout(torch.tanh(self.dense(hidden)))
        logits: Tensor = self.out_proj(hidden)
        return logits
