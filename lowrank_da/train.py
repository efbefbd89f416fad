"""The only training path: cells in, records out.

`run(cells)` trains each (experiment, seed), keeps the epoch with the best macro-F1 on *select*,
predicts every text of the other roles and saves the record. A cell whose record is there is not
trained again; one that was interrupted goes on from its resume file, to the same result.
"""

import logging
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import safetensors.torch
import torch

from lowrank_da import cost, metrics, provenance
from lowrank_da.batches import Batch, Batches
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import SELECT, TRAIN, Splits, splits
from lowrank_da.errors import UserError, unknown
from lowrank_da.experiment import Experiment, Setting, canonical
from lowrank_da.files import atomic
from lowrank_da.journal import Journal, Progress
from lowrank_da.run import Predictions, Run, finished, record_path, score

DEVICES = ("auto", "cpu", "cuda")
SEEDS = 2**31
"""Seeds are smaller than this."""


@dataclass(frozen=True)
class Cell:
    """One training: an experiment under one seed, and the name its record goes by."""

    study: str
    setting: str
    name: str
    experiment: Experiment
    seed: int
    select_only: bool = False
    """A trial: its record holds *select* and nothing that it could be tuned on by mistake."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"seed={self.seed}: seeds go from 0 to {SEEDS - 1}")


@dataclass(frozen=True)
class Machine:
    """Where and in which precision to train."""

    device: torch.device
    precision: str
    """`bf16-mixed` where the machine computes in bfloat16, else `32-true`."""

    @property
    def dtype(self) -> torch.dtype:
        """In which matrix products are computed."""
        return torch.bfloat16 if self.precision == "bf16-mixed" else torch.float32

    @property
    def name(self) -> str:
        """The card's name, or `cpu`."""
        return "cpu" if self.device.type == "cpu" else torch.cuda.get_device_name(self.device)


def machine(device: str = "auto", precision: str = "auto") -> Machine:
    """Choose a device (auto, cpu, cuda) and a precision (auto, bf16, fp32).

    Raises `UserError` for another word, and for cuda without a card.
    """
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UserError("--device cuda: no CUDA device is there; use --device cpu")
    chosen = "cuda" if there and device != "cpu" else "cpu"
    if precision not in ("auto", "bf16", "fp32"):
        raise unknown("precision", precision, ("auto", "bf16", "fp32"))
    if precision == "auto":
        if chosen == "cuda":
            has = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            has = bool(provenance.cpu_flags() & {"avx512_bf16", "amx_bf16"})
        precision = "bf16" if has else "fp32"
    return Machine(torch.device(chosen), {"bf16": "bf16-mixed", "fp32": "32-true"}[precision])


@dataclass(frozen=True, eq=False)
class Prepared:
    """A setting's texts, cut to its budget and tokenised once for all its cells."""

    splits: Splits
    ids: dict[str, list[list[int]]] = field(repr=False)

    def batches(self, role: str, experiment: Experiment) -> Batches:
        """The batches of a role's texts of the experiment's classes."""
        own = [i for i, e in enumerate(self.splits[role]) if e.label in experiment.classes]
        labels = [experiment.classes.index(self.splits[role][i].label) for i in own]
        ids = [self.ids[role][i] for i in own]
        return _batches(ids, labels, experiment)

    def all_texts(self, role: str, experiment: Experiment) -> Batches:
        """The batches of every text of a role, whatever its class; the class numbers are 0."""
        return _batches(self.ids[role], [0] * len(self.ids[role]), experiment)


def _batches(ids: list[list[int]], labels: list[int], experiment: Experiment) -> Batches:
    pad = experiment.setting.backbone.pad_token
    return Batches(ids, labels, budget=experiment.batch_tokens, pad=pad)


@cache
def prepare(setting: Setting) -> Prepared:
    """Load, cut and tokenise; `UserError` for whatever is wrong with corpus or tokenizer."""
    taken = splits(setting.corpus).take(setting.texts)
    ids = {
        role: setting.backbone.encode(
            [e.text for e in examples], [e.pair for e in examples], setting.max_tokens
        )
        for role, examples in taken.roles.items()
    }
    return Prepared(taken, ids)


