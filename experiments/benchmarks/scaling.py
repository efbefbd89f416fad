"""How the cost of a LoRA step grows with texts, length, rank, adapted layers, and adapters.

Question: what does a step pay for, and where does it leave the line of its operations?

Command: `python -m experiments.benchmarks.scaling` (`--size full` for the kept record).

Cost: small about two minutes, full about five, on two cores (estimated). MiniLM's shape under
random weights. Each series changes one thing; a row is its last point over its first, beside the
same ratio of operations.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from experiments.benchmarks import command, timing
from experiments.benchmarks.step import ALL, Shape, experiment, random_ids, stepper, timed_step
from experiments.benchmarks.timing import Case, Measurement, Row
from lowrank_da import cost
from lowrank_da.backbone import MINILM, TINY, Backbone
from lowrank_da.batches import pack
from lowrank_da.classifier import Classifier
from lowrank_da.joint import Joint, JointBatch
from lowrank_da.machine import Machine
from lowrank_da.study import Checkout


@dataclass(frozen=True)
class Size:
    """The points of each series, and the rounds."""

    backbone: Backbone
    texts: tuple[int, ...]
    lengths: tuple[int, ...]
    ranks: tuple[int, ...]
    layers: tuple[int, ...]
    adapters: tuple[int, ...]
    tokens: int
    """In a step, where the number of texts is not what changes."""
    repeats: int


_RANDOM = replace(MINILM, random=True)
SIZES = {
    "tiny": Size(TINY, (1, 2), (8, 16), (1, 2), (1, 2), (1, 2), 64, 1),
    "small": Size(_RANDOM, (1, 4, 16), (32, 128, 512), (1, 8, 64), (1, 2, 6), (1, 3), 2048, 2),
    "full": Size(
        _RANDOM,
        (1, 2, 4, 8, 16, 32),
        (32, 64, 128, 256, 512),
        (1, 2, 4, 8, 16, 32, 64),
        (1, 2, 3, 4, 5, 6),
        (1, 2, 3, 4),
        2048,
        5,
    ),
}


def joint_stepper(shape: Shape, members: int, machine: Machine) -> Callable[[], Measurement]:
    """A joint step of so many adapters, each on texts of its own."""
    made = experiment(shape, ALL)
    classifiers = [Classifier(made, seed, steps=10**6) for seed in range(members)]
    for classifier in classifiers:
        classifier.fit_to(machine.dtype)
    model = Joint(classifiers).to(machine.device).train()
    labels = [i % len(made.classes) for i in range(shape.texts)]
    part = pack(random_ids(shape), labels)
    batch = JointBatch.of([part] * members).to(machine.device)
    lengths = [shape.tokens] * shape.texts * members
    flops = cost.training_flops(shape.backbone, ALL, lengths)
    flops += members * cost.merging_flops(shape.backbone, ALL)
    optimizer = model.configure_optimizers()
    loss: Callable[[], torch.Tensor] = lambda: model.training_step(batch, 0)["loss"]  # noqa: E731
    return timed_step(loss, classifiers, optimizer, machine, sum(lengths), flops)


def series(size: Size, machine: Machine) -> dict[str, dict[int, Callable[[], Measurement]]]:
    """The steps of each series by the number that changes."""
    backbone, tokens = size.backbone, size.tokens
    length = min(128, backbone.max_tokens, tokens)
    usual = Shape(backbone, tokens // length, length)
    one = partial(stepper, machine=machine)

    def layers(top: int, known: bool) -> Callable[[], Measurement]:
        method = replace(ALL, top_layers=top)
        return one(experiment(usual, method), usual, known=known and top < backbone.layers)

    shapes = {n: Shape(backbone, n, length) for n in size.texts}
    long = {n: Shape(backbone, max(1, tokens // n), n) for n in size.lengths}
    return {
        "texts": {n: one(experiment(shape, ALL), shape) for n, shape in shapes.items()},
        "length": {n: one(experiment(shape, ALL), shape) for n, shape in long.items()},
        "rank": {r: one(experiment(usual, replace(ALL, rank=r)), usual) for r in size.ranks},
        "layers": {k: layers(k, known=False) for k in size.layers},
        "layers over a trunk": {k: layers(k, known=True) for k in size.layers},
        "adapters": {m: joint_stepper(usual, m, machine) for m in size.adapters},
    }


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    every = series(size, machine)
    cases = [
        Case(f"{what}/{number}", step)
        for what, points in every.items()
        for number, step in points.items()
    ]
    measured = timing.interleaved(cases, size.repeats)
    rows: list[Row] = []
    for what, points in every.items():
        first, last = (measured[f"{what}/{n}"] for n in (min(points), max(points)))
        rows.append(
            timing.ratio(
                f"{what}: {max(points)} / {min(points)}",
                last,
                first,
                limit=timing.median(last, "flops") / timing.median(first, "flops"),
                note="seconds of a step: "
                + ", ".join(f"{timing.median(measured[f'{what}/{n}']):.3f} at {n}" for n in points),
            )
        )
    return timing.record("scaling", name, rows, measured, machine, Checkout.here().root)


if __name__ == "__main__":
    sys.exit(command.run("scaling", "What the cost of a LoRA step grows with.", SIZES, measure))
