"""Where A and B have rank r, the map `(A, B) -> AB` has a derivative of rank `r(d + k - r)`.

A is d x r and B is r x k. So r^2 of an adapter's r(d + k) parameters move nothing to first order,
and the updates miss (d - r)(k - r) of the dk directions of W. At LoRA's start, B = 0, the
derivative has the smaller rank rk: only B moves the product.

Proof. The derivative in the direction (P, Q) is `E = PB + AQ`. Full rank gives A+ and B+ with
`A+ A = I = B B+`. With `X = -Q B+`, the identities `P - AX = E B+` and
`Q + XB = A+ (E - E B+ B)` hold for all P and Q; so E = 0 exactly when `(P, Q) = (AX, -XB)`, and
`X = A+ (AX)` is unique. The kernel is a copy of the r x r matrices, of dimension r^2; the rank is
what remains. At small sizes it is also computed, for every pair of ranks of A and B.
"""

from itertools import product, starmap
from typing import Any

import sympy

from proofs.claim import Claim, Hypothesis, Scope, Step
from proofs.kernel import identity, sizes, symbol, zero

SIZES = ((1, 1, 1), (3, 2, 1), (3, 4, 2), (4, 3, 2), (2, 2, 2))
"""(d, k, r) at which the rank is computed."""


def dimension(d: Any, k: Any, r: Any) -> Any:
    """The rank that the claim states, of numbers or symbols."""
    return r * (d + k - r)


def rank(A: sympy.Matrix, B: sympy.Matrix) -> int:
    """Of the derivative at (A, B), by differentiating every entry of the product."""
    first = sympy.Matrix(A.rows, A.cols, sympy.symbols(f"a:{len(A)}"))
    second = sympy.Matrix(B.rows, B.cols, sympy.symbols(f"b:{len(B)}"))
    names = [*first, *second]
    derivative = sympy.Matrix(list(first * second)).jacobian(names)
    return int(derivative.subs(dict(zip(names, [*A, *B], strict=True))).rank())


def of_rank(rows: int, columns: int, wanted: int) -> sympy.Matrix:
    """Rows 1, x, x^2, ... for x = 2, 3, ..., of which all but the first columns are made zero."""
    return sympy.Matrix(rows, columns, lambda i, j: (i + 2) ** j if j < wanted else 0)


def ranks_at(d: int, k: int, r: int) -> bool:
    """For A of rank a and B of rank b it is db + ak - ab: the claim's at a = b = r."""
    every = product(range(r + 1), repeat=2)
    found = {(a, b): rank(of_rank(d, r, a), of_rank(k, r, b).T) for a, b in every}
    wanted = all(n == d * b + a * k - a * b for (a, b), n in found.items())
    return wanted and found[r, r] == dimension(d, k, r)


def prove() -> list[Step]:
    """The derivative, its kernel and the count for all sizes; the rank itself at small ones."""
    d, k, r = sizes("d k r")
    t = sympy.Symbol("t")
    A, B, X = symbol("A", d, r), symbol("B", r, k), symbol("X", r, r)
    P, Q = symbol("P", d, r), symbol("Q", r, k)
    left, right = symbol("A+", r, d), symbol("B+", k, r)
    inverses = {"A+ A": identity(r), "B B+": identity(r)}
    E = P @ B + A @ Q
    made = -(Q @ right)
    within = E.rewrite({"P": A @ X, "Q": -(X @ B)})
    moved = (A + t * P) @ (B + t * Q) - A @ B
    back = (left @ (E - E @ right @ B)).rewrite(inverses)
    start = E.rewrite({"B": zero(r, k)})
    lost, missed = r * (d + k) - dimension(d, k, r), d * k - dimension(d, k, r)
    S = Scope.SYMBOLIC
    return [
        Step("the derivative is PB + AQ", S, moved - t * E == t**2 * (P @ Q)),
        Step("(AX, -XB) is in its kernel", S, within == zero(d, k)),
        Step("P - AX = E B+", S, (E @ right).rewrite(inverses) == P - A @ made),
        Step("Q + XB = A+ (E - E B+ B)", S, back == Q + made @ B),
        Step("X = A+ (AX) is unique", S, (left @ (A @ X)).rewrite(inverses) == X),
        Step("r(d + k) parameters less r^2", S, sympy.expand(lost - r**2) == 0),
        Step("(d - r)(k - r) missed", S, sympy.expand(missed - (d - r) * (k - r)) == 0),
        Step("at B = 0: AQ, from which A+ gives Q", S, (left @ start).rewrite(inverses) == Q),
        Step(f"exact ranks at {SIZES}", Scope.WITNESS, all(starmap(ranks_at, SIZES))),
    ]


A, B = sympy.Matrix([[2, 1], [-1, 3], [5, 4], [7, -2]]), sympy.Matrix([[3, 1, -2], [4, 6, 5]])

CLAIM = Claim(
    id="C04",
    title="How many directions an adapter can move",
    latex=r"\operatorname{rank}\, d(AB) = r(d + k - r)",
    hypotheses={
        "rank of A": Hypothesis("A has rank r", lambda v: v["A"].rank() == v["A"].cols),
        "rank of B": Hypothesis("B has rank r", lambda v: v["B"].rank() == v["B"].rows),
    },
    holds=lambda v: rank(v["A"], v["B"]) == dimension(v["A"].rows, v["B"].cols, v["A"].cols),
    prove=prove,
    control={"A": A, "B": B},
    models={
        "rank of A": {"A": A[:, :1] * sympy.Matrix([[1, 2]]), "B": B},
        "rank of B": {"A": A, "B": sympy.zeros(2, 3)},
    },
    cited=(
        "a matrix of full column rank has a left inverse, one of full row rank a right inverse",
        "rank and dimension of the kernel add up to the number of parameters",
    ),
    not_proved=("the rank for deficient A or B at all sizes: computed at the listed ones",),
    source="thesis, equation (2), where the number of parameters stands for the dimension",
)
