"""The Lightning module: an encoder changed by a method, and a head, trained as one experiment."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassF1Score

from lowrank_da.batches import Batch
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.head import Head


class Classifier(pl.LightningModule):
    """Token ids to class logits, trained with AdamW under a linear schedule.

    It seeds itself before anything is built, so two builds under one seed are equal.
    """

    def __init__(
        self,
        experiment: Experiment,
        seed: int,
        steps: int,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """`steps`: optimizer steps of the whole run; `class_weights`: (classes,) or None."""
        super().__init__()
        torch.manual_seed(seed)
        self.experiment, self.seed, self.steps = experiment, seed, steps
        backbone = experiment.setting.backbone
        self.encoder: nn.Module = backbone.load(
            experiment.hidden_dropout, experiment.attention_dropout
        )
        experiment.method.attach(self.encoder, backbone)
        classes = len(experiment.classes)
        self.head = Head(backbone.width, classes, backbone.pooling, experiment.hidden_dropout)
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", weights, persistent=False)
        self.select_f1 = MulticlassF1Score(classes, average="macro")
        self.step = 0

    def forward(self, batch: Batch) -> Tensor:
        """(texts, classes) logits."""
        states, packing = encode(self.encoder, self.experiment.setting.backbone, batch)
        logits: Tensor = self.head(states, packing)
        return logits

    def fit_to(self, dtype: torch.dtype) -> None:
        """Round what is frozen to `dtype` once.

        A layer that trains any of its own parameters keeps the precision of all: an update is
        added to unrounded weights (see `LoRALinear`), and a norm's two vectors are of one type.
        """
        for module in self.modules():
            own = list(module.parameters(recurse=False))
            if not any(parameter.requires_grad for parameter in own):
                for parameter in own:
                    parameter.data = parameter.data.to(dtype)

    @property
    def classifiers(self) -> list["Classifier"]:
        """What this module trains: itself; a joint training has several."""
        return [self]

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name: the method's and the head's."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    @cached_property
    def clipped(self) -> list[nn.Parameter]:
        """All that trains, looked for once: the walk takes longer than a probe's whole step."""
        return list(self.trained().values())

    def trained_state(self) -> dict[str, Tensor]:
        """A copy of the trained weights on the CPU: all that a checkpoint needs to keep."""
        return {name: p.detach().cpu().clone() for name, p in self.trained().items()}

    def load_trained(self, state: dict[str, Tensor], where: str) -> None:
        """Put trained weights back; `UserError` when they are of another model."""
        own = self.trained()
        shapes = {name: tuple(p.shape) for name, p in own.items()}
        if shapes != {name: tuple(w.shape) for name, w in state.items()}:
            raise UserError(f"{where} holds the weights of another experiment; delete it")
        with torch.no_grad():
            for name, weight in state.items():
                own[name].copy_(weight)

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Lightning's hook: batches are our own type."""
        return batch.to(device)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up over `warmup` of the steps, then linear decay to zero."""
        warm = max(1, round(self.experiment.warmup * self.steps))
        share = (step + 1) / warm if step < warm else (self.steps - step) / (self.steps - warm + 1)
        return self.experiment.learning_rate * share

    def groups(self) -> list[dict[str, Any]]:
        """The trained parameters for the optimizer; biases and norms are not decayed.

        A group's `factor` is what its learning rate is multiplied by.
        """
        method, decay = self.experiment.method, self.experiment.weight_decay
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.trained().items():
            kind = (decay if parameter.ndim > 1 else 0.0, method.rate_factor(name))
            groups.setdefault(kind, []).append(parameter)
        return [
            {
                "params": parameters,
                "weight_decay": weight_decay,
                "factor": factor,
                "lr": self.experiment.learning_rate * factor,
            }
            for (weight_decay, factor), parameters in groups.items()
        ]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the trained parameters."""
        return torch.optim.AdamW(self.groups(), fused=True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the total norm; Lightning itself refuses to beside a fused optimizer."""
        clip(self, gradient_clip_val)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set this step's learning rate and generators from its number alone.

        A resumed run therefore draws the dropout masks of the unbroken one.
        """
        seed_step(self.seed * 1_000_003 + self.step, self.device)
        for group in self.optimizers().optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = self.learning_rate(self.step) * group["factor"]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of (texts, classes) logits, weighted by class if asked."""
        return functional.cross_entropy(logits.float(), labels, weight=self.class_weights)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The batch's loss."""
        return self.loss(self(batch), batch.labels)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect macro-F1 on *select*."""
        self.select_f1.update(self(batch), batch.labels)

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """(texts,) positions in the role, (texts, classes) probabilities."""
        logits = self(batch).float()
        return batch.index, logits.softmax(dim=-1)


def clip(classifier: Classifier, norm: float | None) -> None:
    """Scale the gradients of all that trains so that their total norm is at most `norm`."""
    nn.utils.clip_grad_norm_(classifier.clipped, norm or float("inf"))


def seed_step(seed: int, device: torch.device) -> None:
    """What `torch.manual_seed` does, for the generators that a step on `device` draws from.

    That one notes a traceback for every accelerator there might be.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
