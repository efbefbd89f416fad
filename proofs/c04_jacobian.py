"""Where A and B have rank r, the map `(A, B) -> AB` has a derivative of rank `r(d + k - r)`.

A is d x r and B is r x k. So r^2 of an adapter's r(d + k) parameters move nothing to first order,
and the updates leave out (d - r)(k - r) of the dk directions of W. At LoRA's start, B = 0, the
derivative has the smaller rank rk: only B moves the product.

Proof. The derivative in the direction (P, Q) is `E = PB + AQ`. Full rank gives `A+` and `B+` with
`A+ A = I = B B+`. With `X = -Q B+`, the identities `P - AX = E B+` and
`Q + XB = A+ (E - E B+ B)` hold for all P and Q; so E = 0 exactly when `(P, Q) = (AX, -XB)`, and
`X = A+ (AX)` is unique. The kernel is a copy of the r x r matrices, of dimension r^2, and the rank
is what remains. It is also computed exactly at small sizes, for every pair of ranks of A and B.
"""

from itertools import product

import sympy
from sympy import Expr

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, symbol, zero

SIZES = ((1, 1, 1), (3, 2, 1), (3, 4, 2), (4, 3, 2), (3, 3, 3))
"""(d, k, r) at which the rank is computed."""


def dimension(d: Expr, k: Expr, r: Expr) -> Expr:
    """The rank that the claim states."""
    return r * (d + k - r)


def rank(A: sympy.Matrix, B: sympy.Matrix) -> int:
    """Of the derivative of the product at (A, B), by differentiating every entry of it."""
    first = sympy.Matrix(A.rows, A.cols, sympy.symbols(f"a:{len(A)}"))
    second = sympy.Matrix(B.rows, B.cols, sympy.symbols(f"b:{len(B)}"))
    names, values = [*first, *second], [*A, *B]
    derivative = sympy.Matrix(list(first * second)).jacobian(names)
    return int(derivative.subs(dict(zip(names, values, strict=True))).rank())


def of_rank(rows: int, columns: int, rank: int) -> sympy.Matrix:
    """Powers of 2, 3, ...: their first columns are independent, and all later ones are zero."""
    return sympy.Matrix(rows, columns, lambda i, j: (i + 2) ** j if j < rank else 0)


def ranks_at(d: int, k: int, r: int) -> bool:
    """The rank is db + ak - ab at all ranks a and b of A and B, and r(d + k - r) at a = b = r."""
    return all(
        rank(of_rank(d, r, a), of_rank(k, r, b).T) == d * b + a * k - a * b
        for a, b in product(range(r + 1), repeat=2)
    ) and rank(of_rank(d, r, r), of_rank(k, r, r).T) == dimension(d, k, r)


def prove() -> list[Step]:
    """The derivative, its kernel and the count for all sizes; the rank itself at small ones."""
    d, k, r = sizes("d k r")
    t = sympy.Symbol("t")
    A, B, X = symbol("A", d, r), symbol("B", r, k), symbol("X", r, r)
    P, Q = symbol("P", d, r), symbol("Q", r, k)
    left, right = symbol("A+", r, d), symbol("B+", k, r)
    inverses = {"A+ A": identity(r), "B B+": identity(r)}
    E, made = P @ B + A @ Q, -(Q @ right)
    first, second = P - A @ made, Q + made @ B
    gram, inverse = A.T @ A, symbol("N", r, r)
    left_inverse = (inverse @ A.T @ A).rewrite({"N A' A": identity(r)})
    moved = (A + t * P) @ (B + t * Q) - A @ B
    S = Scope.SYMBOLIC
    return [
        Step("the derivative is PB + AQ", S, moved - t * E == t**2 * (P @ Q)),
        Step("(AX, -XB) is in the kernel", S, (A @ X) @ B + A @ (-(X @ B)) == zero(d, k)),
        Step("P - AX = E B+", S, (E @ right).rewrite(inverses) == first.rewrite(inverses)),
    ]
