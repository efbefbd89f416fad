"""An experiment as a value: what is trained, on what, how. Its key names it for ever.

The key is a hash of the canonical JSON, which leaves out every field at its default. So a default
never changes, and a field added later must have a default that means the old behaviour. Seeds
are not part of an experiment: they are named beside it.
"""

import hashlib
import json
from dataclasses import MISSING, dataclass, fields
from typing import Any

from lowrank_da.backbone import Backbone
from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus
from lowrank_da.errors import UserError
from lowrank_da.method import Method


def canonical(value: Any) -> Any:
    """`value` as JSON data: dataclasses by name and the fields that are not at their default."""
    if isinstance(value, Backbone):
        return value.name
    if hasattr(value, "__dataclass_fields__"):
        body: dict[str, Any] = {"is": getattr(value, "name", type(value).__name__.lower())}
        for field in fields(value):
            own = getattr(value, field.name)
            if field.type is float:
                own = float(own)  # 8 and 8.0 are equal, so they have one key
            if field.default is MISSING or own != field.default:
                body[field.name] = canonical(own)
        return body
    if isinstance(value, tuple):
        return [canonical(item) for item in value]
    return value


def key_of(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of the canonical JSON."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the comparison takes place: corpus, backbone and budget."""

    corpus: Corpus
    backbone: Backbone
    max_tokens: int
    """Texts are cut to this many tokens, special tokens counted."""
    epochs: int
    """Passes over the training texts; the best one on *select* is kept."""
    train_texts: int | None = None
    """Training texts a class; None takes all."""
    select_texts: int | None = None
    """Texts a class to choose on."""
    id_texts: int | None = None
    """Texts a class to report on."""

    def __post_init__(self) -> None:
        if not 8 <= self.max_tokens <= self.backbone.max_tokens:
            raise UserError(
                f"max_tokens={self.max_tokens}: {self.backbone.name} takes 8 to"
                f" {self.backbone.max_tokens} tokens"
            )
        if self.epochs < 1:
            raise UserError(f"epochs={self.epochs}: at least one pass is needed")

    @property
    def texts(self) -> dict[str, int | None]:
        """Texts a class by role, as `Splits.take` wants them."""
        return {TRAIN: self.train_texts, SELECT: self.select_texts, ID: self.id_texts}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One trained model, but for its seed."""

    setting: Setting
    method: Method
    learning_rate: float
    labels: tuple[str, ...] = ()
    """The classes to tell apart; empty means all of the corpus."""
    batch_tokens: int = 2048
    """Tokens in one optimizer step, at most, as if all its texts were padded to the longest.

    A single longer text is a batch of its own.
    """
    warmup: float = 0.06
    """Share of the steps over which the learning rate rises linearly; then it falls to zero."""
    weight_decay: float = 0.0
    hidden_dropout: float = 0.0
    """Dropout after embeddings and sublayers, and in the head."""
    attention_dropout: float = 0.0
    """Dropout on attention weights; above 0 a card leaves its variable-length kernel."""
    class_weights: bool = False
    """Weigh the loss by n / (K n_c)."""
    head_from: "Experiment | None" = None
    """Trained first under the same seed: its best head is where this one's starts (LP-FT)."""

    def __post_init__(self) -> None:
        corpus = self.setting.corpus
        for label in self.labels:
            if label not in corpus.labels:
                raise UserError(f"label {label!r} is not among {', '.join(corpus.labels)}")
        if len(self.classes) < 2:
            raise UserError(f"labels={self.labels}: at least two classes are needed")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"learning_rate={self.learning_rate} must be above 0")
        self.method.frozen_layers(self.setting.backbone)  # raises where the backbone is too low
        virtual, room = self.method.virtual_tokens, self.setting.backbone.max_tokens
        if self.setting.max_tokens + virtual > room:
            raise UserError(
                f"max_tokens={self.setting.max_tokens}: {self.method.name} takes up {virtual} more,"
                f" and {self.setting.backbone.name} takes {room}; cut to {room - virtual}"
            )
        before = self.head_from
        if before and (before.setting, before.classes) != (self.setting, self.classes):
            raise UserError("head_from is of another setting or other classes; its head cannot fit")
        if self.batch_tokens < 1:
            raise UserError(f"batch_tokens={self.batch_tokens} must be at least 1")
        for name in ("warmup", "hidden_dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} must be in [0, 1)")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes to tell apart, in the corpus' order."""
        every = self.setting.corpus.labels
        return tuple(c for c in every if c in self.labels) if self.labels else every

    @property
    def key(self) -> str:
        return key_of(self)
