"""What the fast path costs in quality, against its peer and against its own slower choices.

Question: is a model trained here as good as the tuned libraries' (b, see `hf_trainer.py`)? What
does attention dropout buy, which makes a step half as long again? What is lost when only the top
layers are adapted, over a trunk that is computed once?

Command: `python -m experiments.benchmarks.quality --size full` for the kept record.

Cost: three seeds of six trainings on `embedded`; three quarters of an hour on two cores
(estimated). Learning rates are those that the thesis' study found on *select*; the top layers' own
is looked for there too, on the same grid and texts.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments import settings, thesis
from experiments.benchmarks import command, hf_trainer, timing
from experiments.benchmarks.command import rates
from experiments.benchmarks.hf_trainer import Tuning
from experiments.benchmarks.peers import DROPOUT, NAMES, experiments_of
from experiments.benchmarks.timing import Measurement, Row
from lowrank_da import train
from lowrank_da.corpus import ID, SELECT
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.prepared import prepare
from lowrank_da.run import Predictions
from lowrank_da.study import Checkout, trial_name
from lowrank_da.train import Cell

TOP = 2
"""Layers that are adapted where not all are."""
TUNED = Tuning("sdpa")
"""The attention decides how soon the peer is done, not what it learns."""


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    setting: Setting
    seeds: tuple[int, ...]


SIZES = {
    "tiny": Size(settings.tiny, (0, 1)),
    "small": Size(
        replace(settings.embedded, train_texts=100, epochs=1, select_texts=50, id_texts=100), (0,)
    ),
    "full": Size(settings.embedded, (0, 1, 2)),
}


def ours(
    name: str, experiment: Experiment, machine: Machine, here: Checkout, seeds: Sequence[int]
) -> list[Predictions]:
    """The answers on *id* of our training, a seed each.

    The records go to `runs/`, where a second call finds them.
    """
    cells = [Cell("benchmarks", "quality", name, experiment, seed) for seed in seeds]
    return [run.predictions[ID] for run in train.run(cells, here.runs, here.root, machine)]


def theirs(experiment: Experiment, machine: Machine, seeds: Sequence[int]) -> list[Predictions]:
    """The same of the tuned libraries' training; here too the epoch is chosen on *select*."""
    data, backbone = prepare(experiment.setting), experiment.setting.backbone
    texts = hf_trainer.texts_of(data, ID, experiment)
    answers = []
    for seed in seeds:
        done = hf_trainer.fit(experiment, data, machine, seed, TUNED, keep_best=True)
        said = hf_trainer.probabilities(done.model, texts, backbone, machine)
        answers.append(Predictions.of(data.splits[ID], data.splits.labels, said))
    return answers


def top_layers(lora: Experiment, machine: Machine, here: Checkout) -> Experiment:
    """LoRA in the top layers alone, at the rate that is best on *select*."""
    layers = min(TOP, lora.setting.backbone.layers - 1)
    method = replace(thesis.TUNED, top_layers=layers)
    trials = [replace(e, method=method) for e in thesis.trials(lora.setting)["lora"]]
    cells = [
        Cell("benchmarks", "quality", trial_name("lora_top", e.learning_rate), e, 0, True)
        for e in trials
    ]
    runs = train.run(cells, here.runs, here.root, machine)
    scores = [run.result["splits"][SELECT]["macro_f1"] for run in runs]
    best = trials[int(np.argmax(scores))]
    return replace(lora, method=method, learning_rate=best.learning_rate)


def measure(name: str, size: Size, machine: Machine) -> timing.Record:
    """The benchmark in one size."""
    here = Checkout.here()
    asked = experiments_of(size.setting, rates(here))
    classes = len(size.setting.corpus.labels)
    dropped = replace(asked["lora"], attention_dropout=DROPOUT)
    top = top_layers(asked["lora"], machine, here)
    answers = {m: ours(m, experiment, machine, here, size.seeds) for m, experiment in asked.items()}
    answers["lora_dropout"] = ours("lora_dropout", dropped, machine, here, size.seeds)
    answers["lora_top"] = ours("lora_top", top, machine, here, size.seeds)
    for method, experiment in asked.items():
        answers[f"{method}_library"] = theirs(experiment, machine, size.seeds)
    true, groups = answers["lora"][0].label, answers["lora"][0].group
    assert all(np.array_equal(p.label, true) for several in answers.values() for p in several)
    said = {
        arm: np.stack([p.probabilities.argmax(axis=1) for p in several])
        for arm, several in answers.items()
    }

    def row(what: str, first: str, second: str, target: str | None = None, note: str = "") -> Row:
        both = (said[first], said[second])
        return timing.points(what, true, *both, classes, groups, target=target, note=note)

    rows = [
        row(f"{NAMES[method]}, ours - (b)", method, f"{method}_library", "low > -2")
        for method in asked
    ]
    rows += [
        row(
            f"LoRA, without - with attention dropout {DROPOUT}",
            "lora",
            "lora_dropout",
            "low > -2",
            "one rate for both",
        ),
        row(
            f"LoRA, in the top {TOP} layers - in all",
            "lora_top",
            "lora",
            note=f"the top layers' own rate, {top.learning_rate:g}, is the best on select",
        ),
    ]
    scores: dict[str, list[Measurement]] = {
        arm: [{"macro_f1": f1} for f1 in timing.macro_f1(true, several, classes)]
        for arm, several in said.items()
    }
    data = prepare(size.setting)
    return timing.record(
        "quality", name, rows, scores, machine, here.root, fingerprint=data.splits.fingerprint
    )


if __name__ == "__main__":
    sys.exit(command.run("quality", "What the fast path costs in quality.", SIZES, measure))
