"""An n-gram language model in numpy arrays: count a stream of tokens, sample texts in a batch.

A token is a number below the vocabulary's size, and token 0 stands between paragraphs. A context
of n tokens is coded as one integer, its tokens being the digits of a number in base `vocabulary`;
so counting is `np.unique`, looking a context up is `np.searchsorted`, and drawing a continuation
is `np.searchsorted` in a running sum of the probabilities.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Level(NamedTuple):
    """What may follow each context of one length."""

    contexts: NDArray[np.int64]
    """(c,) codes of the contexts, ascending."""
    first: NDArray[np.int64]
    """(c + 1,) where each context's continuations start in `tokens`; the last is m."""
    tokens: NDArray[np.int64]
    """(m,) the continuations, those of one context beside each other."""
    mass: NDArray[np.float64]
    """(m + 1,) running sum of their unnormalised probabilities, from 0."""


@dataclass(frozen=True, eq=False)
class NGram:
    """An n-gram model with back-off: the longest known context alone decides what follows."""

    vocabulary: int
    levels: tuple[Level, ...]
    """By the length of the context, 0 to order - 1."""

    @classmethod
    def fit(
        cls,
        stream: NDArray[np.int64],
        vocabulary: int,
        order: int,
        top_k: int | None = None,
        temperature: float = 1.0,
    ) -> "NGram":
        """Count the n-grams of up to `order` tokens in `stream`, (n,) tokens.

        A continuation seen c times gets a probability proportional to c ** (1 / temperature)
        among the `top_k` most frequent ones of its context (ties to the smaller token; None keeps
        all). So the default is the maximum-likelihood model. Raises ValueError when the stream
        is shorter than an n-gram, or an n-gram's code would not fit 63 bits.
        """
        if len(stream) < order:
            raise ValueError(f"{len(stream)} tokens hold no n-gram of {order}")
        if vocabulary**order >= 2**63:
            raise ValueError(f"{vocabulary} tokens are too many for n-grams of {order}")
        levels = []
        codes = np.zeros_like(stream)
        for length in range(1, order + 1):
            # codes[i] becomes the code of the n-gram of this length that starts at i
            codes = codes[: len(stream) - length + 1] * vocabulary + stream[length - 1 :]
            ngrams, counts = np.unique(codes, return_counts=True)
            if top_k is not None:
                kept = _most_frequent(ngrams // vocabulary, counts, top_k)
                ngrams, counts = ngrams[kept], counts[kept]
            contexts, first = np.unique(ngrams // vocabulary, return_index=True)
            mass = np.cumsum(counts ** (1.0 / temperature))
            levels.append(
                Level(
                    contexts,
                    np.append(first, len(ngrams)),
                    ngrams % vocabulary,
                    np.insert(mass, 0, 0.0),
                )
            )
        return cls(vocabulary, tuple(levels))

    def sample(self, texts: int, length: int, random: np.random.Generator) -> NDArray[np.int64]:
        """(texts, length) tokens; each text starts as if token 0 stood before it.

        All texts advance together, one token a step.
        """
        out = np.zeros((texts, length + 1), dtype=np.int64)
        for step in range(1, length + 1):
            uniform = random.random(texts)
            waiting = np.arange(texts)
            for size in range(min(len(self.levels) - 1, step), -1, -1):
                level = self.levels[size]
                digits = self.vocabulary ** np.arange(size)[::-1]
                code = out[waiting, step - size : step] @ digits
                place = np.searchsorted(level.contexts, code).clip(max=len(level.contexts) - 1)
                known = level.contexts[place] == code
                begin, end = level.first[place[known]], level.first[place[known] + 1]
                low, high = level.mass[begin], level.mass[end]
                drawn = low + uniform[waiting[known]] * (high - low)
                chosen = np.searchsorted(level.mass, drawn, side="right") - 1
                # rounding may carry a draw one past the context's last continuation
                out[waiting[known], step] = level.tokens[chosen.clip(begin, end - 1)]
                waiting = waiting[~known]
        return out[:, 1:]


def _most_frequent(
    contexts: NDArray[np.int64], counts: NDArray[np.int64], top_k: int
) -> NDArray[np.int64]:
    """Find the `top_k` largest counts of each context: ascending indices; `contexts` are sorted."""
    by_count = np.lexsort((np.arange(len(counts)), -counts, contexts))
    _, first, size = np.unique(contexts, return_index=True, return_counts=True)
    rank = np.arange(len(counts)) - np.repeat(first, size)
    return np.sort(by_count[rank < top_k])
