"""batches.py: every text once, within the budget, in an order that a resumed run meets again."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank_da.batches import Batch, Batches

PAD = 1


def batches(lengths: Sequence[int], budget: int = 256) -> Batches:
    """Text i repeats the id 10 + i, and is of class i modulo 3."""
    ids = [[10 + i] * n for i, n in enumerate(lengths)]
    return Batches(ids, [i % 3 for i in range(len(ids))], budget=budget, pad=PAD)


def random_lengths(number: int) -> list[int]:
    """Between 20 and 128 tokens."""
    return np.random.default_rng(0).integers(20, 129, size=number).tolist()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(2, 60), max_size=40),
    budget=st.integers(1, 200),
    seed=st.none() | st.integers(0, 3),
    epoch=st.integers(0, 3),
)
def test_every_text_once_whole_and_within_budget(
    lengths: list[int], budget: int, seed: int | None, epoch: int
) -> None:
    made = batches(lengths, budget)
    seen = []
    for batch in made.epoch(seed, epoch):
        assert batch.tokens.numel() <= budget or len(batch.index) == 1
        mask = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.mask is None else batch.mask
        assert (batch.mask is None) == bool((batch.tokens != PAD).all())
        assert torch.equal(mask, batch.tokens != PAD)
        for i, tokens, real in zip(batch.index.tolist(), batch.tokens, mask, strict=True):
            assert tokens[real].tolist() == [10 + i] * lengths[i]
        assert batch.labels.tolist() == [i % 3 for i in batch.index.tolist()]
        assert batch.real_tokens == sum(lengths[i] for i in batch.index.tolist())
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_a_text_longer_than_the_budget_is_alone() -> None:
    plan = batches([5, 300, 5, 5], budget=20).plan()
    assert [1] in plan
    assert sorted(map(len, plan)) == [1, 3]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = random_lengths(200)
    first = batches(lengths).plan(3, 1)
    np.random.seed(0)  # noqa: NPY002 - a global generator must not matter
    torch.manual_seed(0)
    assert batches(lengths).plan(3, 1) == first
    assert batches(lengths).plan(3, 2) != first
    assert batches(lengths).plan(4, 1) != first
    company = {frozenset(b) for b in first} & {frozenset(b) for b in batches(lengths).plan(3, 2)}
    assert len(company) < len(first) / 2, "texts must meet new neighbours"


def test_without_a_seed_the_longest_come_first() -> None:
    lengths = random_lengths(100)
    order = [i for texts in batches(lengths).plan() for i in texts]
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_first_skips_exactly(first: int) -> None:
    made = batches(random_lengths(100))
    whole = [b.index.tolist() for b in made.epoch(1, 2)]
    assert len(whole) > 7
    assert [b.index.tolist() for b in made.epoch(1, 2, first)] == whole[first:]


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_little_is_padding(seed: int | None) -> None:
    made = list(batches(random_lengths(1000), budget=2048).epoch(seed))
    padded = sum(b.tokens.numel() for b in made)
    assert sum(b.real_tokens for b in made) / padded >= 0.9
    assert padded / len(made) > 0.8 * 2048, "the budget is used"


def test_a_batch_moves_whole() -> None:
    batch = batches([2, 3]).batch([0, 1])
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, Batch)
    parts = (moved.index, moved.tokens, moved.mask, moved.labels)
    assert all(part is not None and part.device.type == "meta" for part in parts)
    assert batches([2, 2]).batch([0, 1]).to(torch.device("cpu")).mask is None
