"""One optimizer step: full fine-tuning against LoRA, ours and peft's, whole and over a trunk.

Question: how much of the 30 % that LoRA saves in arithmetic arrives on the clock, and what does
each choice (all maps or two, all layers or the top ones, dropout) cost?

Command: `python -m experiments.benchmarks.step` (`--size full` for DistilRoBERTa too).

Cost: small under two minutes, full about twelve, on two cores (estimated). Weights and tokens are
random: a step takes the same time on any. The limits are ratios of operations (see `cost.py`).
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import peft
import torch
from torch.profiler import ProfilerActivity, profile

from experiments import settings
from experiments.benchmarks import command, timing
from experiments.benchmarks.peers import DROPOUT
from experiments.benchmarks.timing import Case, Measurement, Row
from lowrank_da import cost, trunk
from lowrank_da.backbone import DISTILROBERTA, MINILM, TINY, Backbone
from lowrank_da.batches import Batches, Known
from lowrank_da.classifier import Classifier, clip
from lowrank_da.experiment import Experiment
from lowrank_da.machine import Machine
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.study import Checkout

ALL, TWO = LoRA(rank=8, alpha=16.0), LoRA(rank=8, alpha=16.0, targets=("query", "value"))
TOP = 2
PEFT_TARGETS = ["query", "key", "value", "output.dense", "intermediate.dense"]


@dataclass(frozen=True)
class Shape:
    """One backbone under random weights, and the texts of a step."""

    backbone: Backbone
    texts: int
    tokens: int
    """Of each text."""

    def __str__(self) -> str:
        return f"{self.backbone.name}, {self.texts} x {self.tokens} tokens"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    shapes: tuple[Shape, ...]
    repeats: int
    compiles: bool = False
    """Whether torch.compile is tried; on a processor it wants a C++ compiler."""


SIZES = {
    "tiny": Size((Shape(TINY, 4, 16),), 2),
    "small": Size((Shape(replace(MINILM, random=True), 16, 128),), 7),
    "full": Size(
        (
            Shape(replace(MINILM, random=True), 16, 128),
            Shape(replace(MINILM, random=True), 8, 512),
            Shape(replace(DISTILROBERTA, random=True), 4, 512),
        ),
        7,
        compiles=True,
    ),
}


def experiment(
    shape: Shape, method: Method, *, hidden_dropout: float = 0.0, attention_dropout: float = 0.0
) -> Experiment:
    """A training whose step has this shape; nothing of its corpus is read."""
    room = shape.backbone.max_tokens
    return Experiment(
        setting=replace(settings.embedded, backbone=shape.backbone, max_tokens=min(room, 512)),
        method=method,
        learning_rate=1e-4,
        batch_tokens=shape.texts * shape.tokens,
        hidden_dropout=hidden_dropout,
        attention_dropout=attention_dropout,
    )


def random_ids(shape: Shape) -> list[list[int]]:
    """The texts of a step, all of one length."""
    generator = np.random.default_rng(0)
    size = (shape.texts, shape.tokens)
    ids: list[list[int]] = generator.integers(4, shape.backbone.vocab, size).tolist()
    return ids


def stepper(
    made: Experiment,
    shape: Shape,
    machine: Machine,
    *,
    known: bool = False,
    with_peft: bool = False,
    compiled: bool = False,
) -> Callable[[], Measurement]:
    """A function that takes one step: batch, forward, backward, clipping, update.

    `known`: over the known states of its frozen layers. `with_peft`: peft's layers, not ours, on
    the same encoder. `compiled`: by torch.compile, for this one shape, in the first step. The
    counted operations are the least that the case needs.
    """
    ours = replace(made, method=Full()) if with_peft else made
    classifier = Classifier(ours, seed=0, steps=10**6)
    if with_peft:
        assert isinstance(made.method, LoRA)
        _peft_layers(classifier, made.method)
    classifier.fit_to(machine.dtype)
    ids = random_ids(shape)
    labels = [i % len(made.classes) for i in range(shape.texts)]
    found = _known(classifier, made, ids, machine) if known else None
    batches = Batches(ids, labels, budget=made.batch_tokens, known=found)
    classifier.to(machine.device).train()
    if compiled:
        classifier.forward = torch.compile(classifier.forward, dynamic=False)  # type: ignore[method-assign]
    lengths = [shape.tokens] * shape.texts
    flops = cost.training_flops(shape.backbone, made.method, lengths, known=known)
    if isinstance(made.method, LoRA) and not with_peft:
        flops += cost.merging_flops(shape.backbone, made.method)
    return timed_step(
        lambda: classifier.training_step(batches.batch(range(shape.texts)).to(machine.device), 0),
        [classifier],
        classifier.configure_optimizers(),
        machine,
        sum(lengths),
        flops,
    )


def timed_step(
    loss: Callable[[], torch.Tensor],
    classifiers: Sequence[Classifier],
    optimizer: torch.optim.Optimizer,
    machine: Machine,
    tokens: int,
    flops: int,
) -> Callable[[], Measurement]:
    """A function that takes one step down `loss`, waits for the device, and says how long it was.

    `flops`: the least that the step needs.
    """
    half = machine.dtype != torch.float32

    def step() -> Measurement:
        _wait(machine)
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(machine.device.type, machine.dtype, enabled=half):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        for classifier in classifiers:
            clip(classifier, 1.0)
        optimizer.step()
        _wait(machine)
        return {"seconds": time.perf_counter() - start, "tokens": tokens, "flops": flops}

    return step


def _known(classifier: Classifier, made: Experiment, ids: list[list[int]], to: Machine) -> Known:
    """The states above the method's frozen layers, mapped from a file that nobody else sees."""
    backbone = made.setting.backbone
    with TemporaryDirectory() as folder:
        return trunk.known(
            classifier.encoder.to(to.device),
            backbone,
            ids,
            made.method.frozen_layers(backbone),
            to.device,
            to.dtype,
            budget=made.batch_tokens,
            folder=Path(folder),
        )


