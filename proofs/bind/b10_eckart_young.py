"""C10 on RoBERTa: what rank r misses of each map's full fine-tuning update, cut or trained."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from lowrank_da import anatomy
from lowrank_da.classifier import Classifier
from lowrank_da.methods.full import Full
from proofs.bind.real import classifier, loss, step, texts
from proofs.binding import Binding, Reading, wrong
from proofs.c10_eckart_young import error

RANK, STEPS = 2, 8
CUT = "most that cutting misses of any map, over the tail"
FITTED = "least that an AB fitted by Adam misses of any map, over the tail"
NEAR = "most that it misses of any map, over the tail"


def maps(model: Classifier) -> list[Tensor]:
    """The weights of all linear maps, (in x out)."""
    found = (getattr(parent, name) for _, _, parent, name in anatomy.linear_maps(model.encoder))
    return [linear.weight.detach().T.clone() for linear in found]


def updates() -> list[Tensor]:
    """By AdamW on every weight."""
    model, batch = classifier(Full()), texts()
    before = maps(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        step(optimizer, loss(model, batch))
    return [after - start for after, start in zip(maps(model), before, strict=True)]


def squares(M: Tensor, X: Tensor) -> float:
    """`|M - X|^2`, by the claim's own function."""
    return float(error(M.flatten(), X.flatten()))


def fitted(M: Tensor, rank: int) -> Tensor:
    """AB, trained by Adam from a small random start to be near M."""
    A, B = (
        nn.Parameter(0.1 * torch.randn(n, m).double())
        for n, m in ((len(M), rank), (rank, M.shape[1]))
    )
    optimizer = torch.optim.Adam([A, B], lr=0.02)
    for _ in range(400):
        step(optimizer, (M - A @ B).square().sum())
    return (A @ B).detach()


def read(rank: int = RANK, kept: slice = slice(RANK)) -> Iterator[Reading]:
    """Every map's update, with `M = U S V'` by torch, cut to the kept terms; and fitted."""
    torch.manual_seed(4)
    cut, trained = [], []
    for M in updates():
        U, sigma, V = torch.linalg.svd(M, full_matrices=False)
        tail = float((sigma[RANK:] ** 2).sum())
        cut.append(squares(M, U[:, kept] * sigma[kept] @ V[kept]) / tail)
        trained.append(squares(M, fitted(M, rank)) / tail)
    yield Reading(CUT, float(np.max(cut)), "=", 1, 1e-9)
    yield Reading(FITTED, float(np.min(trained)), ">=", 1, 1e-9)
    yield Reading(NEAR, float(np.max(trained)), "<=", 1.01)


BINDING = Binding(
    id="C10",
    title="the updates of all maps of RoBERTa under full fine-tuning, at rank 2",
    read=read,
    twins={
        "rank r + 1": wrong(FITTED, rank=RANK + 1),
        "rank r - 1": wrong(NEAR, rank=RANK - 1),
        "the smaller singular values kept": wrong(CUT, kept=slice(1, RANK + 1)),
    },
)
