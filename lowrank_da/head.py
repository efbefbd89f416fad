"""The classification head that every method trains: pool a real token, dense, tanh, project.

It is RoBERTa's own head (transformers' `RobertaClassificationHead`), used for every backbone so
that heads never differ between the methods and models compared.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Head(nn.Module):
    """(batch, tokens, width) states and a mask of real tokens to (batch, classes) logits."""

    def __init__(
        self, width: int, classes: int, pooling: Literal["first", "mean"], dropout: float
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, classes)
        for layer in (self.dense, self.out_proj):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def pool(
        self, states: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"] | None
    ) -> Float[Tensor, "batch width"]:
        """The first token's state, or the mean over real tokens; `mask` None: all are real."""
        if self.pooling == "first":
            return states[:, 0]
        if mask is None:
            return states.float().mean(dim=1)
        kept = mask.unsqueeze(-1).to(torch.float32)
        return (states.float() * kept).sum(dim=1) / kept.sum(dim=1)

    def forward(
        self, states: Float[Tensor, "batch tokens width"], mask: Bool[Tensor, "batch tokens"] | None
    ) -> Float[Tensor, "batch classes"]:
        """Logits."""
        hidden = self.dropout(self.pool(states, mask))
        hidden = self.dropout(torch.tanh(self.dense(hidden)))
        logits: Tensor = self.out_proj(hidden)
        return logits
