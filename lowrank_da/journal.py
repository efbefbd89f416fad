"""What a training remembers: its best epoch, its curve, and a resume file; and what it shows.

The resume file is written by atomic rename and read with `weights_only=True`. Steps draw their
learning rate, dropout masks and batches from their number alone, so weights, optimizer and
position are the whole state: a training that was killed ends as the unbroken one does.
"""

import glob
import io
import pickle
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from multiprocessing import parent_process
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm

from lowrank_da.batches import Batch
from lowrank_da.classifier import Classifier
from lowrank_da.energy import Meter
from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from lowrank_da.joint import Joint, JointBatch

_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    zlib.error,
    BadZipFile,
)
"""What reading a damaged or foreign resume file raises."""


def _read(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote; it does not look at the checksums, so they are looked at here."""
    with ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise ValueError("its checksums are wrong")
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return saved


WRAP_SECONDS = 300.0
"""How long an energy counter may run before it is read."""


@dataclass
class Ledger:
    """What is remembered of one classifier."""

    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)
    """Its trained weights after the best pass."""
    best_epoch: int = 0
    best_f1: float = -1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    loss: float = 0.0
    """Summed over the `texts` of the present pass."""
    texts: int = 0
    tokens: int = 0
    padded: float = 0.0

    def judge(self, classifier: Classifier, epoch: int) -> None:
        """Close a pass by macro-F1 on *select*: keep the weights if none was better."""
        f1 = float(classifier.select_f1.compute())
        classifier.select_f1.reset()
        mean_loss = self.loss / max(1, self.texts)
        self.curve.append({"epoch": epoch, "loss": mean_loss, "select_macro_f1": f1})
        self.loss, self.texts = 0.0, 0
        if f1 > self.best_f1:
            self.best, self.best_epoch, self.best_f1 = classifier.trained_state(), epoch, f1


class Journal(pl.Callback):
    """Position of one training and the ledgers of its classifiers; saved every `every` seconds."""

    def __init__(self, path: Path, every: float, members: int = 1, meter: Meter | None = None):
        """`meter` runs while the clock of training does."""
        self.path, self.every = path, every
        self.meter = Meter([]) if meter is None else meter
        self.epoch, self.batch = 0, 0
        """Where the next batch stands: in which pass, at which place in it."""
        self.seconds = 0.0
        """Of training alone: judging a pass on *select* does not count."""
        self.ledgers = [Ledger() for _ in range(members)]
        self._since: float | None = None
        self._saved = 0.0
        self._optimizer: dict[str, Any] | None = None
        self._pending: list[tuple[Ledger, Tensor, int]] = []

    def restore(self, classifiers: Sequence[Classifier]) -> None:
        """Go on from the resume file, if there is one; `UserError` when it is damaged."""
        if not self.path.exists():
            return
        advice = "delete it to train this cell from the start"
        try:
            saved = _read(self.path)
            position = int(saved["epoch"]), int(saved["batch"]), float(saved["seconds"])
            joules = saved["joules"]
            names = [own.name for own in fields(Ledger)]
            ledgers = [Ledger(*(kept[name] for name in names)) for kept in saved["ledgers"]]
            trained, optimizer = list(saved["trained"]), dict(saved["optimizer"])
            pairs = list(zip(classifiers, ledgers, trained, strict=True))
        except _DAMAGE as error:
            cause = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
            raise UserError(f"{self.path}: damaged resume file ({cause}); {advice}") from error
        for classifier, ledger, state in pairs:
            classifier.load_trained(state, str(self.path))
            classifier.step = ledger.step
        self.epoch, self.batch, self.seconds = position
        self.ledgers, self._optimizer = ledgers, optimizer
        self.meter.joules = joules

    def save(self, trainer: pl.Trainer, classifiers: Sequence[Classifier]) -> None:
        """Write the resume file."""
        self._settle()
        self._stop_clock()
        state = {
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "joules": self.meter.joules,
            "ledgers": [vars(ledger) for ledger in self.ledgers],
            "trained": [classifier.trained_state() for classifier in classifiers],
            "optimizer": trainer.optimizers[0].state_dict(),
        }
        # By way of memory: torch itself reports a full disk as an error of another kind.
        content = io.BytesIO()
        torch.save(state, content)
        with atomic(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())
        self._saved = time.perf_counter()
        self._start_clock()

    def discard(self) -> None:
        """Delete the resume file, and what a kill left of writing it."""
        self.path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*"):
            left.unlink()

    def _start_clock(self) -> None:
        self._since = time.perf_counter()
        self.meter.start()

    def _stop_clock(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
            self._since = None
            self.meter.stop()

    def _settle(self) -> None:
        """Read the losses that are still on the device, all at once."""
        if not self._pending:
            return
        losses = torch.stack([loss for _, loss, _ in self._pending]).tolist()
        for (ledger, _, texts), loss in zip(self._pending, losses, strict=True):
            ledger.loss += loss * texts
            ledger.texts += texts
        self._pending.clear()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the optimizer its state back and start the clock."""
        if self._optimizer is not None:
            trainer.optimizers[0].load_state_dict(self._optimizer)
        self._saved = time.perf_counter()
        self._start_clock()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch | JointBatch,
        batch_idx: int,
    ) -> None:
        """Count the step; save now and then, but not before the pass has been judged."""
        assert isinstance(pl_module, Classifier | Joint)
        self.batch += 1
        parts = batch.parts if isinstance(batch, JointBatch) else (batch,)
        whole = batch.whole if isinstance(batch, JointBatch) else batch
        losses = outputs["losses"] if isinstance(batch, JointBatch) else (outputs["loss"],)
        steps = zip(pl_module.classifiers, self.ledgers, parts, losses, strict=True)
        for classifier, ledger, part, loss in steps:
            if part is not None:
                ledger.step += 1
                classifier.step = ledger.step
                self._pending.append((ledger, loss.detach(), part.packing.texts))
                ledger.tokens += part.real_tokens
                # A joint training's attention pads all members' texts to the longest of them.
                ledger.padded += part.real_tokens * whole.padded_tokens / whole.real_tokens
        if time.perf_counter() - (self._since or 0.0) > WRAP_SECONDS:
            self._stop_clock()
            self._start_clock()
        due = time.perf_counter() - self._saved >= self.every
        if due and not trainer.is_last_batch:
            self.save(trainer, pl_module.classifiers)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The pass is over: wait for the device, and stop the clock."""
        self._settle()
        self._stop_clock()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the pass."""
        assert isinstance(pl_module, Classifier | Joint)
        self.epoch, self.batch = self.epoch + 1, 0
        for classifier, ledger in zip(pl_module.classifiers, self.ledgers, strict=True):
            ledger.judge(classifier, self.epoch)
        if self.every < float("inf"):
            self.save(trainer, pl_module.classifiers)
        self._start_clock()


