"""Texts of different lengths behind each other in one row of tokens, without padding.

Everything in an encoder but attention acts on each token alone, so it never meets a padding token.
Attention looks within a text: on a card its kernel reads where the texts begin, elsewhere the row
is laid out as a rectangle (texts x longest) for attention alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Packing":
        """Texts of these lengths, each at least 1, in this order."""
        sizes = np.asarray(lengths, dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        longest, cells = int(sizes.max()), None
        if sizes.min() < longest:
            shift = np.arange(len(sizes)) * longest - ends[:-1]
            cells = torch.from_numpy(np.arange(ends[-1]) + np.repeat(shift, sizes))
        return cls(torch.from_numpy(ends.astype(np.int32)), cells, len(sizes), longest)

    def to(self, device: torch.device) -> "Packing":
        """The same on `device`."""
        cells = None if self.cells is None else sent(self.cells, device)
        return Packing(sent(self.offsets, device), cells, self.texts, self.longest)

    @property
    def lengths(self) -> Tensor:
        """(texts,) tokens of each text."""
        return self.offsets.diff()

    @property
    def first(self) -> Tensor:
        """(texts,) where each text's first token lies in the row."""
        return self.offsets[:-1]

    def firsts(self) -> "Packing":
        """The packing of the texts' first tokens alone."""
        ends = torch.arange(self.texts + 1, dtype=torch.int32, device=self.offsets.device)
        return Packing(ends, None, self.texts, 1)

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