class _Epochs:
    """Lightning's view of the training batches: each pass starts where the journal stands.

    The place is read with the first batch, for Lightning also makes iterators that it never uses.
    """

    def __init__(self, batches: Batches, seed: int, journal: Journal) -> None:
        self.batches, self.seed, self.journal = batches, seed, journal

    def __iter__(self) -> Iterator[Batch]:
        yield from self.batches.epoch(self.seed, self.journal.epoch, self.journal.batch)


class _Once:
    """Lightning's view of batches that are read in their fixed order."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self.batches.epoch()


def run(
    cells: Sequence[Cell],
    folder: Path,
    root: Path,
    machine: Machine,
    *,
    resume_seconds: float = 120.0,
) -> list[Run]:
    """Train every cell that has no record below `folder` yet; all records, in the cells' order.

    `root` is the checkout whose commit the records name. A resume file is written at least every
    `resume_seconds` of training and at every epoch's end.
    """
    return [
        _finished(cell, folder) or _train(cell, folder, root, machine, resume_seconds)
        for cell in cells
    ]


def _finished(cell: Cell, folder: Path) -> Run | None:
    path = record_path(folder, cell.study, cell.setting, cell.name, cell.seed)
    texts = prepare(cell.experiment.setting).splits
    return finished(path, cell.experiment.key, texts.fingerprint)


def resume_path(cell: Cell, folder: Path, machine: Machine) -> Path:
    """Where the cell's training is resumed from, on these texts and in this arithmetic only.

    On others it would not end as the unbroken training does.
    """
    texts = prepare(cell.experiment.setting).splits.fingerprint[:8]
    state = f".{cell.experiment.key}-{texts}-{machine.precision}.resume"
    record = record_path(folder, cell.study, cell.setting, cell.name, cell.seed)
    return record.with_suffix(state)


def _train(cell: Cell, folder: Path, root: Path, machine: Machine, every: float) -> Run:
    start = time.perf_counter()
    experiment = cell.experiment
    data = prepare(experiment.setting)
    made_by = provenance.made_by(
        root,
        fingerprint=data.splits.fingerprint,
        corpus_versions=experiment.setting.corpus.versions(),
        precision=machine.precision,
        device=machine.name,
        threads=torch.get_num_threads(),
    )
    batches = data.batches(TRAIN, experiment)
    epochs = experiment.setting.epochs
    steps = sum(len(batches.plan(cell.seed, epoch)) for epoch in range(epochs))
    classifier = Classifier(experiment, cell.seed, steps, _loss_weights(experiment, data.splits))
    classifier.fit_to(machine.device, machine.dtype)
    journal = Journal(resume_path(cell, folder, machine), every)
    journal.restore(classifier)
    trainer = _trainer(machine, journal, cell.name, steps, epochs)
    if journal.epoch < epochs:
        _fit(trainer, classifier, _Epochs(batches, cell.seed, journal), data, experiment)
    classifier.load_trained(journal.best, str(journal.path))
    predictions = {
        role: _predict(trainer, classifier, data, role, experiment)
        for role in ((SELECT,) if cell.select_only else data.splits.evaluated)
    }
    labels, corpus_labels = experiment.classes, data.splits.labels
    human = experiment.setting.corpus.human
    done = Run(
        cell.study,
        cell.setting,
        cell.name,
        cell.seed,
        experiment.key,
        canonical(experiment),
        labels,
        corpus_labels,
        result={
            "splits": {r: score(p, labels, corpus_labels, human) for r, p in predictions.items()},
            "parameters": parameters(classifier),
            "corpus": data.splits.summary(labels),
            "epoch": journal.best_epoch,
            "steps": steps,
            "curve": journal.curve,
        },
        measured=_measured(experiment, batches, journal, machine)
        | {"seconds": time.perf_counter() - start},
        made_by=made_by,
        predictions=predictions,
    )
    weights = record_path(folder, cell.study, cell.setting, cell.name, cell.seed)
    with atomic(weights.with_suffix(".safetensors")) as temporary:
        temporary.write_bytes(safetensors.torch.save(journal.best))
    done.save(folder)
    journal.discard()
    return done


def _loss_weights(experiment: Experiment, splits: Splits) -> list[float] | None:
    if not experiment.class_weights:
        return None
    counts = splits.counts(TRAIN)
    weights = metrics.class_weights({label: counts[label] for label in experiment.classes})
    return list(weights.values())


def _measured(
    experiment: Experiment, batches: Batches, journal: Journal, machine: Machine
) -> dict[str, float]:
    """What the clock and the meters say of the training, beside what it had to compute."""
    setting = experiment.setting
    lengths = [len(ids) for ids in batches.ids] * setting.epochs
    flops = cost.training_flops(setting.backbone, experiment.method, lengths)
    peak = peak_flops(machine)
    return {
        "train_seconds": journal.seconds,
        "train_tokens": journal.tokens,
        "tokens_per_second": journal.tokens / journal.seconds,
        "packing_efficiency": journal.tokens / journal.padded,
        "flops": flops,
        "peak_flops_per_second": peak,
        "share_of_limit": flops / journal.seconds / peak,
        "peak_memory_bytes": _peak_memory(machine),
    }


def _fit(
    trainer: pl.Trainer,
    classifier: Classifier,
    epochs: _Epochs,
    data: Prepared,
    experiment: Experiment,
) -> None:
    try:
        trainer.fit(classifier, epochs, _Once(data.batches(SELECT, experiment)))
    except SystemExit as error:
        # Lightning turns Ctrl-C into exit code 1; here it stays an interruption.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def _quiet() -> None:
    """Silence what Lightning tells everybody at every start; its errors stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning.utilities._pytree")