def _peft_layers(classifier: Classifier, method: LoRA) -> None:
    """Put peft's layers in place of the six maps of every layer, and freeze the rest."""
    alpha = int(method.alpha)
    config = peft.LoraConfig(r=method.rank, lora_alpha=alpha, target_modules=PEFT_TARGETS)
    peft.inject_adapter_in_model(config, classifier.encoder)


def _wait(machine: Machine) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize()


def cases(shape: Shape, machine: Machine) -> dict[str, Callable[[], Measurement]]:
    """The steps that are compared, by name."""
    top = {method: replace(method, top_layers=TOP) for method in (ALL, TWO)}
    made = partial(experiment, shape)
    return {
        "full": stepper(made(Full()), shape, machine),
        "full, attention dropout": stepper(made(Full(), attention_dropout=DROPOUT), shape, machine),
        "LoRA": stepper(made(ALL), shape, machine),
        "LoRA, attention dropout": stepper(made(ALL, attention_dropout=DROPOUT), shape, machine),
        "LoRA, hidden dropout": stepper(made(ALL, hidden_dropout=DROPOUT), shape, machine),
        "peft's LoRA": stepper(made(ALL), shape, machine, with_peft=True),
        "LoRA on query, value": stepper(made(TWO), shape, machine),
        "LoRA, top 2": stepper(made(top[ALL]), shape, machine),
        "LoRA, top 2, known": stepper(made(top[ALL]), shape, machine, known=True),
    }


