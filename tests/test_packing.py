"""packing.py: a row and its rectangle, against PyTorch's own padding."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lowrank_da.packing import Packing

WIDTH = 3
ragged = st.lists(st.integers(1, 12), min_size=1, max_size=8)
tried = settings(max_examples=40, deadline=None, derandomize=True)


def parts(lengths: list[int]) -> list[Tensor]:
    """Each text's (tokens, width) states, none of them zero."""
    generator = torch.Generator().manual_seed(len(lengths))
    return [1 + torch.rand(n, WIDTH, generator=generator) for n in lengths]


def check(packing: Packing, lengths: list[int]) -> None:
    """A row and its rectangle are each other's, with zeros in the gaps."""
    row, wanted = torch.cat(parts(lengths)), pad_sequence(parts(lengths), batch_first=True)
    assert torch.equal(packing.rectangle(row), wanted)
    assert torch.equal(packing.row(packing.rectangle(row)), row)
    assert torch.equal(packing.row(wanted), row)


@tried
@given(lengths=ragged)
@example(lengths=[1])
@example(lengths=[1, 1, 1])
@example(lengths=[5, 5])
@example(lengths=[9, 1, 128, 4])
def test_a_row_and_its_rectangle(lengths: list[int]) -> None:
    packing = Packing.of(lengths)
    check(packing, lengths)
    assert packing.lengths.tolist() == lengths
    assert (packing.texts, packing.longest) == (len(lengths), max(lengths))
    mask = pad_sequence([torch.ones(n) for n in lengths], batch_first=True).bool()
    real = packing.real()
    assert (real is None) == bool(mask.all()), "no mask is paid for where no cell is empty"
    assert real is None or torch.equal(real, mask)


@pytest.mark.parametrize("twin", ["shifted", "swapped", "shorter"])
def test_texts_at_other_places_are_noticed(twin: str) -> None:
    lengths = [9, 1, 4]
    packing = Packing.of(lengths)
    cells = packing.cells
    assert cells is not None
    wrong = {
        "shifted": replace(packing, cells=(cells + 1) % 27),
        "swapped": replace(packing, cells=cells.flip(0)),
        "shorter": Packing.of([8, 2, 4]),
    }
    check(packing, lengths)
    with pytest.raises((AssertionError, RuntimeError)):
        check(wrong[twin], lengths)


@tried
@given(lengths=ragged)
def test_gradients_reach_real_cells_only(lengths: list[int]) -> None:
    packing = Packing.of(lengths)
    mask = pad_sequence([torch.ones(n) for n in lengths], batch_first=True).bool()
    rectangle = torch.rand(*mask.shape, WIDTH, requires_grad=True)
    factor = torch.cat(parts(lengths))
    (packing.row(rectangle) * factor).sum().backward()
    assert rectangle.grad is not None
    assert torch.equal(rectangle.grad, pad_sequence(parts(lengths), batch_first=True))

    row = factor.clone().requires_grad_()
    packing.rectangle(row).backward(torch.arange(float(rectangle.numel())).view_as(rectangle))
    assert row.grad is not None
    assert torch.equal(row.grad, torch.arange(float(rectangle.numel())).view_as(rectangle)[mask])


@tried
@given(lengths=ragged)
def test_first_tokens(lengths: list[int]) -> None:
    packing = Packing.of(lengths)
    row = torch.cat(parts(lengths))
    firsts = torch.stack([part[0] for part in parts(lengths)])
    assert torch.equal(row[packing.first], firsts)
    alone = packing.singles()
    check(alone, [1] * len(lengths))
    assert alone.lengths.tolist() == [1] * len(lengths)
    assert torch.equal(alone.rectangle(firsts), firsts.unsqueeze(1))


def test_it_moves_whole() -> None:
    moved = Packing.of([2, 3]).to(torch.device("meta"))
    assert moved.cells is not None
    assert {moved.offsets.device.type, moved.cells.device.type} == {"meta"}
    assert (moved.texts, moved.longest) == (2, 3)
    assert Packing.of([2, 2]).to(torch.device("meta")).cells is None
