"""Merging adapters into the weight changes no output, and can be undone.

For an input row x, a weight W with bias b, and adapters (A_i, B_i, s_i) of fitting shapes,
`xW + b + sum_i s_i (xA_i)B_i = x(W + sum_i s_i A_i B_i) + b`, and subtracting what was added
recovers W, in any order. Two things break it. While dropout is on, with D the diagonal matrix of
its factors (0 or 1/(1-p)), the outputs differ by exactly `s x(D - I)AB`: zero on average, not in
one pass. And rounding loses an update of less than half a unit of the weight's last place: in half
precision W = (1, 1)', AB = (2^-12, 0)' and x = (1, -1) give 0 merged and 2^-12 unmerged.

Proof. Both sides are one sum of words; after one merge the weight is a matrix again, so any number
of adapters follows. Under rounding, no number passes through more than m = d + r + 3 operations,
each of relative error at most u, so that the outputs should differ by at most
`2mu/(1 - mu) (|x|(|W| + |s||A||B|) + |b|)`: this is compared with the truth on random instances.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, symbol, zero

HALF = 11
"""Significant bits of half precision; its smallest and largest numbers play no part here."""

exact: Callable[..., Any] = np.frompyfunc(Fraction, 1, 1)
"""Arrays of fractions; all arithmetic below is on these, rounded or not."""


def rounding(bits: int | None) -> Callable[..., Any]:
    """To the nearest numbers of so many significant bits, ties to even; None rounds nothing."""

    def nearest(x: Fraction) -> Fraction:
        if bits is None or not x:
            return x
        exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
        exponent -= abs(x) < Fraction(2) ** exponent
        unit = Fraction(2) ** (exponent - bits + 1)
        return round(x / unit) * unit

    return np.frompyfunc(nearest, 1, 1)


def times(P: Any, Q: Any, fl: Callable[..., Any]) -> Any:
    """PQ, every product of two numbers and every sum rounded by `fl`."""
    terms = fl(P[:, :, None] * Q[None, :, :])
    total = terms[:, 0]
    for place in range(1, terms.shape[1]):
        total = fl(total + terms[:, place])
    return total


def outputs(v: Instance, fl: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Unmerged, merged, and the weight after undoing the merge."""
    x, W = v["x"], v["W"]
    unmerged = fl(times(x, W, fl) + v["b"])
    for A, B, s in v["adapters"]:
        unmerged = fl(unmerged + fl(s * times(times(fl(x * v["D"]), A, fl), B, fl)))
        W = fl(W + fl(s * times(A, B, fl)))
    merged = fl(times(x, W, fl) + v["b"])
    for A, B, s in v["adapters"]:
        W = fl(W - fl(s * times(A, B, fl)))
    return unmerged, merged, W


def holds(v: Instance) -> bool:
    """The outputs agree and the weight is recovered."""
    unmerged, merged, W = outputs(v, rounding(v["bits"]))
    return bool((unmerged == merged).all() and (v["W"] == W).all())


def nothing_rounded(v: Instance) -> bool:
    """No number met on the way is changed by rounding."""
    fl, changed = rounding(v["bits"]), []

    def watched(x: Any) -> Any:
        changed.append((fl(x) != x).any())
        return fl(x)

    outputs(v, watched)
    return not any(changed)


def bound(x: Any, W: Any, b: Any, A: Any, B: Any, s: Any, bits: int) -> Any:
    """On the difference of the outputs by rounding, entry by entry; arrays of any library."""
    d, r = A.shape
    mu = Fraction(d + r + 3, 2**bits)
    worst: Fraction | float = 2 * mu / (1 - mu)
    if not isinstance(A, np.ndarray):
        worst = float(worst)
    return worst * (abs(x) @ (abs(W) + abs(s) * (abs(A) @ abs(B))) + abs(b))


