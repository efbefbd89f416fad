"""Ours against transformers' `Trainer` and peft: the same texts, weights, rates and passes.

Question: how much sooner is a training done here than by the libraries as they come (a) and as fast
as they can be made (b, see `hf_trainer.py`), and is the model as good?

Command: `python -m experiments.benchmarks.peers` (`--size full` and `--size quality` for the kept
records).

Cost: small minutes, full a quarter of an hour, quality (three seeds of both) half an hour or more,
on two cores (estimated). Learning rates are those that the thesis' study found on *select*.

What is timed is the training alone: ours by its journal, without judging a pass on *select*, and
theirs by `Trainer`'s own clock. `whole_seconds` adds what goes before and after: building the
model, and for ours also judging and predicting *select*.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from experiments import settings, thesis
from experiments.benchmarks import command, hf_trainer, timing
from experiments.benchmarks.command import checkout, rates
from experiments.benchmarks.hf_trainer import Attention, Tuning
from experiments.benchmarks.timing import Case, Measurement, Measurements, Row
from lowrank_da import cost, metrics, train
from lowrank_da.corpus import ID, TRAIN
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.run import Predictions
from lowrank_da.study import Checkout
from lowrank_da.train import Cell, Machine

METHODS = ("lora", "full")
DROPOUT = 0.1
"""The libraries' default for BERT and RoBERTa, on hidden states and attention weights."""
NAMES = {"lora": "LoRA", "full": "full fine-tuning"}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    speed: Setting
    repeats: int
    """0: the speed is not measured."""
    quality: Setting | None = None
    """Where macro-F1 is compared; None: nowhere."""
    seeds: tuple[int, ...] = (0, 1, 2)
    defaults: tuple[str, ...] = METHODS
    """The methods for which the libraries' defaults are timed: by far the longest part."""


_SHORT = replace(settings.embedded, select_texts=8, id_texts=8, epochs=1)
SIZES = {
    "tiny": Size(settings.tiny, 1, settings.tiny, seeds=(0, 1)),
    "small": Size(replace(_SHORT, train_texts=32), 3, defaults=("lora",)),
    "full": Size(replace(_SHORT, train_texts=64), 3),
    "quality": Size(replace(_SHORT, train_texts=32), 0, settings.embedded),
}


def experiments_of(setting: Setting, rate: dict[str, float]) -> dict[str, Experiment]:
    """The two trainings that are compared, as the thesis' study has them."""
    arms = thesis.arms(setting, rate)
    return {m: arm for m in METHODS if isinstance(arm := arms[m], Experiment)}


# Speed


def ours(experiment: Experiment, machine: Machine, root: Path) -> Measurement:
    """One training by `train.run`, its record thrown away."""
    cell = Cell("benchmarks", "peers", "ours", experiment, seed=0, select_only=True)
    with TemporaryDirectory() as folder:
        (run,) = train.run([cell], Path(folder), root, machine, resume_seconds=float("inf"))
    seconds = {"seconds": "train_seconds", "whole_seconds": "seconds"}
    return {name: run.measured[own] for name, own in seconds.items()} | work(experiment)


def theirs(experiment: Experiment, machine: Machine, tuning: Tuning | None) -> Measurement:
    """One training by `Trainer`, its model thrown away."""
    data = train.prepare(experiment.setting)
    done = hf_trainer.fit(experiment, data, machine, tuning=tuning)
    return {"seconds": done.seconds, "whole_seconds": done.whole_seconds} | work(experiment)


def work(experiment: Experiment) -> Measurement:
    """The tokens of a training, and the operations that it must at least compute."""
    setting = experiment.setting
    ids = train.prepare(setting).batches(TRAIN, experiment).ids
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


# Quality


def compared(
    method: str,
    experiment: Experiment,
    machine: Machine,
    here: Checkout,
    seeds: Sequence[int],
    tuning: Tuning,
) -> tuple[Row, dict[str, list[Measurement]]]:
    """Macro-F1 on *id* of ours less that of (b), in points, with its 95 % interval over texts.

    Both are means over the seeds, and in both the epoch is chosen on *select*. Our records go to
    `runs/`, where a second call finds them.
    """
    cells = [Cell("benchmarks", "peers", method, experiment, seed) for seed in seeds]
    runs = train.run(cells, here.runs, here.root, machine)
    own = [run.predictions[ID] for run in runs]
    other = [_answers(experiment, machine, seed, tuning) for seed in seeds]
    true, classes = own[0].label, len(runs[0].labels)
    a, b = (np.stack([p.probabilities.argmax(axis=1) for p in several]) for several in (own, other))
    assert all(np.array_equal(p.uid, own[0].uid) for p in (*own, *other))
    test = metrics.paired_bootstrap(true, a, b, classes)
    scores = [
        [float(metrics.macro_f1(metrics.confusion_matrix(true, said, classes))) for said in several]
        for several in (a, b)
    ]
    row = Row(
        what=f"{NAMES[method]}: macro-F1 on id, ours - (b), points",
        target="low > -2",
        ratio=100 * test.difference,
        low=100 * float(test.interval.low),
        high=100 * float(test.interval.high),
        note=f"means over {len(seeds)} seeds, {len(true):,} texts; in brackets the 95 % bootstrap"
        " interval over texts",
        rounds=tuple(100 * (x - y) for x, y in zip(*scores, strict=True)),
    )
    return row, {
        f"{method}/quality/{who}": [{"macro_f1": f1} for f1 in several]
        for who, several in zip(("ours", "library_tuned"), scores, strict=True)
    }


def _answers(experiment: Experiment, machine: Machine, seed: int, tuning: Tuning) -> Predictions:
    data, backbone = train.prepare(experiment.setting), experiment.setting.backbone
    done = hf_trainer.fit(experiment, data, machine, seed, tuning, keep_best=True)
    texts = hf_trainer.texts_of(data, ID, experiment)
    said = hf_trainer.probabilities(done.model, texts, backbone, machine)
    return Predictions.of(data.splits[ID], data.splits.labels, said)


# All of it


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size: seconds, or the models' scores, or both."""
    here = checkout()
    rate = rates(here)
    peak = train.peak_flops(machine)
    speed = experiments_of(size.speed, rate)
    tuning = {method: Tuning(faster_attention(e, machine)) for method, e in speed.items()}
    cases = [
        case
        for method, experiment in speed.items()
        for case in contestants(
            method, experiment, machine, here.root, tuning[method], method in size.defaults
        )
    ]
    measured: dict[str, list[Measurement]] = {}
    rows: list[Row] = []
    if size.repeats:
        measured = timing.interleaved(cases, size.repeats)
        for method in speed:
            rows += speed_rows(method, measured, peak, tuning[method].attention)
    if size.quality is not None:
        for method, experiment in experiments_of(size.quality, rate).items():
            row, scores = compared(method, experiment, machine, here, size.seeds, tuning[method])
            rows.append(row)
            measured |= scores
    data = train.prepare(size.speed)
    return timing.record(
        "peers", name, rows, measured, machine, here.root, fingerprint=data.splits.fingerprint
    )


if __name__ == "__main__":
    sys.exit(command.run("peers", "Ours against transformers' Trainer and peft.", SIZES, measure))
