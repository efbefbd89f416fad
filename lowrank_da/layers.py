"""The trained layers that methods put into an encoder.

The thesis writes an adapted map as `x(W + sAB)` with `A` (d x r) and `B` (r x k); the code stores
`lora_A` = A^T (r, d) and `lora_B` = B^T (k, r), as peft does.

Without dropout on the adapter's input the two branches are one matrix product: the layer forms
`W + sAB` once a step and differentiates it by hand, so that a step costs one product forward and
one backward for each map, and nothing but `x` is kept for the backward pass.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def _merge(weight: Tensor, lora_a: Tensor, lora_b: Tensor, scale: float) -> Tensor:
    # Autocast would round W, A and B before adding them, and an update smaller than half a unit
    # in the last place of a bf16 W would vanish: merge in the stored precision, round once after.
    with torch.autocast(weight.device.type, enabled=False):
        return torch.addmm(weight, lora_b, lora_a, alpha=scale)


class _MergedLinear(torch.autograd.Function):
    """`x (W + s A B) + b`, with gradients for `x`, `A` and `B` only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lora_a: Tensor,
        lora_b: Tensor,
        scale: float,
    ) -> Tensor:
        merged = _merge(weight, lora_a, lora_b, scale).to(x.dtype)
        ctx.save_for_backward(x, merged, lora_a, lora_b)
        ctx.scale = scale
        return functional.linear(x, merged, None if bias is None else bias.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, merged, lora_a, lora_b = ctx.saved_tensors
        grad = grads[0]
        grad_x = grad @ merged if ctx.needs_input_grad[0] else None
        rows, grad_rows = (t.reshape(-1, t.shape[-1]) for t in (x, grad))
        # dA^T = s (g B^T)^T x and dB^T = s g^T (x A): no d x k gradient is ever formed.
        grad_a = (grad_rows @ lora_b.to(grad.dtype)).T @ rows
        grad_b = grad_rows.T @ (rows @ lora_a.to(x.dtype).T)
        stored = lora_a.dtype
        return (
            grad_x,
            None,
            None,
            grad_a.to(stored).mul_(ctx.scale),
            grad_b.to(stored).mul_(ctx.scale),
            None,
        )


class LoRALinear(nn.Module):
    """A frozen linear map with a trained low-rank update.

    `lora_A` is (rank, in), `lora_B` is (out, rank); the product is scaled by `scale`.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, dropout: float, start: str):
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.scale, self.dropout = scale, dropout
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        if start == "gaussian":
            nn.init.normal_(self.lora_A, std=1 / rank)
        else:
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def merged(self) -> Float[Tensor, "out in"]:
        """The one matrix that acts like the frozen map and its update together."""
        return _merge(self.weight, self.lora_A, self.lora_B, self.scale)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """`x (W + sAB) + b`; with dropout in training, `xW + b + s drop(x)AB`."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.dropout and self.training:
            dropped = functional.dropout(x, self.dropout)
            update = functional.linear(functional.linear(dropped, self.lora_A), self.lora_B)
            return functional.linear(x, self.weight, self.bias) + self.scale * update
        out: Tensor = _MergedLinear.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.lora_A, self.lora_B, self.scale
        )
        return out
