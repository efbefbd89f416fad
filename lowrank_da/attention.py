"""Attention written as plain matrix products, for processors.

On a CPU, PyTorch's fused attention is slow backward: with heads of 32 numbers it takes half of a
LoRA step. Short texts do not need it, for their attention matrices are small, and matrix products
are what the processor does best. The function is the same; a test holds it against the fused one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PRODUCTS = "products"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax(query key^T / sqrt(d) + mask) value.

    `query`, `key`, `value` are (batch, heads, tokens, d), the mask is additive and broadcasts over
    (batch, heads, tokens, tokens); the result is (batch, tokens, heads, d), as transformers wants.
    """
    batch, heads, tokens, d = query.shape
    q, k, v = (t.reshape(batch * heads, -1, d) for t in (query, key, value))
    scores = torch.bmm(q * (d**-0.5 if scaling is None else scaling), k.transpose(1, 2))
    if attention_mask is not None:
        masked = scores.view(batch, heads, tokens, -1) + attention_mask.to(scores.dtype)
        scores = masked.view_as(scores)
    # `softmax` itself would be lifted to float32 by autocast; its sums are float32 anyway.
    weights = torch._softmax(scores, -1, False)
    if dropout:
        weights = functional.dropout(weights, dropout, training=module.training)
    mixed = torch.bmm(weights, v).view(batch, heads, tokens, d)
    return mixed.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(PRODUCTS, attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(PRODUCTS, eager_mask)


def choose(encoder: nn.Module, device: torch.device) -> None:
    """Products on a CPU, PyTorch's fused attention on a card."""
    encoder.config._attn_implementation = PRODUCTS if device.type == "cpu" else "sdpa"  # type: ignore[union-attr]