def _trainer(machine: Machine, journal: Journal, name: str, steps: int, epochs: int) -> pl.Trainer:
    _quiet()
    return pl.Trainer(
        accelerator="gpu" if machine.device.type == "cuda" else "cpu",
        devices=1,
        precision=machine.precision,  # type: ignore[arg-type]
        max_epochs=epochs - journal.epoch,
        gradient_clip_val=1.0,
        callbacks=[journal, Progress(journal, name, steps, epochs)],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _predict(
    trainer: pl.Trainer, classifier: Classifier, data: Prepared, role: str, experiment: Experiment
) -> Predictions:
    """Probabilities of every text of a role, also of those whose class the model never saw."""
    outputs = trainer.predict(classifier, _Once(data.all_texts(role, experiment)))
    index = torch.cat([i for i, _ in outputs]).numpy()  # type: ignore[union-attr]
    probabilities = torch.cat([p for _, p in outputs]).float().numpy()  # type: ignore[union-attr]
    ordered = np.empty_like(probabilities)
    ordered[index] = probabilities
    return Predictions.of(data.splits[role], data.splits.labels, ordered)


def parameters(classifier: Classifier) -> dict[str, int]:
    """Counted on the module: all that trains, the head, the method's own, the pretrained body."""
    body = classifier.experiment.setting.backbone.body_parameters
    return {
        "trained": sum(p.numel() for p in classifier.trained().values()),
        "head": sum(p.numel() for p in classifier.head.parameters()),
        "adapter": sum(p.numel() for p in classifier.encoder.parameters()) - body,
        "backbone": body,
    }


def _peak_memory(machine: Machine) -> int:
    """Bytes: on a card, of its memory; else the process' largest resident size so far."""
    if machine.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@cache
def peak_flops(machine: Machine) -> float:
    """Operations a second of a large matrix product, the best of a second's trials."""
    dtype = machine.dtype
    a = torch.randn(2048, 2048).to(machine.device, dtype)
    best, end = 0.0, time.perf_counter() + 1.0
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        if machine.device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * 2048**3 / (time.perf_counter() - start))
    return best
