"""C15 on a classifier: where its weighted loss leads when texts of one input have many labels."""

from collections.abc import Iterator, Sequence

import torch
from sympy import Matrix

from lowrank_da.batches import pack
from lowrank_da.methods.linear_probe import LinearProbe
from proofs.bind.real import classifier, largest, minimise, tokens
from proofs.binding import Binding, Reading, wrong
from proofs.c15_weighted import attracted

COUNTS = ((3, 1, 2, 4), (1, 5, 1, 1))
"""Texts of each class, of two inputs."""
WEIGHTS = (1, 3, 2, 1)
WEIGHTED, PLAIN = "probabilities less w n / sum w n", "probabilities less n / sum n"


def read(used: Sequence[int] | None = WEIGHTS) -> Iterator[Reading]:
    """The head's last map at the least loss, which is the classifier's own, in float32."""
    weights = None if used is None else [float(w) for w in used]
    model = classifier(LinearProbe(), weights).float()
    inputs = tokens((7, 5))
    cells = [
        (row, c)
        for row, counts in enumerate(COUNTS)
        for c, n in enumerate(counts)
        for _ in range(n)
    ]
    batch = pack([inputs[row] for row, _ in cells], [c for _, c in cells])
    minimise(list(model.head.out_proj.parameters()), lambda: model.training_step(batch, 0))
    with torch.no_grad():
        got = model(pack(inputs)).softmax(dim=-1)

    def gap(weights: Sequence[int]) -> float:
        said = attracted(Matrix(COUNTS), Matrix(weights))
        return largest(got - torch.tensor(said.tolist(), dtype=got.dtype))

    yield Reading(WEIGHTED, gap(WEIGHTS), "=", 0, 1e-3)
    yield Reading(PLAIN, gap((1, 1, 1, 1)), ">", 0.1)


BINDING = Binding(
    id="C15",
    title="RoBERTa's classifier under its own class-weighted loss, at the minimum",
    read=read,
    twins={
        "no class weights": wrong(PLAIN, used=None),
        "weights of other classes": wrong(WEIGHTED, used=(3, 1, 1, 2)),
    },
)
