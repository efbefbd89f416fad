"""C11 on RoBERTa under full fine-tuning: what cutting its head's update costs, said and measured.

First the whole classifier is trained, and the update of its last map is cut: at every text the loss
moves by no more than the claim's third bound, which asks for no minimum. Then the last map is
brought to the minimum on the trained states, where the bound on the excess risk holds. A 1 beside
the states stands for the map's bias; for the risk each text has a law of classes of its own.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lowrank_da.methods.full import Full
from proofs.bind.real import CLASSES, classifier, entering, largest, loss, minimise, step, texts
from proofs.binding import Binding, Reading, wrong
from proofs.c11_risk import allowed

LENGTHS, STEPS = [5 + i % 8 for i in range(60)], 5
RANKS = range(CLASSES - 1)
AT_A_TEXT = "rank {}: most that a text's loss moves, over its bound"
EXCESS = "rank {}: excess risk over what is allowed"
EXACT = f"rank {CLASSES - 1}: excess risk"
CURVED = "excess risk near the minimum over half the Hessian's form"


def trained() -> tuple[Tensor, Tensor, Tensor]:
    """(texts, d + 1) states after full fine-tuning, the last map's start, and its update."""
    model, batch = classifier(Full()), texts(LENGTHS)
    last = model.head.out_proj

    def weights() -> Tensor:
        return torch.cat([last.weight.detach().T, last.bias.detach()[None]])

    start, rule = weights(), torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        step(rule, loss(model, batch))
    x = entering(model, last, batch)
    return torch.cat([x, torch.ones(len(x), 1).double()], dim=1), start, weights() - start


def at_a_text(x: Tensor, W: Tensor, D: Tensor, rank: int, lowest: bool) -> float:
    """How much of `sqrt 2 |x| sigma_{r+1}` a text's loss moves when D is cut, in any class."""
    U, sigma, V = torch.linalg.svd(D, full_matrices=False)
    kept = slice(-rank, None) if lowest and rank else slice(rank)
    cut = U[:, kept] * sigma[kept] @ V[kept]
    losses = [-(x @ (W + change)).log_softmax(dim=-1) for change in (cut, D)]
    return largest((losses[0] - losses[1]) / (2**0.5 * x.norm(dim=1, keepdim=True) * sigma[rank]))


def cut_by_risk(x: Tensor, D: Tensor, rank: int) -> tuple[Tensor, float]:
    """`AB = N V V'` with N = DP, and the squared tail of `T N`, `T^2 = E x'x`."""
    N = D - D.mean(dim=1, keepdim=True)
    _, sigma, V = torch.linalg.svd(x / len(x) ** 0.5 @ N, full_matrices=False)  # |T N| = |x N|
    return N @ V[:rank].T @ V[:rank], float((sigma[rank:] ** 2).sum())


def curvature(x: Tensor, best: Tensor, m: Tensor) -> float:
    """`E (xm) H (xm)'`, H = diag(p) - p'p."""
    p, z = (x @ best).softmax(dim=-1), x @ m
    return float(((p * z**2).sum(dim=1) - (p * z).sum(dim=1) ** 2).mean())


def at_minimum(x: Tensor, W: Tensor, risk: Callable[[Tensor], Tensor], stationary: bool) -> Tensor:
    """The last map at the risk's minimum, or one short step of descent from its start."""
    best = nn.Parameter(W.clone())
    if stationary:
        minimise([best], lambda: risk(best))
    else:
        step(torch.optim.SGD([best], lr=1e-3), risk(best))
    return best.detach()


def read(
    stationary: bool = True, loss_weight: float = 1, lowest: bool = False, last: int = CLASSES - 1
) -> Iterator[Reading]:
    """Each rank from 0 to K - 1."""
    x, W, D = trained()
    for rank in RANKS:
        yield Reading(AT_A_TEXT.format(rank), at_a_text(x, W, D, rank, lowest), "<=", 1)
    torch.manual_seed(5)
    truth = torch.distributions.Dirichlet(torch.ones(CLASSES).double()).sample((len(x),))

    def risk(head: Tensor) -> Tensor:
        return -loss_weight * (truth * (x @ head).log_softmax(dim=-1)).sum(dim=1).mean()

    best = at_minimum(x, W, risk, stationary)
    at = risk(best).item()
    for rank in RANKS:
        AB, tail = cut_by_risk(x, best - W, rank)
        excess = risk(W + AB).item() - at
        yield Reading(EXCESS.format(rank), excess / allowed(tail), "<=", 1)
    AB, _ = cut_by_risk(x, best - W, last)
    yield Reading(EXACT, risk(W + AB).item() - at, "=", 0, 1e-9)
    m = 1e-3 * (W - best)
    form = (risk(best + m).item() - at) / (curvature(x, best, m) / 2)
    yield Reading(CURVED, form, "=", 1, 0.01)


BINDING = Binding(
    id="C11",
    title="RoBERTa under full fine-tuning: the update of its head's last map, cut",
    read=read,
    twins={
        "one step of descent in place of the minimum": wrong(EXCESS.format(1), stationary=False),
        "the same, seen in the curvature": wrong(CURVED, stationary=False),
        "a loss weight of 20": wrong(EXCESS.format(0), loss_weight=20),
        "the smallest singular values kept": wrong(AT_A_TEXT.format(2), lowest=True),
        "rank K - 2": wrong(EXACT, last=CLASSES - 2),
    },
)
