"""From tokenised texts to batches under a token budget.

A batch is packed (see `packing.py`): it holds no padding. Texts of like length share one, because
attention on a processor pads; every epoch is shuffled anew from (seed, epoch) alone, so that a
resumed run meets the batches of the unbroken one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowrank_da.packing import Packing, sent

BLUR = 0.05


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts of one role, packed in one row of tokens."""

    index: Tensor
    """(texts,) positions of the texts in their role."""
    tokens: Tensor
    """(tokens,) ids."""
    positions: Tensor
    """(tokens,) place of each token in its text, from 0."""
    packing: Packing
    labels: Tensor
    """(texts,) class numbers."""
    states: Tensor | None = None
    """What enters layer number `layers_done`, where that is known already.

    (tokens, width); above the last layer (texts, width), pooled.
    """
    layers_done: int = 0
    """Layers that need not be computed any more."""

    @property
    def real_tokens(self) -> int:
        """Tokens in the row."""
        return self.tokens.numel()

    @property
    def padded_tokens(self) -> int:
        """Cells of the rectangle that attention on a processor computes."""
        return self.packing.texts * self.packing.longest

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        parts = (self.index, self.tokens, self.positions, self.labels)
        index, tokens, positions, labels = (sent(part, device) for part in parts)
        states = None if self.states is None else sent(self.states, device)
        packing = self.packing.to(device)
        return Batch(index, tokens, positions, packing, labels, states, self.layers_done)


@dataclass(frozen=True, eq=False)
class Known:
    """What the lowest layers make of every token of some texts: computed once, see `trunk.py`.

    Of all layers only what is pooled is known: one row a text.
    """

    layers: int
    table: Tensor = field(repr=False)
    """(rows of all the texts, width), the texts behind each other in any order."""
    starts: tuple[int, ...] = field(repr=False)
    """(texts,) the first row of each text."""
    pooled: bool = False
    """Whether a text has one row, and not one a token."""
    computed: bool = True
    """Whether they were computed just now, not found."""

    def of(self, texts: Sequence[int]) -> "Known":
        """The same for some of the texts."""
        return replace(self, starts=tuple(self.starts[i] for i in texts))


def pack(
    texts: Sequence[Sequence[int] | NDArray[np.int64]],
    labels: Sequence[int] | None = None,
    index: Sequence[int] | None = None,
) -> Batch:
    """The batch of texts given as token ids.

    Class numbers are 0 where None, and the texts are numbered from 0.
    """
    lengths = [len(ids) for ids in texts]
    return Batch(
        torch.tensor(range(len(texts)) if index is None else list(index)),
        torch.from_numpy(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in texts])),
        torch.from_numpy(np.concatenate([np.arange(n, dtype=np.int64) for n in lengths])),
        Packing.of(lengths),
        torch.tensor([0] * len(texts) if labels is None else list(labels)),
    )


def join(batches: Sequence[Batch]) -> Batch:
    """Batches behind each other as one; all of them start above the same layer."""
    (layers_done,) = {batch.layers_done for batch in batches}
    states = [batch.states for batch in batches if batch.states is not None]
    return Batch(
        torch.cat([batch.index for batch in batches]),
        torch.cat([batch.tokens for batch in batches]),
        torch.cat([batch.positions for batch in batches]),
        Packing.of(torch.cat([batch.packing.lengths for batch in batches]).tolist()),
        torch.cat([batch.labels for batch in batches]),
        torch.cat(states) if states else None,
        layers_done,
    )


class Batches:
    """The batches of one role, in a fixed order or shuffled by epoch.

    `ids[i]` are the token ids of text i, `labels[i]` its class number. No batch holds more than
    `budget` tokens, padding for attention counted, but a single longer text is a batch of its own.
    """

    def __init__(
        self,
        ids: Sequence[Sequence[int]],
        labels: Sequence[int],
        *,
        budget: int,
        known: Known | None = None,
    ) -> None:
        """With `known`, batches bring what enters the layers above the known ones."""
        self.ids = [np.asarray(i, dtype=np.int64) for i in ids]
        self.labels = list(labels)
        self.lengths = np.array([len(i) for i in ids], dtype=np.int64)
        self.budget, self.known = budget, known

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
        made = pack([self.ids[i] for i in texts], [self.labels[i] for i in texts], texts)
        if self.known is None:
            return made
        starts, pooled = self.known.starts, self.known.pooled
        rows = [np.arange(starts[i], starts[i] + (1 if pooled else self.lengths[i])) for i in texts]
        chosen = torch.from_numpy(np.concatenate(rows)).to(self.known.table.device)
        states = self.known.table.index_select(0, chosen)
        return replace(made, states=states, layers_done=self.known.layers)

    def epoch(self, seed: int | None = None, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of one pass, from number `first` on."""
        for texts in self.plan(seed, epoch)[first:]:
            yield self.batch(texts)
