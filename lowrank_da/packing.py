"""Texts of different lengths behind each other in one row of tokens, without padding.

Everything in an encoder but attention acts on each token alone, so it never meets a padding token.
Attention looks within a text: on a card its kernel reads where the texts begin, elsewhere the row
is laid out as a rectangle (texts x longest) for attention alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`, without waiting for a card."""
    if device.type == "cuda" and not tensor.is_cuda:
        # Only from pinned memory does a card copy by itself.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True, eq=False)
class Packing:
    """Where each text of a packed row begins and ends."""

    offsets: Tensor
    """(texts + 1,) int32: text i holds the tokens `offsets[i]` to `offsets[i + 1]` of the row."""
    cells: Tensor | None
    """(tokens,) place of each token in the rectangle; None when the texts are equally long."""
    texts: int
    longest: int
    """Tokens of the longest text."""
    tokens: int
    """Of all texts together."""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Packing":
        """Texts of these lengths, each at least 1, in this order."""
        sizes = np.asarray(lengths, dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        longest, cells = int(sizes.max()), None
        if sizes.min() < longest:
            shift = np.arange(len(sizes)) * longest - ends[:-1]
            cells = torch.from_numpy(np.arange(ends[-1]) + np.repeat(shift, sizes))
        offsets = torch.from_numpy(ends.astype(np.int32))
        return cls(offsets, cells, len(sizes), longest, int(ends[-1]))

    def to(self, device: torch.device) -> "Packing":
        """The same on `device`."""
        cells = None if self.cells is None else sent(self.cells, device)
        return replace(self, offsets=sent(self.offsets, device), cells=cells)

    @property
    def lengths(self) -> Tensor:
        """(texts,) tokens of each text."""
        return self.offsets.diff()

    @property
    def first(self) -> Tensor:
        """(texts,) where each text's first token lies in the row."""
        return self.offsets[:-1]

    @property
    def last(self) -> Tensor:
        """(texts,) where each text's last token lies in the row."""
        return self.offsets[1:] - 1

    def singles(self) -> "Packing":
        """The packing of as many texts of one token each."""
        ends = torch.arange(self.texts + 1, dtype=torch.int32, device=self.offsets.device)
        return Packing(ends, None, self.texts, 1, self.texts)

    def positions(self) -> Tensor:
        """(tokens,) the place of each token in its text, from 0."""
        tokens = torch.arange(self.tokens, device=self.offsets.device)
        return tokens - self._of_each(self.first)

    def _of_each(self, by_text: Tensor) -> Tensor:
        """(tokens,) each text's number, once for each of its tokens."""
        return by_text.long().repeat_interleave(self.lengths, output_size=self.tokens)

    def around(self, left: int, right: int) -> "Around":
        """The texts with so many virtual tokens before and behind each."""
        device = self.offsets.device
        numbers = torch.arange(self.texts + 1, dtype=torch.int32, device=device)
        longer = Packing(
            self.offsets + numbers * (left + right),
            self.cells,
            self.texts,
            self.longest + left + right,
            self.tokens + self.texts * (left + right),
        )
        if self.cells is not None:
            cells = longer.positions() + longer._of_each(numbers[:-1]) * longer.longest
            longer = replace(longer, cells=cells)
        real = self.positions() + self._of_each(longer.first) + left
        before = longer.first.unsqueeze(1) + torch.arange(left, device=device)
        behind = longer.offsets[1:].unsqueeze(1) - right + torch.arange(right, device=device)
        return Around(longer, real, before.flatten(), behind.flatten())

    def rectangle(self, row: Float[Tensor, "tokens width"]) -> Float[Tensor, "texts longest width"]:
        """The row as a rectangle, filled up with zeros."""
        shape = (self.texts, self.longest, row.shape[-1])
        if self.cells is None:
            return row.view(shape)
        empty = row.new_zeros(self.texts * self.longest, row.shape[-1])
        return empty.index_copy(0, self.cells, row).view(shape)

    def row(self, rectangle: Float[Tensor, "texts longest width"]) -> Float[Tensor, "tokens width"]:
        """The real cells of a rectangle as a row: `row(rectangle(x))` is `x`."""
        flat = rectangle.reshape(self.texts * self.longest, rectangle.shape[-1])
        return flat if self.cells is None else flat.index_select(0, self.cells)

    def real(self) -> Tensor | None:
        """(texts, longest) true at real tokens; None when all are."""
        if self.cells is None:
            return None
        places = torch.arange(self.longest, device=self.offsets.device)
        return places < self.lengths.unsqueeze(1)


@dataclass(frozen=True, eq=False)
class Around:
    """Texts between virtual tokens, as `Packing.around` lays them out."""

    packing: Packing
    """Of all tokens, virtual ones among them."""
    real: Tensor
    """(real tokens,) where each real token lies in the longer row."""
    before: Tensor
    behind: Tensor
    """(texts * virtual tokens,) where the virtual ones lie, text after text."""

    def row(
        self,
        real: Float[Tensor, "tokens width"],
        left: Float[Tensor, "left width"],
        right: Float[Tensor, "right width"],
    ) -> Float[Tensor, "more width"]:
        """The longer row: every text of `real` between the same `left` and `right`."""
        texts = self.packing.texts
        empty = real.new_empty(self.packing.tokens, real.shape[-1])
        row = empty.index_copy(0, self.real, real)
        if len(left):
            row = row.index_copy(0, self.before, left.to(real.dtype).repeat(texts, 1))
        if len(right):
            row = row.index_copy(0, self.behind, right.to(real.dtype).repeat(texts, 1))
        return row
