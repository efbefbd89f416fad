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
    """`x (W + s A B) + b`, with gradients for all but `W`."""

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
            grad_rows.sum(dim=0, dtype=stored) if ctx.needs_input_grad[2] else None,
            grad_a.to(stored).mul_(ctx.scale),
            grad_b.to(stored).mul_(ctx.scale),
            None,
        )


class LoRALinear(nn.Module):
    """A frozen linear map with a trained low-rank update.

    `lora_A` is (rank, in), `lora_B` is (out, rank); the product is scaled by `scale`. With
    `decomposed` (DoRA, Liu et al. 2024, arXiv:2402.09353) the length of each output's column of the
    updated map is a parameter of its own, `magnitude` (out,).
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        scale: float,
        dropout: float,
        start: str,
        decomposed: bool = False,
    ):
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.scale, self.dropout = scale, dropout
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        if start == "gaussian":
            nn.init.normal_(self.lora_A, std=1 / rank)
        else:
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.magnitude: nn.Parameter | None = None
        if decomposed:
            self.magnitude = nn.Parameter(base.weight.detach().norm(dim=1))

    def merged(self) -> Float[Tensor, "out in"]:
        """The one matrix that acts like the frozen map and its update together."""
        merged = _merge(self.weight, self.lora_A, self.lora_B, self.scale)
        if self.magnitude is None:
            return merged
        # As in the paper (section 4.3) the length is a constant to the gradient.
        share: Tensor = self.magnitude / merged.detach().norm(dim=1)
        return share.unsqueeze(1) * merged

    def update_singular_values(self) -> list[float]:
        """Of `s A B`, falling: as many as the rank, or as the smaller side of the map.

        DoRA's lengths are left out: they scale what W and the update are together.
        """
        a, b = (factor.detach().double() for factor in (self.lora_A.T, self.lora_B))
        # The product's singular values are those of the small matrix between two orthonormal ones.
        between = torch.linalg.qr(a).R @ torch.linalg.qr(b).R.T
        return [self.scale * float(s) for s in torch.linalg.svdvals(between)]

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """`x (W + sAB) + b`; with dropout in training, `xW + b + s drop(x)AB`.

        With `decomposed`, each column of `W + sAB` is scaled to its trained length.
        """
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.dropout and self.training:
            dropped = functional.dropout(x, self.dropout)
            update = functional.linear(functional.linear(dropped, self.lora_A), self.lora_B)
            if self.magnitude is None:
                return functional.linear(x, self.weight, self.bias) + self.scale * update
            merged = _merge(self.weight, self.lora_A, self.lora_B, self.scale).detach()
            both = functional.linear(x, self.weight) + self.scale * update
            out: Tensor = self.magnitude / merged.norm(dim=1) * both
            return out if self.bias is None else out + self.bias
        if self.magnitude is not None:
            return functional.linear(x, self.merged(), self.bias)
        merged_out: Tensor = _MergedLinear.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.lora_A, self.lora_B, self.scale
        )
        return merged_out


class Adapted(nn.Module):
    """A frozen linear map with a trained bottleneck behind it (see `methods/adapter.py`)."""

    def __init__(self, base: nn.Module, width: int, bottleneck: int) -> None:
        """`width` numbers come out of `base`; `up` starts so small that nearly all of x passes."""
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        for linear in (self.down, self.up):
            nn.init.trunc_normal_(linear.weight, std=1e-2, a=-2e-2, b=2e-2)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch width"]:
        """`y + up(GELU(down(y)))` of the map's output y."""
        y = self.base(x)
        out: Tensor = y + self.up(functional.gelu(self.down(y)))
        return out
