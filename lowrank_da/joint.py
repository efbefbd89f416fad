"""Several classifiers trained in one process, step by step together, over one frozen encoder.

Their texts lie behind each other in one packed row. What is frozen is stored once and acts on the
whole row; a module that trains acts on each member's rows with that member's own weights. No
number of one member enters another's, so each ends as it does when it is trained alone.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lowrank_da import anatomy
from lowrank_da.batches import Batch, join
from lowrank_da.classifier import Classifier, clip
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.packing import sent


@dataclass(frozen=True, eq=False)
class JointBatch:
    """One step's batches of all members; None for one that has none left in this pass."""

    parts: tuple[Batch | None, ...]
    """Of them a device needs labels and packing alone."""
    whole: Batch
    """The parts behind each other."""

    @classmethod
    def of(cls, parts: Sequence[Batch | None]) -> "JointBatch":
        """Join the members' batches, at least one of which is there."""
        whole = join([part for part in parts if part is not None])
        return cls(tuple(p if p is None else replace(p, states=None) for p in parts), whole)

    def to(self, device: torch.device) -> "JointBatch":
        """The same on `device`."""
        parts = tuple(None if part is None else _judged(part, device) for part in self.parts)
        return JointBatch(parts, self.whole.to(device))


def _judged(part: Batch, device: torch.device) -> Batch:
    labels, packing = sent(part.labels, device), part.packing.to(device)
    return replace(part, labels=labels, packing=packing)


class _Rows:
    """How many rows of the present step belong to each member: tokens, or texts once pooled."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.texts: list[int] = []

    def read(self, batch: JointBatch) -> None:
        """Count the rows of this step."""
        self.tokens = [0 if part is None else part.real_tokens for part in batch.parts]
        self.texts = [0 if part is None else part.packing.texts for part in batch.parts]

    def split(self, rows: Tensor) -> list[Tensor]:
        """The members' parts of a row of tokens, or of texts."""
        tokens = rows.shape[0] == sum(self.tokens)
        return list(torch.split(rows, self.tokens if tokens else self.texts))


class _Each(nn.Module):
    """One place of the encoder at which every member has its own module."""

    def __init__(self, modules: Sequence[nn.Module], rows: _Rows) -> None:
        super().__init__()
        self.own = nn.ModuleList(modules)
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """Each member's rows through its own module."""
        parts = zip(self.own, self.rows.split(x), strict=True)
        return torch.cat([module(part) for module, part in parts if len(part)])


def _drops(module: nn.Module) -> bool:
    share = module.p if isinstance(module, nn.Dropout) else getattr(module, "dropout", 0.0)
    return isinstance(share, float) and share > 0


class Joint(pl.LightningModule):
    """Trains its members together; each keeps its own head, rates, and epochs."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        """Store what is frozen once for all members.

        Raises `UserError` when they differ in backbone or in what trains, train their embeddings
        or virtual tokens, or draw dropout masks: drawn together they would not be those of a member
        trained alone.
        """
        super().__init__()
        backbones = {member.experiment.setting.backbone for member in members}
        if len(backbones) != 1:
            names = ", ".join(sorted(b.name for b in backbones))
            raise UserError(f"one joint training has one backbone, not {names}; train them apart")
        (self.backbone,) = backbones
        if any(_drops(module) for member in members for module in member.modules()):
            raise UserError("a joint training draws no dropout; set it to 0 or train them apart")
        if any(member.experiment.method.virtual_tokens for member in members):
            raise UserError("a joint training has no virtual tokens; train them apart")
        if len({frozenset(member.trained()) for member in members}) != 1:
            raise UserError(
                "a joint training adapts the same maps in all members; train them apart"
            )
        embeddings = [anatomy.embeddings(member.encoder) for member in members]
        if any(p.requires_grad for part in embeddings for p in part.parameters()):
            raise UserError("a joint training shares the embeddings; train them apart")
        self.members = nn.ModuleList(members)
        self.rows = _Rows()
        self.encoder = copy.deepcopy(members[0].encoder)
        self._share()

    @property
    def classifiers(self) -> list[Classifier]:
        """The members, in the order of a batch's parts."""
        return [member for member in self.members if isinstance(member, Classifier)]

    def _share(self) -> None:
        """Put the members' own modules in place, and let all else be one storage."""
        encoders = [member.encoder for member in self.classifiers]
        for name, module in list(self.encoder.named_modules()):
            twins = [encoder.get_submodule(name) for encoder in encoders]
            own = [twin.parameters(recurse=False) for twin in twins]
            if any(p.requires_grad for parameters in own for p in parameters):
                parent, _, attribute = name.rpartition(".")
                setattr(self.encoder.get_submodule(parent), attribute, _Each(twins, self.rows))
            for part, parameter in module.named_parameters(recurse=False):
                for twin in twins:
                    if not getattr(twin, part).requires_grad:
                        # One object, so that it stays one wherever the module is moved.
                        setattr(twin, part, parameter)

    def forward(self, batch: JointBatch) -> list[Tensor | None]:
        """Each member's (texts, classes) logits; None for one without a batch."""
        self.rows.read(batch)
        states, _ = encode(self.encoder, self.backbone, batch.whole)
        logits: list[Tensor | None] = []
        for member, part, own in zip(
            self.classifiers, batch.parts, self.rows.split(states), strict=True
        ):
            if part is None:
                logits.append(None)
            else:
                pooled = len(own) == part.packing.texts
                logits.append(member.head(own, part.packing.singles() if pooled else part.packing))
        return logits

    def transfer_batch_to_device(
        self, batch: JointBatch, device: torch.device, dataloader_idx: int
    ) -> JointBatch:
        """Lightning's hook: batches are our own type."""
        return batch.to(device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One AdamW; each member has its own groups in it."""
        groups = [group for member in self.classifiers for group in member.groups()]
        return torch.optim.AdamW(groups, fused=True)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Each member by its own norm."""
        for member in self.classifiers:
            clip(member, gradient_clip_val)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set each member's learning rate from its own step."""
        groups = self.optimizers().optimizer.param_groups  # type: ignore[union-attr]
        ends = list(accumulate(len(member.groups()) for member in self.classifiers))
        for member, end in zip(self.classifiers, ends, strict=True):
            for group in groups[end - len(member.groups()) : end]:
                group["lr"] = member.learning_rate(member.step) * group["factor"]

    def training_step(self, batch: JointBatch, batch_idx: int) -> dict[str, Any]:
        """The members' losses, and their sum: its gradient holds each member's own."""
        pairs = zip(self.classifiers, self(batch), batch.parts, strict=True)
        losses = [
            None if part is None else member.loss(logits, part.labels)
            for member, logits, part in pairs
        ]
        total = torch.stack([loss for loss in losses if loss is not None]).sum()
        return {"loss": total, "losses": [None if x is None else x.detach() for x in losses]}

    def validation_step(self, batch: JointBatch, batch_idx: int) -> None:
        """Collect each member's macro-F1 on *select*."""
        for member, logits, part in zip(self.classifiers, self(batch), batch.parts, strict=True):
            if part is not None:
                member.select_f1.update(logits, part.labels)
