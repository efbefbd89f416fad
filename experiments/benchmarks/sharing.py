"""What several trainings on one backbone save by sharing: a known trunk, or one joint training.

Question: the thesis found its three binary models slower than one 4-class model. What do they take
when the frozen layers below the adapters are computed once for all, or when they train together?

Command: `python -m experiments.benchmarks.sharing` (`--size full` for the kept record).

Cost: small about three minutes, full about ten, on two cores (estimated). Real texts of
`embedded`, the rate of the kept trials. Counted are the training and the pass that makes the trunk
of its texts, anew in every round; what is done on *select* is not.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments import settings, thesis
from experiments.benchmarks import command, timing
from experiments.benchmarks.command import rates
from experiments.benchmarks.timing import Case, Measurement, Row
from lowrank_da import train
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.prepared import prepare
from lowrank_da.study import Checkout
from lowrank_da.train import Cell

RANKS = (1, 2, 4, 5, 8, 16, 32, 64)
TOP = 2


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    setting: Setting
    repeats: int
    ranks: tuple[int, ...] = RANKS
    probed_texts: int | None = None
    """Training texts a class that linear probes are trained on; None: the setting's."""


_SHORT = replace(settings.embedded, select_texts=8, id_texts=8, epochs=3)
SIZES = {
    "tiny": Size(replace(settings.tiny, epochs=3), 1, ranks=(1, 2)),
    "small": Size(replace(_SHORT, train_texts=16), 1, probed_texts=100),
    "full": Size(replace(_SHORT, train_texts=32), 2, probed_texts=500),
}


def binaries(setting: Setting, rate: float, method: LoRA) -> list[Experiment]:
    """One machine class each, against human."""
    corpus = setting.corpus
    return [
        Experiment(setting=setting, method=method, learning_rate=rate, labels=(c, corpus.human))
        for c in thesis.binaries(setting).values()
    ]


def together(
    experiments: Sequence[Experiment], machine: Machine, root: Path, *, jointly: bool = False
) -> Measurement:
    """Train them all, from an empty trunk folder, and add up their seconds and operations."""
    cells = [
        Cell("benchmarks", "sharing", f"cell_{i}", experiment, seed=0, select_only=True)
        for i, experiment in enumerate(experiments)
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        runs = train.run(
            cells,
            folder,
            root,
            machine,
            resume_seconds=float("inf"),
            trunks=folder / "trunks",
            jointly=jointly,
        )
    parts = [run.measured for run in runs]
    return {
        "seconds": sum(p["train_seconds"] + p["trunk_seconds"] for p in parts),
        "tokens": sum(p["train_tokens"] for p in parts),
        "flops": sum(p["needed_flops"] + p["trunk_flops"] for p in parts),
    }


def probe(experiment: Experiment, machine: Machine, root: Path, *, again: bool) -> Measurement:
    """One linear probe from an empty trunk folder; `again`, another one after it on its features.

    `seconds` holds the pass that makes the features, and the training; `whole_seconds` also
    building and judging.
    """
    cells = [
        Cell("benchmarks", "sharing", f"probe_{seed}", experiment, seed, select_only=True)
        for seed in range(2 if again else 1)
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        runs = train.run(cells, folder, root, machine, trunks=folder / "trunks")
    own = runs[-1].measured
    return {"seconds": own["train_seconds"] + own["trunk_seconds"], "whole_seconds": own["seconds"]}


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    here = Checkout.here()
    setting, rate = size.setting, rates(here)["lora"]
    every = thesis.TUNED
    top = replace(every, top_layers=min(TOP, setting.backbone.layers - 1))
    of = partial(Experiment, setting=setting, learning_rate=rate)
    run: Callable[..., Measurement] = partial(together, machine=machine, root=here.root)
    groups = {
        "one 4-class LoRA": [of(method=every)],
        "three binaries": binaries(setting, rate, every),
        "three binaries, top 2": binaries(setting, rate, top),
        "ranks": [of(method=replace(every, rank=r)) for r in size.ranks],
        "ranks, top 2": [of(method=replace(top, rank=r)) for r in size.ranks],
    }
    cases = [Case(case, partial(run, several)) for case, several in groups.items()]
    cases.append(
        Case("three binaries jointly", partial(run, groups["three binaries"], jointly=True))
    )
    probed = replace(setting, train_texts=size.probed_texts or setting.train_texts)
    probing = Experiment(setting=probed, method=LinearProbe(), learning_rate=LinearProbe.rates[0])
    cases += [
        Case(case, partial(probe, probing, machine, here.root, again=again))
        for case, again in (("a first linear probe", False), ("a second one", True))
    ]
    # One round has no time for another one that is not counted.
    measured = timing.interleaved(cases, size.repeats, warm_up=size.repeats > 1)

    def row(what: str, over: str, under: str, target: str | None, note: str = "") -> Row:
        limit = timing.median(measured[over], "flops") / timing.median(measured[under], "flops")
        several = (measured[over], measured[under])
        return timing.ratio(what, *several, target=target, limit=limit, note=note)

    card = machine.device.type == "cuda"
    rows = [
        row(
            "three binaries jointly / in sequence",
            "three binaries jointly",
            "three binaries",
            "<= 0.85" if card else None,
            "frozen products are shared below the first adapter only: what is saved is launches"
            " and, on a processor, nothing",
        ),
        row(
            "three binaries, top 2 over a shared trunk / one 4-class LoRA in all layers",
            "three binaries, top 2",
            "one 4-class LoRA",
            "<= 0.65",
            "the trunk's pass counted; 3 epochs",
        ),
        row(
            f"{len(size.ranks)} ranks, top 2 over a trunk / in all layers",
            "ranks, top 2",
            "ranks",
            "<= 0.45",
            f"ranks {', '.join(map(str, size.ranks))}",
        ),
        timing.ratio(
            "a second linear probe on the same texts / the first",
            measured["a second one"],
            measured["a first linear probe"],
            target="<= 0.05",
            note="training, with the pass that makes the features; building the model, which both"
            " do, not counted",
        ),
    ]
    data = prepare(setting)
    return timing.record(
        "sharing",
        name,
        rows,
        measured,
        machine,
        here.root,
        fingerprint=data.splits.fingerprint,
    )


if __name__ == "__main__":
    sys.exit(command.run("sharing", "Trainings that share a trunk or a process.", SIZES, measure))
