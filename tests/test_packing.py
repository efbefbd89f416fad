"""packing.py: a row and its rectangle, against PyTorch's own padding."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lowrank_da.packing import Around, Packing

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
def test_first_and_last_tokens_and_positions(lengths: list[int]) -> None:
    packing = Packing.of(lengths)
    row = torch.cat(parts(lengths))
    firsts = torch.stack([part[0] for part in parts(lengths)])
    assert torch.equal(row[packing.first], firsts)
    assert torch.equal(row[packing.last], torch.stack([part[-1] for part in parts(lengths)]))
    assert packing.positions().tolist() == [place for n in lengths for place in range(n)]
    assert packing.tokens == sum(lengths)
    alone = packing.singles()
    check(alone, [1] * len(lengths))
    assert alone.lengths.tolist() == [1] * len(lengths)
    assert torch.equal(alone.rectangle(firsts), firsts.unsqueeze(1))


# --- virtual tokens around every text -----------------------------------------------------------

sides = st.integers(0, 4)


def tokens(number: int, sign: float) -> Tensor:
    """(number, width) virtual tokens, unlike any real one."""
    return sign * torch.arange(1.0, 1 + number * WIDTH).view(number, WIDTH)


def check_around(around: Around, lengths: list[int], left: int, right: int) -> None:
    """The longer row and where its parts lie, against lists put together in plain Python."""
    each = [(left, n, right) for n in lengths]
    kinds = [kind for sizes in each for kind, n in zip("<.>", sizes, strict=True) for _ in range(n)]
    for kind, places in (("<", around.before), (".", around.real), (">", around.behind)):
        assert places.tolist() == [i for i, own in enumerate(kinds) if own == kind]
    wanted = [torch.cat([tokens(left, -1), part, tokens(right, -2)]) for part in parts(lengths)]
    longer = [left + n + right for n in lengths]
    row = around.row(torch.cat(parts(lengths)), tokens(left, -1), tokens(right, -2))
    assert torch.equal(row, torch.cat(wanted))
    check_same(around.packing, Packing.of(longer))


def check_same(one: Packing, other: Packing) -> None:
    """Equal in every field, the types of its numbers included."""
    for name in ("offsets", "cells"):
        own, wanted = getattr(one, name), getattr(other, name)
        assert (own is None) == (wanted is None), name
        if wanted is not None:
            assert own.dtype == wanted.dtype
            assert torch.equal(own, wanted), name
    for name in ("texts", "longest", "tokens"):
        assert getattr(one, name) == getattr(other, name), name


@tried
@given(lengths=ragged, left=sides, right=sides)
@example(lengths=[3], left=2, right=1)
@example(lengths=[5, 5], left=0, right=3)
@example(lengths=[1, 1], left=4, right=0)
@example(lengths=[9, 1, 4], left=0, right=0)
def test_around_is_what_plain_lists_give(lengths: list[int], left: int, right: int) -> None:
    check_around(Packing.of(lengths).around(left, right), lengths, left, right)


@tried
@given(lengths=ragged, left=sides, right=sides)
def test_gradients_of_virtual_tokens_are_summed_over_texts(
    lengths: list[int], left: int, right: int
) -> None:
    given = [torch.cat(parts(lengths)), tokens(left, -1), tokens(right, -2)]
    real, before, behind = (x.requires_grad_() for x in given)
    around = Packing.of(lengths).around(left, right)
    row = around.row(real, before, behind)
    weights = torch.arange(float(row.numel())).view_as(row)
    (row * weights).sum().backward()
    split = weights.split([left + n + right for n in lengths])
    assert real.grad is not None
    assert torch.equal(real.grad, torch.cat([w[left : len(w) - right] for w in split]))
    for x, wanted in (
        (before, sum(w[:left] for w in split)),
        (behind, sum(w[len(w) - right :] for w in split)),
    ):
        assert (x.grad is None) == (len(x) == 0)
        assert x.grad is None or torch.equal(x.grad, wanted)


def test_virtual_tokens_are_of_the_texts_type() -> None:
    row = (
        Packing.of([2])
        .around(1, 1)
        .row(torch.cat(parts([2])).bfloat16(), tokens(1, -1), tokens(1, -2))
    )
    assert row.dtype == torch.bfloat16


@pytest.mark.parametrize("twin", ["sides swapped", "real shifted", "packed as without"])
def test_virtual_tokens_at_other_places_are_noticed(twin: str) -> None:
    lengths = [9, 1, 4]
    packing = Packing.of(lengths)
    around = packing.around(2, 1)
    wrong = {
        "sides swapped": packing.around(1, 2),
        "real shifted": replace(around, real=around.real - 1),
        "packed as without": replace(around, packing=packing),
    }
    check_around(around, lengths, 2, 1)
    with pytest.raises((AssertionError, IndexError, RuntimeError)):
        check_around(wrong[twin], lengths, 2, 1)


def test_it_moves_whole() -> None:
    moved = Packing.of([2, 3]).to(torch.device("meta"))
    assert moved.cells is not None
    assert {moved.offsets.device.type, moved.cells.device.type} == {"meta"}
    assert (moved.texts, moved.longest) == (2, 3)
    assert Packing.of([2, 2]).to(torch.device("meta")).cells is None
