"""Ours against transformers' `Trainer` and peft: the same texts, weights, rates and passes.

Question: how much sooner is a training done here than by the libraries as they come (a) and as fast
as they can be made (b, see `hf_trainer.py`)? Whether the model is as good is asked in `quality.py`.

Command: `python -m experiments.benchmarks.peers` (`--size full` for the kept record).

Cost: small minutes, full a quarter of an hour on two cores (estimated). Learning rates are those
that the thesis' study found on *select*.

What is timed is the training alone: ours by its journal, without judging a pass on *select*, and
theirs by `Trainer`'s own clock. `whole_seconds` adds what goes before and after: building the
model, and for ours also judging and predicting *select*.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments import settings, thesis
from experiments.benchmarks import command, hf_trainer, timing
from experiments.benchmarks.command import rates
from experiments.benchmarks.hf_trainer import Attention, Tuning
from experiments.benchmarks.timing import Case, Measurement, Measurements, Row
from lowrank_da import cost, train
from lowrank_da.corpus import TRAIN
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.prepared import prepare
from lowrank_da.study import Checkout
from lowrank_da.train import Cell

METHODS = ("lora", "full")
DROPOUT = 0.1
"""The libraries' default for BERT and RoBERTa, on hidden states and attention weights."""
NAMES = {"lora": "LoRA", "full": "full fine-tuning"}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    speed: Setting
    repeats: int
    defaults: tuple[str, ...] = METHODS
    """The methods for which the libraries' defaults are timed: by far the longest part."""


_SHORT = replace(settings.embedded, select_texts=8, id_texts=8, epochs=1)
SIZES = {
    "tiny": Size(settings.tiny, 1),
    "small": Size(replace(_SHORT, train_texts=32), 2, defaults=("lora",)),
    "full": Size(replace(_SHORT, train_texts=64), 3),
}


def experiments_of(setting: Setting, rate: dict[str, float]) -> dict[str, Experiment]:
    """The two trainings that are compared, as the thesis' study has them."""
    arms = thesis.arms(setting, rate)
    return {m: arm for m in METHODS if isinstance(arm := arms[m], Experiment)}


def ours(experiment: Experiment, machine: Machine, root: Path) -> Measurement:
    """One training by `train.run`, its record thrown away."""
    cell = Cell("benchmarks", "peers", "ours", experiment, seed=0, select_only=True)
    with TemporaryDirectory() as folder:
        (run,) = train.run([cell], Path(folder), root, machine, resume_seconds=float("inf"))
    seconds = {"seconds": "train_seconds", "whole_seconds": "seconds"}
    return {name: run.measured[own] for name, own in seconds.items()} | work(experiment)


def theirs(experiment: Experiment, machine: Machine, tuning: Tuning | None) -> Measurement:
    """One training by `Trainer`, its model thrown away."""
    data = prepare(experiment.setting)
    done = hf_trainer.fit(experiment, data, machine, tuning=tuning)
    return {"seconds": done.seconds, "whole_seconds": done.whole_seconds} | work(experiment)


def work(experiment: Experiment) -> Measurement:
    """The tokens of a training, and the operations that it must at least compute."""
    setting = experiment.setting
    ids = prepare(setting).batches(TRAIN, experiment).ids
    lengths = [len(text) for text in ids] * setting.epochs
    flops = cost.training_flops(setting.backbone, experiment.method, lengths)
    return {"tokens": sum(lengths), "flops": flops}


def faster_attention(experiment: Experiment, machine: Machine) -> Attention:
    """Which of transformers' attentions trains sooner here: one training each, after a warm-up."""
    cases = [
        Case(a, partial(theirs, experiment, machine, Tuning(a))) for a in hf_trainer.ATTENTIONS
    ]
    took = timing.interleaved(cases, 1)
    return min(hf_trainer.ATTENTIONS, key=lambda attention: timing.median(took[attention]))


def contestants(
    method: str, experiment: Experiment, machine: Machine, root: Path, tuning: Tuning, slow: bool
) -> list[Case]:
    """Ours without and with dropout, (b) the libraries tuned, and if `slow` (a) as they come."""
    dropped = replace(experiment, hidden_dropout=DROPOUT, attention_dropout=DROPOUT)
    cases = [
        Case(f"{method}/ours", partial(ours, experiment, machine, root)),
        Case(f"{method}/ours_dropout", partial(ours, dropped, machine, root)),
        Case(f"{method}/library_tuned", partial(theirs, experiment, machine, tuning)),
    ]
    if slow:
        cases.append(Case(f"{method}/library_defaults", partial(theirs, experiment, machine, None)))
    return cases


def speed_rows(method: str, measured: Measurements, peak: float, attention: Attention) -> list[Row]:
    """The ratios of one method; a limit is the ratio had ours run at the machine's peak."""
    own, dropped, tuned = (
        measured[f"{method}/{who}"] for who in ("ours", "ours_dropout", "library_tuned")
    )
    defaults = measured.get(f"{method}/library_defaults")
    name, lora = NAMES[method], method == "lora"
    least = timing.median(own, "flops") / peak
    shares = [f"{timing.share_of_limit(m, peak):.0%}" for m in (own, tuned)]
    rows = []
    if defaults:
        limit = timing.median(defaults) / least
        rows += [
            timing.ratio(
                f"{name}: (a) library defaults / ours",
                defaults,
                own,
                target=">= 8" if lora else None,
                limit=limit,
                note="ours without dropout, (a) with its own",
            ),
            timing.ratio(
                f"{name}: (a) library defaults / ours with dropout {DROPOUT}",
                defaults,
                dropped,
                limit=limit,
                note="the same dropout in both",
            ),
            timing.ratio(
                f"{name}: (a) library defaults / (b) library tuned",
                defaults,
                tuned,
                target=">= 3" if lora else None,
                note="below the target (b) is not tuned",
            ),
        ]
    rows.append(
        timing.ratio(
            f"{name}: (b) library tuned / ours",
            tuned,
            own,
            target=">= 1.4" if lora else None,
            limit=timing.median(tuned) / least,
            note=f"attention of (b): {attention}, the faster here; ours reaches {shares[0]} of the"
            f" peak, (b) {shares[1]}",
        )
    )
    return rows


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    here = Checkout.here()
    rate = rates(here)
    peak = machine.peak_flops()
    speed = experiments_of(size.speed, rate)
    tuning = {method: Tuning(faster_attention(e, machine)) for method, e in speed.items()}
    cases = [
        case
        for method, experiment in speed.items()
        for case in contestants(
            method, experiment, machine, here.root, tuning[method], method in size.defaults
        )
    ]
    measured = timing.interleaved(cases, size.repeats)
    rows = [
        row
        for method in speed
        for row in speed_rows(method, measured, peak, tuning[method].attention)
    ]
    data = prepare(size.speed)
    return timing.record(
        "peers", name, rows, measured, machine, here.root, fingerprint=data.splits.fingerprint
    )


if __name__ == "__main__":
    sys.exit(command.run("peers", "Ours against transformers' Trainer and peft.", SIZES, measure))
