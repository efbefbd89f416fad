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
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm

from lowrank_da.batches import Batch
from lowrank_da.classifier import Classifier
from lowrank_da.errors import UserError
from lowrank_da.files import atomic

KEPT = (
    *("epoch", "batch", "step", "best", "best_epoch", "best_f1", "curve", "loss"),
    *("texts", "seconds", "tokens", "padded"),
)
"""The attributes of a journal that the resume file holds."""
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


class Journal(pl.Callback):
    """Position, best epoch and curve of one training; saved every `every` seconds."""

    def __init__(self, path: Path, every: float) -> None:
        self.path, self.every = path, every
        self.epoch, self.batch, self.step = 0, 0, 0
        """Where the next batch stands: in which pass, at which place in it, and in all."""
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_f1 = 0, -1.0
        self.curve: list[dict[str, float]] = []
        self.loss, self.texts = 0.0, 0
        # Of training alone: judging a pass on *select* does not count.
        self.seconds, self.tokens, self.padded = 0.0, 0, 0
        self._since = self._saved = 0.0
        self._optimizer: dict[str, Any] | None = None
        self._pending: list[tuple[Tensor, int]] = []

    def restore(self, classifier: Classifier) -> None:
        """Go on from the resume file, if there is one; `UserError` when it is damaged."""
        if not self.path.exists():
            return
        advice = "delete it to train this cell from the start"
        try:
            saved = _read(self.path)
            kept = {name: saved[name] for name in KEPT}
            trained, optimizer = dict(saved["trained"]), dict(saved["optimizer"])
        except _DAMAGE as error:
            cause = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
            raise UserError(f"{self.path}: damaged resume file ({cause}); {advice}") from error
        classifier.load_trained(trained, str(self.path))
        self.__dict__.update(kept)
        self._optimizer = optimizer
        classifier.step = self.step

    def save(self, trainer: pl.Trainer, classifier: Classifier) -> None:
        """Write the resume file."""
        self._settle()
        self._stop_clock()
        state = {name: getattr(self, name) for name in KEPT}
        state["trained"] = classifier.trained_state()
        state["optimizer"] = trainer.optimizers[0].state_dict()
        # By way of memory: torch itself reports a full disk as an error of another kind.
        content = io.BytesIO()
        torch.save(state, content)
        with atomic(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())
        self._since = self._saved = time.perf_counter()

    def discard(self) -> None:
        """Delete the resume file, and what a kill left of writing it."""
        self.path.unlink(missing_ok=True)
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*"):
            left.unlink()

    def _stop_clock(self) -> None:
        """Add the time since the clock was started, and start it again."""
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now

    def _settle(self) -> None:
        """Read the losses that are still on the device, all at once."""
        for loss, texts in self._pending:
            self.loss += loss.item() * texts
            self.texts += texts
        self._pending.clear()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the optimizer its state back and start the clock."""
        if self._optimizer is not None:
            trainer.optimizers[0].load_state_dict(self._optimizer)
        self._since = self._saved = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the step; save now and then, but not before the pass has been judged."""
        assert isinstance(pl_module, Classifier)
        self.batch, self.step = self.batch + 1, self.step + 1
        pl_module.step = self.step
        self._pending.append((outputs["loss"].detach(), len(batch.index)))
        self.tokens += batch.real_tokens
        self.padded += batch.tokens.numel()
        due = time.perf_counter() - self._saved >= self.every
        if due and not trainer.is_last_batch:
            self.save(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The pass is over: wait for the device, and stop the clock."""
        self._settle()
        self._stop_clock()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the pass on *select*: keep its weights if none was better."""
        assert isinstance(pl_module, Classifier)
        self._since = time.perf_counter()
        f1 = float(pl_module.select_f1.compute())
        pl_module.select_f1.reset()
        self.epoch, self.batch = self.epoch + 1, 0
        mean_loss = self.loss / max(1, self.texts)
        self.curve.append({"epoch": self.epoch, "loss": mean_loss, "select_macro_f1": f1})
        self.loss, self.texts = 0.0, 0
        if f1 > self.best_f1:
            self.best, self.best_epoch, self.best_f1 = pl_module.trained_state(), self.epoch, f1
        if self.every < float("inf"):
            self.save(trainer, pl_module)


class Progress(pl.Callback):
    """A bar with steps, epoch, tokens a second and time left, and a line an epoch.

    The line holds loss and macro-F1 on *select*; without a terminal it is all there is.
    """

    def __init__(self, journal: Journal, name: str, steps: int, epochs: int) -> None:
        self.journal, self.name, self.epochs = journal, name, epochs
        live = sys.stderr.isatty()
        self.bar = tqdm(total=steps, initial=journal.step, desc=name, disable=not live)
        self.live = live

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count tokens from here."""
        self.start, self.tokens = time.perf_counter(), self.journal.tokens

    def _rate(self) -> str:
        seconds = time.perf_counter() - self.start
        return f"{(self.journal.tokens - self.tokens) / seconds:,.0f} tokens/s"

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Move the bar."""
        self.bar.update(1)
        if self.live:
            self.bar.set_postfix_str(
                f"epoch {self.journal.epoch + 1}/{self.epochs}, {self._rate()}"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the epoch's outcome."""
        last = self.journal.curve[-1]
        line = (
            f"{self.name}: epoch {last['epoch']:.0f}/{self.epochs}, loss {last['loss']:.3f},"
            f" select macro-F1 {last['select_macro_f1']:.3f}, {self._rate()}"
        )
        if self.live:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the terminal clean."""
        self.bar.close()
