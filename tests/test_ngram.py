"""The n-gram model against counts made with plain dictionaries, and scipy's chi-square test."""

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from lowrank_da.ngram import NGram

VOCABULARY = 6
Context = tuple[int, ...]


@pytest.fixture(scope="module")
def stream() -> NDArray[np.int64]:
    """400 tokens with uneven frequencies; 0 is the paragraph break."""
    random = np.random.default_rng(3)
    tokens = random.choice(VOCABULARY, 400, p=[0.1, 0.35, 0.25, 0.15, 0.1, 0.05])
    return np.concatenate([[0], tokens])


def counted(stream: NDArray[np.int64], length: int) -> dict[Context, Counter[int]]:
    """What follows every context of `length` tokens, and how often."""
    found: dict[Context, Counter[int]] = defaultdict(Counter)
    tokens = stream.tolist()
    for start in range(len(tokens) - length):
        found[tuple(tokens[start : start + length])][tokens[start + length]] += 1
    return found


def chi_square(model: NGram, expected: Mapping[int, float], context: Context) -> float:
    """P-value of the continuations that `model` samples after `context`."""
    rows = model.sample(3000, 20, np.random.default_rng(7)).tolist()
    n = len(context)
    seen = Counter(
        row[i + n] for row in rows for i in range(len(row) - n) if tuple(row[i : i + n]) == context
    )
    assert set(seen) <= set(expected)
    total = sum(seen.values())
    assert total > 1000
    mass = sum(expected.values())
    return float(
        chisquare(
            [seen[token] for token in expected],
            [total * weight / mass for weight in expected.values()],
        ).pvalue
    )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("context", [(1,), (1, 2)])
def test_continuations_have_the_probabilities_of_their_counts(
    stream: NDArray[np.int64], temperature: float, context: Context
) -> None:
    model = NGram.fit(stream, VOCABULARY, order=len(context) + 1, temperature=temperature)
    counts = counted(stream, len(context))[context]
    expected = {token: count ** (1 / temperature) for token, count in counts.items()}
    assert chi_square(model, expected, context) > 0.001


def test_the_chi_square_check_refuses_another_temperature(stream: NDArray[np.int64]) -> None:
    model = NGram.fit(stream, VOCABULARY, order=2, temperature=0.8)
    counts = counted(stream, 1)[(1,)]
    assert chi_square(model, dict(counts), (1,)) < 1e-6


def test_top_k_keeps_the_most_frequent_continuations(stream: NDArray[np.int64]) -> None:
    model = NGram.fit(stream, VOCABULARY, order=2, top_k=2)
    level = model.levels[1]
    for context, counts in counted(stream, 1).items():
        kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:2])
        place = level.contexts.tolist().index(context[0])
        tokens = level.tokens[level.first[place] : level.first[place + 1]]
        assert tokens.tolist() == sorted(kept)
        if context == (1,):
            assert chi_square(model, kept, context) > 0.001


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_longest_known_context_decides(order: int) -> None:
    # few tokens, so that many contexts end the stream and are unknown
    stream = np.array([0, 1, 2, 3, 0, 2, 1, 3, 3, 0, 4, 1, 5])
    model = NGram.fit(stream, VOCABULARY, order=order)
    after = [counted(stream, length) for length in range(order)]
    backed_off = 0
    for row in model.sample(200, 30, np.random.default_rng(0)).tolist():
        history = [0, *row]
        for i in range(1, len(history)):
            known = [
                n for n in range(min(order - 1, i) + 1) if tuple(history[i - n : i]) in after[n]
            ]
            backed_off += known[-1] < min(order - 1, i)
            assert history[i] in after[known[-1]][tuple(history[i - known[-1] : i])]
    assert backed_off > 0 or order == 1


def test_a_stream_without_choice_is_repeated() -> None:
    stream = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])
    model = NGram.fit(stream, 4, order=2)
    assert model.sample(2, 8, np.random.default_rng(0)).tolist() == [[1, 2, 3, 0] * 2] * 2


def test_the_same_generator_gives_the_same_texts(stream: NDArray[np.int64]) -> None:
    model = NGram.fit(stream, VOCABULARY, order=3)
    one, two, other = (model.sample(5, 40, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="too many for n-grams of 4"):
        NGram.fit(np.zeros(10, dtype=np.int64), 60_000, order=4)
    with pytest.raises(ValueError, match="hold no n-gram"):
        NGram.fit(np.zeros(2, dtype=np.int64), 10, order=3)
