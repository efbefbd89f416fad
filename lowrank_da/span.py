"""LoRA factors that start in the span of the data.

Full fine-tuning changes a map only on the span of what enters it: where `x X^T = 0` for all
training inputs X, `xW` stays what it was. LoRA with a random A leaks there, for `A` is not in that
span. With `A = X^T N` and a random N it is, and weighs each direction as the inputs do.

Where the inputs span the whole width, as those of thousands of tokens do, nothing is off the span,
and the weighing is all that is left. To tell its two sides apart, A can be *rotated*: it keeps its
singular values, how unevenly it weighs, and gets directions that know nothing of the data.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lowrank_da.backbone import Backbone
from lowrank_da.batches import Batch
from lowrank_da.encode import encode
from lowrank_da.layers import LoRALinear

TOKENS = 8192
"""Of training texts, at least so many are looked at where there are as many."""


def start_in_span(
    encoder: nn.Module,
    backbone: Backbone,
    batches: Iterable[Batch],
    seed: int,
    rotated: bool = False,
) -> None:
    """Give every adapted map of `encoder` an A that is drawn from what enters it.

    Its norm is the one that a Kaiming-uniform start is expected to have. `rotated`: with the
    singular values of that A, and with directions drawn at random.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[LoRALinear, Tensor] = {}

    def draw(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, LoRALinear)
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
        noise = torch.randn(len(layer.lora_A), len(x), generator=generator)
        drawn[layer] = drawn.get(layer, torch.zeros(())) + noise @ x

    layers = [module for module in encoder.modules() if isinstance(module, LoRALinear)]
    hooks = [layer.register_forward_pre_hook(draw) for layer in layers]
    training, seen = encoder.training, 0
    encoder.eval()
    with torch.no_grad():
        for batch in batches:
            encode(encoder, backbone, batch)
            seen += batch.real_tokens
            if seen >= TOKENS:
                break
        for layer, a in drawn.items():
            if rotated:
                a = _rotated(a, generator)
            layer.lora_A.copy_(a * (len(a) / 3) ** 0.5 / a.norm())
    encoder.train(training)
    for hook in hooks:
        hook.remove()


def _rotated(a: Tensor, generator: torch.Generator) -> Tensor:
    """(rank, in) with a's singular values, and singular vectors drawn at random."""
    ranks = min(a.shape)
    left, right = (
        torch.linalg.qr(torch.randn(size, ranks, generator=generator))[0] for size in a.shape
    )
    turned: Tensor = (left * torch.linalg.svdvals(a)) @ right.T
    return turned
