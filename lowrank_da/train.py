"""The only training path: cells in, records out.

`run(cells)` trains each (experiment, seed), keeps the epoch with the best macro-F1 on *select*,
predicts every text of the other roles and saves the record. A cell whose record is there is not
trained again; one that was interrupted goes on from its resume file, to the same result.
"""

import hashlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import safetensors.torch
import torch

from lowrank_da import attention, cost, metrics, provenance, trunk
from lowrank_da.batches import Batch, Batches, Known
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import SELECT, TRAIN, Splits
from lowrank_da.energy import Meter
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment, canonical
from lowrank_da.files import atomic
from lowrank_da.joint import Joint, JointBatch
from lowrank_da.journal import Journal, Ledger, Progress, Watch, Watcher
from lowrank_da.machine import Machine
from lowrank_da.prepared import prepare
from lowrank_da.run import HEAD, Predictions, Run, finished, record_path, score

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


def _steps(passes: Sequence[Iterator[Batch]]) -> Iterator[Batch | JointBatch]:
    """The steps of one pass: one member's batches as they are, several members' joined."""
    if len(passes) == 1:
        yield from passes[0]
    else:
        yield from (JointBatch.of(parts) for parts in zip_longest(*passes))


class _Epochs:
    """Lightning's view of the training batches: each pass starts where the journal stands.

    The place is read with the first batch, for Lightning also makes iterators that it never uses.
    """

    def __init__(self, members: Sequence["_Member"], journal: Journal) -> None:
        self.batches = [(m.data.batches(TRAIN, m.experiment, m.known(TRAIN))) for m in members]
        self.seeds = [member.cell.seed for member in members]
        self.journal = journal

    def __iter__(self) -> Iterator[Batch | JointBatch]:
        epoch, first = self.journal.epoch, self.journal.batch
        pairs = zip(self.batches, self.seeds, strict=True)
        yield from _steps([batches.epoch(seed, epoch, first) for batches, seed in pairs])


class _Once:
    """Lightning's view of batches that are read in their fixed order, one `Batches` a member."""

    def __init__(self, *batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch | JointBatch]:
        yield from _steps([batches.epoch() for batches in self.batches])


class _Member:
    """One cell of a training: its classifier, its batches and where they start from."""

    def __init__(
        self, cell: Cell, machine: Machine, cached_trunk: bool, trunks: Path | None
    ) -> None:
        self.cell, self.machine, self.trunks = cell, machine, trunks
        self.start = time.perf_counter()
        self.experiment = cell.experiment
        self.data = prepare(self.experiment.setting, cell.select_only)
        batches = self.data.batches(TRAIN, self.experiment)
        epochs = range(self.experiment.setting.epochs)
        self.steps = sum(len(batches.plan(cell.seed, epoch)) for epoch in epochs)
        weights = _loss_weights(self.experiment, self.data.splits)
        self.classifier = Classifier(self.experiment, cell.seed, self.steps, weights)
        backbone = self.experiment.setting.backbone
        method = self.experiment.method
        method.look(self.classifier.encoder, backbone, batches.epoch(cell.seed), cell.seed)
        self.classifier.fit_to(machine.dtype)
        # Dropout would make the frozen layers' states differ from step to step.
        still = not self.experiment.hidden_dropout and not self.experiment.attention_dropout
        frozen = method.frozen_layers(backbone)
        self.known_layers = frozen if cached_trunk and still else 0
        self.trunk_seconds, self.trunk_flops = 0.0, 0
        self.head_seconds = 0.0

    def start_at(self, head: Run, folder: Path) -> None:
        """Start from the head that was trained before; `UserError` when its weights are gone."""
        path = head.path(folder).with_suffix(".safetensors")
        if not path.is_file():
            raise UserError(f"{path} is missing; delete {head.path(folder)} to train it again")
        weights = safetensors.torch.load_file(path)
        own = {n.removeprefix("head."): w for n, w in weights.items() if n.startswith("head.")}
        self.classifier.head.load_state_dict(own)
        spent = (head.measured[part] for part in ("head_seconds", "trunk_seconds", "train_seconds"))
        self.head_seconds = float(sum(spent))

    def known(self, role: str) -> Known | None:
        """What the batches of a role that is read in every pass start from, if it is known."""
        if not self.known_layers:
            return None
        start = time.perf_counter()
        backbone, ids = self.experiment.setting.backbone, self.data.ids[role]
        found = trunk.known(
            self.classifier.encoder.to(self.machine.device),
            backbone,
            ids,
            self.known_layers,
            self.machine.device,
            self.machine.dtype,
            budget=self.experiment.batch_tokens,
            folder=self.trunks,
        )
        if role == TRAIN:
            self.trunk_seconds = time.perf_counter() - start
            if found.computed:
                lengths = map(len, ids)
                self.trunk_flops = cost.forward_flops(backbone, lengths, self.known_layers)
        return found

    def predict(self, trainer: pl.Trainer, role: str) -> Predictions:
        """Probabilities of every text of a role, also of those whose class it never saw."""
        # Of all layers, what is known is small enough to be kept for texts that are read once.
        every = self.known_layers == self.experiment.setting.backbone.layers
        known = self.known(role) if every else None
        texts = self.data.all_texts(role, self.experiment, known)
        outputs = trainer.predict(self.classifier, _Once(texts))
        index = torch.cat([i for i, _ in outputs]).numpy()  # type: ignore[union-attr]
        rows = torch.cat([p for _, p in outputs]).float().numpy()  # type: ignore[union-attr]
        ordered = np.empty_like(rows)
        ordered[index] = rows
        return Predictions.of(self.data.splits[role], self.data.splits.labels, ordered)