def compiled_row(
    shape: Shape, machine: Machine, repeats: int
) -> tuple[Row, dict[str, list[Measurement]]]:
    """A compiled LoRA step beside the usual one, and after how many steps compiling has paid."""
    made, names = experiment(shape, ALL), (f"{shape}/LoRA, compiled", f"{shape}/LoRA, again")
    # What an earlier process compiled would make the first step look cheap.
    torch.compiler.config.force_disable_caches = True
    fast = stepper(made, shape, machine, compiled=True)
    first = fast()
    cases = [Case(names[0], fast), Case(names[1], stepper(made, shape, machine))]
    measured = timing.interleaved(cases, repeats)
    seconds, usual = (timing.median(measured[name]) for name in names)
    pays = "it never pays"
    if seconds < usual:
        pays = f"it pays after {first['seconds'] / (usual - seconds):,.0f} steps of one shape"
    row = timing.ratio(
        f"{shape}: LoRA, compiled / LoRA",
        measured[names[0]],
        measured[names[1]],
        note=f"torch.compile takes {first['seconds']:.0f} s: {pays}, and packed rows have another"
        " shape in almost every step",
    )
    return row, measured | {f"{shape}/LoRA, compiling": [first]}


PARTS = {
    "the maps' products": ("aten::mm", "aten::addmm"),
    "attention's products": ("aten::bmm", "aten::baddbmm"),
}
"""By what they compute, PyTorch's matrix products on a processor."""


def part_rows(shape: Shape, machine: Machine, repeats: int) -> list[Row]:
    """Which share of a LoRA step on a processor goes into which products; in the profiler."""
    step = stepper(experiment(shape, ALL), shape, machine)
    step()
    shares: dict[str, list[float]] = {name: [] for name in (*PARTS, "all else")}
    for _ in range(repeats):
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            step()
        spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
        total = sum(spent.values())
        for name, operators in PARTS.items():
            shares[name].append(sum(spent.get(o, 0.0) for o in operators) / total)
        shares["all else"].append(1 - sum(shares[name][-1] for name in PARTS))
    return [
        timing.spread(
            f"{shape}: LoRA, {name} / step", several, note="of the time, in PyTorch's profiler"
        )
        for name, several in shares.items()
    ]


def rows(shape: Shape, measured: timing.Measurements) -> list[Row]:
    """Each case's seconds over those of full fine-tuning, beside the ratio of operations."""
    full = measured[f"{shape}/full"]

    def row(name: str, target: str | None = None, note: str = "") -> Row:
        own = measured[f"{shape}/{name}"]
        limit = timing.median(own, "flops") / timing.median(full, "flops")
        return timing.ratio(
            f"{shape}: {name} / full", own, full, target=target, limit=limit, note=note
        )

    lora = measured[f"{shape}/LoRA"]
    return [
        row("LoRA", "<= 0.75", "rank 8 on all six maps of all layers"),
        row("peft's LoRA", note="the same model, peft's layers in place of ours"),
        row("LoRA on query, value"),
        row("LoRA, top 2"),
        row("LoRA, top 2, known", note="the lower layers' states read, not computed"),
        row("full, attention dropout", note=f"share {DROPOUT}"),
        *(
            timing.ratio(
                f"{shape}: {name} / LoRA",
                measured[f"{shape}/{name}"],
                lora,
                note=f"share {DROPOUT}",
            )
            for name in ("LoRA, attention dropout", "LoRA, hidden dropout")
        ),
    ]


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    steps = [
        Case(f"{shape}/{case}", step)
        for shape in size.shapes
        for case, step in cases(shape, machine).items()
    ]
    measured = timing.interleaved(steps, size.repeats)
    table = [row for shape in size.shapes for row in rows(shape, measured)]
    if machine.device.type == "cpu":
        table += part_rows(size.shapes[0], machine, size.repeats)
    if size.compiles:
        row, more = compiled_row(size.shapes[0], machine, size.repeats)
        table.append(row)
        measured |= more
    return timing.record("step", name, table, measured, machine, Checkout.here().root)


if __name__ == "__main__":
    sys.exit(command.run("step", "One optimizer step, full against LoRA.", SIZES, measure))