def share_of_bound(seed: int) -> Fraction:
    """The largest difference of the outputs in half precision over its bound, at random numbers."""
    d, k, r, source = 5, 3, 2, np.random.default_rng(seed)
    shapes = ((1, d), (d, k), (1, k), (d, r), (r, k), (1, 1))
    x, W, b, A, B, s = (rounding(HALF)(exact(source.normal(size=shape))) for shape in shapes)
    v = {"x": x, "W": W, "b": b, "D": exact([1] * d), "adapters": ((A, B, s),)}
    unmerged, merged, _ = outputs(v, rounding(HALF))
    return Fraction((abs(unmerged - merged) / bound(x, W, b, A, B, s, HALF)).max())


def prove() -> list[Step]:
    """Merging, undoing it and dropout for all sizes; half precision by a witness and samples."""
    d, k, r, q = sizes("d k r q")
    s, z, p = sympy.symbols("s z p")
    x, W, b, D = symbol("x", 1, d), symbol("W", d, k), symbol("b", 1, k), symbol("D", d, d)
    A, B, C, E = symbol("A", d, r), symbol("B", r, k), symbol("C", d, q), symbol("E", q, k)
    one, two = s * (A @ B), z * (C @ E)
    apart = x @ W + b + s * ((x @ A) @ B) + z * ((x @ C) @ E)
    gap = x @ W + b + s * ((x @ D @ A) @ B) - (x @ (W + one) + b)
    probabilities = {sympy.Integer(0): p, 1 / (1 - p): 1 - p}
    mean = sympy.simplify(sum(factor * share for factor, share in probabilities.items()))
    averaged = gap.rewrite({"D": mean * identity(d)})
    (y,), (merged,) = (row for (row,) in outputs(WITNESS, rounding(HALF))[:2])
    bounded = all(share_of_bound(seed) <= 1 for seed in range(40))
    S = Scope.SYMBOLIC
    return [
        Step("two adapters, apart and merged", S, apart == x @ (W + one + two) + b),
        Step("undone in the other order", S, (W + one + two) - one - two == W),
        Step("under dropout s x(D - I)AB more", S, gap == s * (x @ (D - identity(d)) @ A @ B)),
        Step("which is 0 on average", S, averaged == zero(1, k)),
        Step("half precision: 2^-12 and 0", Scope.WITNESS, y == Fraction(1, 2**12) and merged == 0),
        Step("the bound on rounding errors", Scope.SAMPLED, bounded),
    ]


WITNESS = {
    "x": exact([[1, -1]]),
    "W": exact([[1], [1]]),
    "b": exact([[0]]),
    "D": exact([1, 1]),
    "adapters": ((exact([[1], [0]]) / 2**12, exact([[1]]), 1),),
    "bits": HALF,
}
CONTROL = {
    "x": exact([[1, -2, 3]]) / 7,
    "W": exact([[2, 3], [-1, 4], [5, 6]]) / 3,
    "b": exact([[5, -8]]) / 9,
    "D": exact([1, 1, 1]),
    "adapters": (
        (exact([[1, 4], [-2, 3], [5, 2]]), exact([[3, -1], [-4, 5]]), Fraction(3, 2)),
        (exact([[2], [7], [-3]]), exact([[6, 1]]), Fraction(1, 5)),
    ),
    "bits": None,
}

CLAIM = Claim(
    id="C02",
    title="Merging an adapter into the weight",
    latex=r"xW + b + s(xA)B = x(W + sAB) + b",
    hypotheses={
        "dropout off": Hypothesis("D = I", lambda v: bool((v["D"] == 1).all())),
        "exact arithmetic": Hypothesis("no number met on the way is rounded", nothing_rounded),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "dropout off": {**CONTROL, "D": exact([2, 0, 2])},
        "exact arithmetic": WITNESS,
    },
    cited=("the matrix product is bilinear and associative (the kernel's normal form)",),
    not_proved=(
        "the error bound: it follows from Higham's rounding model, and is only sampled here",
        "merging into a quantised weight",
    ),
    source="thesis, table 1, without scale, bias, dropout and rounding",
)