def run(
    cells: Sequence[Cell],
    folder: Path,
    root: Path,
    machine: Machine,
    *,
    resume_seconds: float = 120.0,
    cached_trunk: bool = True,
    trunks: Path | None = None,
    jointly: bool = False,
    watch: Watch | None = None,
) -> list[Run]:
    """Train every cell that has no record below `folder` yet; all records, in the cells' order.

    `root` is the checkout whose commit the records name. A resume file is written at least every
    `resume_seconds` of training and at every epoch's end. `cached_trunk`: compute frozen lower
    layers once, where a method has them (see `trunk.py`), and keep their states in `trunks`, by
    default a folder of the cache. `jointly`: train the cells together over
    one frozen encoder (see `joint.py`); `UserError` when they differ in setting or cannot be.
    `watch` is told of every cell's passes, and what it raises ends the training.
    """
    due = [cell for cell in cells if not _finished(cell, folder)]
    for group in [due] if jointly and due else [[cell] for cell in due]:
        heads = run(
            [_head_of(cell) for cell in group if cell.experiment.head_from],
            folder,
            root,
            machine,
            resume_seconds=resume_seconds,
            cached_trunk=cached_trunk,
            trunks=trunks,
        )
        members = [_Member(cell, machine, cached_trunk, trunks) for cell in group]
        started = [member for member in members if member.experiment.head_from]
        for member, head in zip(started, heads, strict=True):
            member.start_at(head, folder)
        with machine.at_work():
            _train(members, folder, root, machine, resume_seconds, watch)
    return [run for run in (_finished(cell, folder) for cell in cells) if run is not None]


def _head_of(cell: Cell) -> Cell:
    """The training whose head the cell starts from; it is judged on *select* alone."""
    before = cell.experiment.head_from
    assert before is not None
    name = cell.name + HEAD
    return Cell(cell.study, cell.setting, name, before, cell.seed, select_only=True)


def _finished(cell: Cell, folder: Path) -> Run | None:
    path = record_path(folder, cell.study, cell.setting, cell.name, cell.seed)
    texts = prepare(cell.experiment.setting, cell.select_only).splits
    return finished(path, cell.experiment.key, texts.fingerprint)


def resume_path(cells: Sequence[Cell], folder: Path, machine: Machine) -> Path:
    """Where the cells' training is resumed from, on these texts and in this arithmetic only.

    On others it would not end as the unbroken training does. It lies beside the first one's record.
    """
    first = cells[0]
    texts = prepare(first.experiment.setting, first.select_only).splits.fingerprint[:8]
    names = "-".join(f"{cell.experiment.key}-{cell.seed}" for cell in cells)
    key = first.experiment.key if len(cells) == 1 else hashlib.sha256(names.encode()).hexdigest()
    threads = f"-{machine.threads}" if machine.device.type == "cpu" else ""
    state = f".{key[:16]}-{texts}-{machine.precision}{threads}.resume"
    record = record_path(folder, first.study, first.setting, first.name, first.seed)
    return record.with_suffix(state)


def _train(
    members: Sequence["_Member"],
    folder: Path,
    root: Path,
    machine: Machine,
    every: float,
    watch: Watch | None,
) -> None:
    """Train the members as one training, and save their records."""
    cells = [member.cell for member in members]
    settings = {cell.experiment.setting for cell in cells}
    if len(settings) > 1:
        raise UserError(f"{', '.join(c.name for c in cells)} differ in setting; train them apart")
    (setting,) = settings
    made_by = provenance.made_by(
        root,
        fingerprint=members[0].data.splits.fingerprint,
        corpus_versions=setting.corpus.versions(),
        precision=machine.precision,
        device=machine.name,
        threads=machine.threads,
        workers=machine.workers,
    )
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)
    classifiers = [member.classifier for member in members]
    module = Joint(classifiers) if len(cells) > 1 else classifiers[0]
    meter = Meter(machine.energy_counters())
    journal = Journal(resume_path(cells, folder, machine), every, len(cells), meter)
    journal.restore(classifiers)
    steps = sum(member.steps for member in members)
    progress = Progress(journal, [cell.name for cell in cells], steps, setting.epochs)
    watcher = [] if watch is None else [Watcher(journal, watch)]
    trainer = _trainer(machine, [journal, progress, *watcher], setting.epochs - journal.epoch)
    if journal.epoch < setting.epochs:
        select = [m.data.batches(SELECT, m.experiment, m.known(SELECT)) for m in members]
        _fit(trainer, module, _Epochs(members, journal), _Once(*select))
    fitted = time.perf_counter() - members[0].start
    records = []
    for member, ledger in zip(members, journal.ledgers, strict=True):
        member.classifier.load_trained(ledger.best, str(journal.path))
        records.append(_record(member, ledger, journal, trainer, made_by, fitted))
    for run, ledger in zip(records, journal.ledgers, strict=True):
        with atomic(run.path(folder).with_suffix(".safetensors")) as temporary:
            temporary.write_bytes(safetensors.torch.save(ledger.best))
        run.save(folder)
    journal.discard()


