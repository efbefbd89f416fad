"""Attention over packed texts, by whatever is fast where it runs.

- On a card in bfloat16: PyTorch's variable-length flash attention, which reads the packed row.
- On a card otherwise: PyTorch's fused attention on the rectangle.
- On a processor: plain matrix products on the rectangle, differentiated by hand. PyTorch's fused
  kernel is slow backward there (with heads of 32 numbers it takes half of a LoRA step); short texts
  have small attention matrices, and matrix products are what the processor does best.

All three are one function; tests hold them against each other and against transformers.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lowrank_da.packing import Packing

Row = Float[Tensor, "tokens width"]


class _Products(torch.autograd.Function):
    """softmax(s q k^T + bias) v for (batch, tokens, d) factors, and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float
    ) -> Tensor:
        scale = q.shape[-1] ** -0.5
        shape = (q.shape[0], q.shape[1], k.shape[1])
        added = q.new_zeros(()).expand(shape) if bias is None else bias.expand(shape)
        # Scale and mask ride along in the product: the scores are written once.
        weights = torch.baddbmm(added, q, k.mT, beta=0 if bias is None else 1, alpha=scale)
        weights = torch._softmax(weights, -1, False)
        kept = None
        mixed = weights
        if dropout:
            mixed, kept = torch.native_dropout(weights, dropout, True)
        ctx.save_for_backward(q, k, v, weights, kept)
        ctx.scale, ctx.dropout = scale, dropout
        return torch.bmm(mixed, v)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, kept = ctx.saved_tensors
        (grad,) = grads
        wanted_q, wanted_k, wanted_v, *_ = ctx.needs_input_grad
        grad_q, grad_k, grad_v = None, None, None
        share = 1.0 if kept is None else 1 / (1 - ctx.dropout)
        if wanted_v:
            mixed = weights if kept is None else weights * kept * share
            grad_v = torch.bmm(mixed.mT, grad)
        if wanted_q or wanted_k:
            grad_weights = torch.bmm(grad, v.mT)
            if kept is not None:
                grad_weights = grad_weights * kept * share
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_scores.mul_(ctx.scale)
            grad_q = torch.bmm(grad_scores, k) if wanted_q else None
            grad_k = torch.bmm(grad_scores.mT, q) if wanted_k else None
        return grad_q, grad_k, grad_v, None, None


def _seen(
    q: Tensor, k: Tensor, real: Tensor | None, causal: bool
) -> Bool[Tensor, "texts queries keys"] | None:
    """Which keys a query looks at; None: all. The rows and columns may be of length 1."""
    seen = None if real is None else real.unsqueeze(1)
    if causal:
        # Keys that lie before the text, such as a prefix, are seen by all of its tokens.
        shape, before = (q.shape[1], k.shape[1]), k.shape[1] - q.shape[1]
        past = torch.ones(shape, dtype=torch.bool, device=q.device).tril(before).unsqueeze(0)
        seen = past if seen is None else seen & past
    return seen


def _by_products(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    real: Tensor | None,
    heads: int,
    dropout: float,
    causal: bool = False,
) -> Tensor:
    """(texts, longest, width) factors and result; `real` tells which keys are no padding."""
    texts, queries, width = q.shape
    split = (t.view(texts, -1, heads, width // heads).transpose(1, 2) for t in (q, k, v))
    parts = (t.reshape(texts * heads, -1, width // heads) for t in split)
    seen, bias = _seen(q, k, real, causal), None
    if seen is not None:
        bias = torch.zeros_like(seen, dtype=q.dtype).masked_fill_(~seen, torch.finfo(q.dtype).min)
        if len(bias) > 1:
            bias = bias.repeat_interleave(heads, dim=0)
    mixed: Tensor = _Products.apply(*parts, bias, dropout)  # type: ignore[no-untyped-call]
    return mixed.view(texts, heads, queries, -1).transpose(1, 2).reshape(texts, queries, width)


def _by_fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    real: Tensor | None,
    heads: int,
    dropout: float,
    causal: bool = False,
) -> Tensor:
    """The same by PyTorch's fused attention."""
    texts, queries, width = q.shape
    seen = _seen(q, k, real, causal)
    mask = None if seen is None else seen.unsqueeze(1)
    q, k, v = (t.view(texts, -1, heads, width // heads).transpose(1, 2) for t in (q, k, v))
    mixed = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
    return mixed.transpose(1, 2).reshape(texts, queries, width)


def _by_varlen(
    q: Tensor, k: Tensor, v: Tensor, queries: Packing, keys: Packing, heads: int, causal: bool
) -> Tensor:
    """The same on packed rows, without a rectangle; for cards, in half precision."""
    from torch.nn.attention.varlen import varlen_attn

    split_q, split_k, split_v = (t.view(-1, heads, t.shape[-1] // heads) for t in (q, k, v))
    mixed = varlen_attn(
        split_q,
        split_k,
        split_v,
        queries.offsets,
        keys.offsets,
        queries.longest,
        keys.longest,
        window_size=(-1, 0 if causal else -1),
    )
    assert isinstance(mixed, Tensor)
    return mixed.flatten(1)


def pads(device: torch.device, dtype: torch.dtype, dropout: float) -> bool:
    """Whether attention lays the packed row out as a rectangle here."""
    return device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16) or dropout > 0


def attend(
    q: Row,
    k: Row,
    v: Row,
    queries: Packing,
    keys: Packing,
    heads: int,
    dropout: float = 0.0,
    causal: bool = False,
) -> Row:
    """softmax(q k^T / sqrt(d)) v within each text and head; d = width / heads.

    `q` is packed as `queries`, `k` and `v` as `keys`: the same texts, each perhaps with fewer
    queries, or with keys before its own. `dropout` is the share of attention weights that are set
    to zero. With `causal` a token of a text looks at those before it and at itself.
    """
    if torch.is_autocast_enabled(q.device.type):
        # A method's own factors may have made float32 of one of them.
        q, k, v = (t.to(torch.get_autocast_dtype(q.device.type)) for t in (q, k, v))
    if not pads(q.device, q.dtype, dropout):
        return _by_varlen(q, k, v, queries, keys, heads, causal)
    compute = _by_fused if q.is_cuda else _by_products
    parts = (queries.rectangle(q), keys.rectangle(k), keys.rectangle(v))
    return queries.row(compute(*parts, keys.real(), heads, dropout, causal))
