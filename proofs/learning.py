"""Small learning problems with adapters, played out exactly: every sample, and what it teaches.

Inputs are one-hot, so that row i of `W + A B` is the logits of input i, in units of log 2. They are
whole numbers, probabilities therefore rational, and likelihoods are compared without rounding.

A problem is a mapping of

- `W`, and `adapters`, the pairs (A, B) to choose from;
- `truth`, the law P of the cells: input 1 with classes 1 to K, input 2 with classes 1 to K, ...;
- `groups`: so many such groups of inputs there are, all alike, each with an adapter of its own;
- `source`, the law of a text that is drawn; `draw`, how n of them are; `weights` of the classes;
- `train`, which makes an adapter of the counts of the cells, and `error`, which judges one;
- `b`, which bounds the logits; `cells`, how many there are said to be; `sizes`, numbers of texts.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from math import comb, log, prod
from operator import index
from typing import Any

from sympy import ImmutableMatrix

Problem = Mapping[str, Any]
Adapter = tuple[ImmutableMatrix, ImmutableMatrix]
Law = tuple[Fraction, ...]
Counts = tuple[int, ...]
Samples = dict[Counts, Fraction]
"""How many texts fell into each cell, and the probability of that."""


def independent(n: int, law: Law) -> Samples:
    """Draw n independent texts."""
    if len(law) == 1:
        return {(n,): law[0] ** n}
    return {
        (k, *others): comb(n, k) * law[0] ** k * chance
        for k in range(n + 1)
        for others, chance in independent(n - k, law[1:]).items()
    }


def copied(n: int, law: Law) -> Samples:
    """Draw one text and repeat it n times."""
    return {tuple(n * (i == j) for j in range(len(law))): p for i, p in enumerate(law)}


def in_one_group(law: Law, groups: int) -> Law:
    """The law of one group's cells and, where there are others, of all of these together."""
    return (*(p / groups for p in law), *([1 - Fraction(1, groups)] if groups > 1 else []))


def samples(v: Problem, n: int) -> Samples:
    """All samples of n texts as one group sees them."""
    drawn: Samples = v["draw"](n, in_one_group(v["source"], v["groups"]))
    return drawn


@cache
def model(W: ImmutableMatrix, adapter: Adapter) -> Law:
    """P_theta(y|x) of every cell; `TypeError` where a logit is not whole."""
    rows = [
        [Fraction(2) ** index(z) for z in row] for row in (W + adapter[0] * adapter[1]).tolist()
    ]
    return tuple(power / sum(row) for row in rows for power in row)


def of_inputs(cells: Law | Counts, classes: int) -> Law:
    """For every cell what its input has in all classes together."""
    starts = [i - i % classes for i in range(len(cells))]
    return tuple(Fraction(sum(cells[i : i + classes])) for i in starts)


def law_of(v: Problem, adapter: Adapter) -> Law:
    """P_theta: the true law of the inputs, the model's of the classes."""
    inputs = of_inputs(v["truth"], v["W"].cols)
    return tuple(x * p for x, p in zip(inputs, model(v["W"], adapter), strict=True))


def likelihood(v: Problem, adapter: Adapter, counts: Counts) -> Fraction:
    """exp(-n R_n): the probability of the texts, each as often as its class' weight says."""
    cells = enumerate(model(v["W"], adapter))
    powers = (p ** (counts[i] * v["weights"][i % v["W"].cols]) for i, p in cells)
    return prod(powers, start=Fraction(1))


def best(v: Problem, counts: Counts) -> Adapter:
    """Train by trying all: the first adapter with the greatest likelihood."""
    first: Adapter = max(v["adapters"], key=lambda adapter: likelihood(v, adapter, counts))
    return first


def descend(v: Problem, counts: Counts) -> Adapter:
    """Train by ten steps of gradient descent from the first adapter."""
    A, B = v["adapters"][0]
    for _ in range(10):
        texts, P = of_inputs(counts, v["W"].cols), model(v["W"], (A, B))
        slopes = [n * p - m for n, p, m in zip(texts, P, counts, strict=True)]
        G = ImmutableMatrix(*v["W"].shape, slopes)
        A, B = A - G * B.T, B - A.T * G
    return A, B


def divergence(v: Problem, adapter: Adapter) -> float:
    """KL(P||P_theta)."""
    cells = zip(v["truth"], law_of(v, adapter), strict=True)
    return float(sum(p * log(p / q) for p, q in cells))


def distance(v: Problem, adapter: Adapter) -> float:
    """The squared distance of (A, B) from the smallest adapter that has the true law."""
    true = [a for a in v["adapters"] if law_of(v, a) == v["truth"]]
    nearest = min(true, key=lambda a: a[0].norm())
    return float(sum((x - y).norm() ** 2 for x, y in zip(adapter, nearest, strict=True)))


def problem(
    W: ImmutableMatrix,
    adapters: Sequence[Adapter],
    truth: Law,
    b: int,
    sizes: Sequence[int],
    **changes: Any,
) -> Problem:
    """A problem of one group: independent texts of that law, no weights, the best adapter, KL."""
    plain = {"source": truth, "groups": 1, "draw": independent, "weights": (1,) * W.cols}
    judged = {"train": best, "error": divergence}
    own = {"W": W, "adapters": adapters, "truth": truth, "b": b, "sizes": sizes}
    return {**own, **plain, **judged, "cells": len(truth), **changes}


# What a theorem may ask of a problem


def realisable(v: Problem) -> bool:
    """Some adapter has the true law."""
    return any(law_of(v, adapter) == v["truth"] for adapter in v["adapters"])


def of_the_law(v: Problem) -> bool:
    """Adapters with one law have one error."""
    judged = [(law_of(v, adapter), v["error"](v, adapter)) for adapter in v["adapters"]]
    return all(e == f for p, e in judged for q, f in judged if p == q)


def bounded(v: Problem) -> bool:
    """All logits are at most b in size."""
    return all(abs(z) <= v["b"] for A, B in v["adapters"] for z in v["W"] + A * B)


def few_cells(v: Problem) -> bool:
    """All groups together have no more cells than said."""
    return bool(v["groups"] * sum(p > 0 for p in v["truth"]) <= v["cells"])


def one_text(v: Problem, n: int) -> Law:
    """The law of one of n texts."""
    drawn = [[m * chance for m in counts] for counts, chance in samples(v, n).items()]
    return tuple(sum(cell, start=Fraction(0)) / n for cell in zip(*drawn, strict=True))


def same_law(v: Problem) -> bool:
    """Each text is drawn from the truth."""
    truth = in_one_group(v["truth"], v["groups"])
    return all(one_text(v, n) == truth for n in v["sizes"])


def unlinked(v: Problem) -> bool:
    """The texts are independent of each other."""
    return all(samples(v, n) == independent(n, one_text(v, n)) for n in v["sizes"])


def unweighted(v: Problem) -> bool:
    """All classes have one weight."""
    return len(set(v["weights"])) == 1


def minimised(v: Problem) -> bool:
    """Training finds the greatest likelihood of every sample."""
    return all(
        likelihood(v, v["train"](v, counts), counts) == likelihood(v, best(v, counts), counts)
        for n in v["sizes"]
        for counts in samples(v, n)
    )