def _record(
    member: _Member,
    ledger: Ledger,
    journal: Journal,
    trainer: pl.Trainer,
    made_by: dict[str, Any],
    fitted: float,
) -> Run:
    """Judge a trained classifier on every role; `fitted` seconds were spent on all of them."""
    start = time.perf_counter()
    cell, experiment, texts = member.cell, member.experiment, member.data.splits
    roles = (SELECT,) if cell.select_only else texts.evaluated
    predictions = {role: member.predict(trainer, role) for role in roles}
    labels, corpus_labels = experiment.classes, texts.labels
    return Run(
        cell.study,
        cell.setting,
        cell.name,
        cell.seed,
        experiment.key,
        canonical(experiment),
        labels,
        corpus_labels,
        result={
            "splits": {r: score(p, labels, corpus_labels) for r, p in predictions.items()},
            "parameters": parameters(member.classifier),
            "corpus": texts.summary(labels),
            "epoch": ledger.best_epoch,
            "steps": member.steps,
            "curve": ledger.curve,
        }
        | experiment.method.trained_facts(member.classifier.encoder),
        measured=_measured(member, ledger, journal)
        | {"seconds": fitted * _share(ledger, journal) + time.perf_counter() - start},
        made_by=made_by,
        predictions=predictions,
    )


def _loss_weights(experiment: Experiment, splits: Splits) -> list[float] | None:
    if not experiment.class_weights:
        return None
    counts = splits.counts(TRAIN)
    weights = metrics.class_weights({label: counts[label] for label in experiment.classes})
    return list(weights.values())


def _share(ledger: Ledger, journal: Journal) -> float:
    """A classifier's part of a training's tokens."""
    return ledger.tokens / sum(each.tokens for each in journal.ledgers)


def _measured(member: _Member, ledger: Ledger, journal: Journal) -> dict[str, float | None]:
    """What the clock and the meters say of the training, beside what it had to compute.

    Of a joint training's seconds and joules each member is given its share by tokens.
    `needed_flops` (see `cost.LEAST`) and `train_seconds` begin above the trunk; what its pass over
    the training texts took, and computed unless its states were found, is told apart.
    """
    experiment, machine = member.experiment, member.machine
    setting = experiment.setting
    batches = member.data.batches(TRAIN, experiment)
    lengths = [len(ids) for ids in batches.ids] * setting.epochs
    known = member.known_layers > 0
    flops = cost.training_flops(setting.backbone, experiment.method, lengths, known=known)
    peak = machine.peak_flops()
    padded = attention.pads(machine.device, machine.dtype, experiment.attention_dropout)
    share = _share(ledger, journal)
    seconds, joules = journal.seconds * share, journal.meter.joules
    return {
        "train_seconds": seconds,
        "train_tokens": ledger.tokens,
        "tokens_per_second": ledger.tokens / seconds,
        "packing_efficiency": ledger.tokens / ledger.padded if padded else 1.0,
        "needed_flops": flops,
        "peak_flops_per_second": peak,
        "share_of_peak": flops / seconds / peak,
        "peak_memory_bytes": machine.peak_memory(),
        "checkpoint_bytes": sum(weight.nbytes for weight in ledger.best.values()),
        # No meter tells apart the trainings that share a machine.
        "energy_joules": None if joules is None or machine.workers > 1 else joules * share,
        "trained_jointly": len(journal.ledgers),
        "trunk_seconds": member.trunk_seconds,
        "trunk_flops": member.trunk_flops,
        "head_seconds": member.head_seconds,
    }


def _fit(trainer: pl.Trainer, module: pl.LightningModule, epochs: _Epochs, select: _Once) -> None:
    try:
        trainer.fit(module, epochs, select)
    except SystemExit as error:
        # Lightning turns Ctrl-C into exit code 1; here it stays an interruption.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def _quiet() -> None:
    """Silence what Lightning tells everybody at every start; its errors stay."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning.utilities._pytree")


def _trainer(machine: Machine, callbacks: list[pl.Callback], epochs: int) -> pl.Trainer:
    _quiet()
    return pl.Trainer(
        accelerator="gpu" if machine.device.type == "cuda" else "cpu",
        devices=1,
        precision=machine.precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def parameters(classifier: Classifier) -> dict[str, int]:
    """Counted on the module: all that trains, the head, the method's own, the pretrained body."""
    body = classifier.experiment.setting.backbone.body_parameters
    return {
        "trained": sum(p.numel() for p in classifier.trained().values()),
        "head": sum(p.numel() for p in classifier.head.parameters()),
        "adapter": sum(p.numel() for p in classifier.encoder.parameters()) - body,
        "backbone": body,
    }
