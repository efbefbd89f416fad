"""From tokenised texts to batches under a token budget.

Texts of like length share a batch, so that little of it is padding; every epoch is shuffled anew
from (seed, epoch) alone, so that a resumed run meets the batches of the unbroken one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLUR = 0.05


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids of some texts of one role."""

    index: Tensor
    """(batch,) positions of the texts in their role."""
    tokens: Tensor
    """(batch, tokens) ids, shorter texts filled up with the pad id."""
    mask: Tensor | None
    """(batch, tokens) true at real tokens; None when nothing is padded."""
    labels: Tensor
    """(batch,) class numbers."""

    @property
    def real_tokens(self) -> int:
        """Tokens that are not padding."""
        return self.tokens.numel() if self.mask is None else int(self.mask.sum())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        mask = None if self.mask is None else self.mask.to(device, non_blocking=True)
        parts = (t.to(device, non_blocking=True) for t in (self.index, self.tokens, self.labels))
        index, tokens, labels = parts
        return Batch(index, tokens, mask, labels)


class Batches:
    """The batches of one role, in a fixed order or shuffled by epoch.

    `ids[i]` are the token ids of text i, `labels[i]` its class number. No batch holds more than
    `budget` padded tokens, but a single text longer than the budget is a batch of its own.
    """

    def __init__(
        self, ids: Sequence[Sequence[int]], labels: Sequence[int], *, budget: int, pad: int
    ) -> None:
        self.ids = [np.asarray(i, dtype=np.int64) for i in ids]
        self.labels = np.asarray(labels, dtype=np.int64)
        self.lengths = np.array([len(i) for i in ids], dtype=np.int64)
        self.budget, self.pad = budget, pad

    def plan(self, seed: int | None = None, epoch: int = 0) -> list[list[int]]:
        """Which texts share a batch: longest first, or shuffled by (seed, epoch).

        A shuffled pass sorts by lengths blurred by up to `BLUR`, so that a text meets new
        neighbours each time at little padding, and takes the batches in random order.
        """
        rng = None if seed is None else np.random.default_rng([seed, epoch])
        near = self.lengths * (1 if rng is None else rng.uniform(1 - BLUR, 1 + BLUR, len(self.ids)))
        groups: list[list[int]] = []
        longest = 0
        for i in np.argsort(-near, kind="stable").tolist():
            longest = max(longest, int(self.lengths[i]))
            if groups and (len(groups[-1]) + 1) * longest <= self.budget:
                groups[-1].append(i)
            else:
                groups.append([i])
                longest = int(self.lengths[i])
        if rng is not None:
            groups = [groups[i] for i in rng.permutation(len(groups))]
        return groups

    def batch(self, texts: Sequence[int]) -> Batch:
        """The batch of these texts."""
        longest = int(self.lengths[list(texts)].max())
        tokens = np.full((len(texts), longest), self.pad, dtype=np.int64)
        mask = np.zeros((len(texts), longest), dtype=bool)
        for row, i in enumerate(texts):
            tokens[row, : self.lengths[i]] = self.ids[i]
            mask[row, : self.lengths[i]] = True
        return Batch(
            torch.tensor(list(texts)),
            torch.from_numpy(tokens),
            None if mask.all() else torch.from_numpy(mask),
            torch.from_numpy(self.labels[list(texts)]),
        )

    def epoch(self, seed: int | None = None, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of one pass, from number `first` on."""
        for texts in self.plan(seed, epoch)[first:]:
            yield self.batch(texts)
