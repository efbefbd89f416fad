"""C11 on a classifier: what cutting its head's update costs in risk, predicted and measured.

The head's last map is trained to the minimum on the states that RoBERTa and the dense map give; a
constant beside the states stands for its bias. Each text has a law of classes of its own.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lowrank_da.methods.linear_probe import LinearProbe
from proofs.bind.real import CLASSES, classifier, entering, minimise, step, texts
from proofs.binding import Binding, Reading

TEXTS = 60


def states() -> tuple[Tensor, Tensor]:
    """(texts, d + 1) inputs of the last map with a 1 behind each, and its (d + 1, K) start."""
    model = classifier(LinearProbe())
    last = model.head.out_proj
    x = entering(model, last, texts([5 + i % 8 for i in range(TEXTS)]))
    start = torch.cat([last.weight.detach().T, last.bias.detach()[None]])
    return torch.cat([x, torch.ones(TEXTS, 1).double()], dim=1), start


def cut(x: Tensor, D: Tensor, rank: int) -> tuple[Tensor, float]:
    """`AB = N V V'` with N = DP, and the squared tail of `T N`, `T^2 = E x'x`."""
    N = D - D.mean(dim=1, keepdim=True)
    _, sigma, V = torch.linalg.svd(x / len(x) ** 0.5 @ N, full_matrices=False)  # |T N| = |x N|
    return N @ V[:rank].T @ V[:rank], float((sigma[rank:] ** 2).sum())


def read(stationary: bool = True, loss_weight: float = 1) -> Iterator[Reading]:
    """Each rank from 0 to K - 1."""
    x, W = states()
    law = torch.distributions.Dirichlet(torch.ones(CLASSES).double())
    torch.manual_seed(5)
    truth = law.sample((TEXTS,))

    def risk(head: Tensor) -> Tensor:
        return -loss_weight * (truth * (x @ head).log_softmax(dim=-1)).sum(dim=1).mean()

    best = nn.Parameter(W.clone())
    if stationary:
        minimise([best], lambda: risk(best))
    else:
        step(torch.optim.SGD([best], lr=1e-3), risk(best))
    slope = torch.autograd.grad(risk(best), best)[0].norm()
    at, D = risk(best).item(), best.detach() - W
    if stationary:
        yield Reading("gradient of the risk at the minimum", slope.item(), "=", 0, 1e-6)
    for rank in range(CLASSES - 1):
        AB, tail = cut(x, D, rank)
        yield Reading(f"excess risk at rank {rank}", risk(W + AB).item() - at, "<=", tail / 4, 1e-9)
    AB, _ = cut(x, D, CLASSES - 1)
    yield Reading(f"excess risk at rank {CLASSES - 1}", risk(W + AB).item() - at, "=", 0, 1e-9)


BINDING = Binding(
    id="C11",
    title="the last map of the head on RoBERTa's states, trained to the minimum and cut",
    read=read,
    twins={
        "one step of descent in place of the minimum": {"stationary": False},
        "a loss weight of 20": {"loss_weight": 20},
    },
)