Watch = Callable[[int, float], None]
"""Told of a finished pass, counted from 1, and its macro-F1 on *select*."""


class Watcher(pl.Callback):
    """Tells somebody of every pass, those from before an interruption first."""

    def __init__(self, journal: Journal, watch: Watch) -> None:
        self.journal, self.watch, self.told = journal, watch, 0

    def _tell(self) -> None:
        (ledger,) = self.journal.ledgers
        for judged in ledger.curve[self.told :]:
            self.told += 1
            self.watch(int(judged["epoch"]), float(judged["select_macro_f1"]))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What is known already."""
        self._tell()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The pass that the journal has just judged."""
        self._tell()


class Progress(pl.Callback):
    """A bar with steps, epoch, tokens a second and time left; a line for each epoch and classifier.

    The line holds loss and macro-F1 on *select*; without a terminal it is all there is.
    """

    def __init__(self, journal: Journal, names: Sequence[str], steps: int, epochs: int) -> None:
        """`steps`: of all the classifiers, whose names are `names`, together."""
        self.journal, self.names, self.epochs = journal, names, epochs
        # Of several processes on one terminal none draws its bar over the others'.
        live = sys.stderr.isatty() and parent_process() is None
        title = ", ".join(names)
        self.bar = tqdm(total=steps, initial=self._steps(), desc=title, disable=not live)
        self.live = live

    def _steps(self) -> int:
        return sum(ledger.step for ledger in self.journal.ledgers)

    def _tokens(self) -> int:
        return sum(ledger.tokens for ledger in self.journal.ledgers)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count tokens from here."""
        self.start, self.tokens = time.perf_counter(), self._tokens()

    def _rate(self) -> str:
        seconds = time.perf_counter() - self.start
        return f"{(self._tokens() - self.tokens) / seconds:,.0f} tokens/s"

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        self.bar.update(self._steps() - self.bar.n)
        if self.live:
            self.bar.set_postfix_str(
                f"epoch {self.journal.epoch + 1}/{self.epochs}, {self._rate()}"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the epoch's outcome."""
        for name, ledger in zip(self.names, self.journal.ledgers, strict=True):
            last = ledger.curve[-1]
            line = (
                f"{name}: epoch {last['epoch']:.0f}/{self.epochs}, loss {last['loss']:.3f},"
                f" select macro-F1 {last['select_macro_f1']:.3f}, {self._rate()}"
            )
            if self.live:
                self.bar.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the terminal clean."""
        self.bar.close()
