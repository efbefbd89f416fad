"""A LoRA layer may be computed in two branches: `X(W + sAB) = XW + s(XA)B`, for all sizes.

X holds n inputs as rows, W is d x k, A is d x r, B is r x k, s is the scale. For one input x as a
column it reads `(W + sAB)'x = W'x + s B'(A'x)`, the form in which LoRA was published with `B'` and
`A'` for its two factors. No bound on r is used.

Proof. The product is bilinear and associative, so both sides are the same sum of words; that every
product and sum is defined is checked for symbolic sizes by a kernel that refuses ill-shaped terms.
The identity is also expanded entry by entry at small sizes. A function applied to the outputs must
be additive, and between A and B there may be none: ReLU breaks the identity in either place.
"""

from collections.abc import Callable
from itertools import starmap

import sympy
from sympy import Lambda, Max
from sympy.matrices.exceptions import ShapeError as Undefined

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import Matrix, ShapeError, sizes, symbol

SIZES = ((1, 2, 3, 1), (2, 3, 2, 2), (3, 2, 1, 4))
"""(n, d, k, r) at which all entries are expanded."""


def refused(build: Callable[[], Matrix]) -> bool:
    """The term has no shape."""
    try:
        build()
    except ShapeError:
        return True
    return False


def entries_agree(n: int, d: int, k: int, r: int) -> bool:
    """Both sides as polynomials in all entries and s."""
    shapes = {"x": (n, d), "w": (d, k), "a": (d, r), "b": (r, k)}
    X, W, A, B = (
        sympy.Matrix(*shape, sympy.symbols(f"{name}:{shape[0] * shape[1]}"))
        for name, shape in shapes.items()
    )
    s = sympy.Symbol("s")
    return bool((X * (W + s * A * B) - X * W - s * (X * A) * B).expand().is_zero_matrix)


def prove() -> list[Step]:
    """Both forms and the shapes for all sizes; the entries at small ones."""
    n, d, k, r, other = sizes("n d k r other")
    s = sympy.Symbol("s")
    X, x, W = symbol("X", n, d), symbol("x", d, 1), symbol("W", d, k)
    A, B = symbol("A", d, r), symbol("B", r, k)
    merged, branches = X @ (W + s * (A @ B)), X @ W + s * ((X @ A) @ B)
    column, columns = (W + s * (A @ B)).T @ x, W.T @ x + s * (B.T @ (A.T @ x))
    ill_shaped = (
        lambda: symbol("A", d, other) @ B,
        lambda: W + symbol("A", other, r) @ B,
        lambda: W + A @ symbol("B", r, other),
        lambda: symbol("X", n, other) @ W,
    )
    return [
        Step("rows: X(W + sAB) = XW + s(XA)B", Scope.SYMBOLIC, merged == branches),
        Step("columns: (W + sAB)'x = W'x + sB'(A'x)", Scope.SYMBOLIC, column == columns),
        Step("both sides are n x k", Scope.SYMBOLIC, merged.shape == branches.shape == (n, k)),
        Step("other sizes are refused", Scope.SYMBOLIC, all(map(refused, ill_shaped))),
        Step(f"entry by entry at {SIZES}", Scope.FIXED, all(starmap(entries_agree, SIZES))),
    ]


def holds(v: Instance) -> bool:
    """The merged layer's outputs are those of the two branches, and both are defined."""
    X, W, A, B, s, after = (v[name] for name in ("X", "W", "A", "B", "s", "after"))
    try:
        merged = (X * (W + s * A * B)).applyfunc(after)
        adapter = s * (X * A).applyfunc(v["between"]) * B
        return bool(merged == (X * W).applyfunc(after) + adapter.applyfunc(after))
    except Undefined:
        return False


t, u = sympy.symbols("t u", real=True)
RELU, ONE = Lambda(t, Max(t, 0)), sympy.eye(1)
CONTROL = {
    "X": sympy.Matrix([[1, -2, 3], [5, 7, -1]]),
    "W": sympy.Matrix(3, 5, [2, 3, -1, 4, 1, 0, 5, 6, -2, 7, 8, -3, 1, 9, 2]),
    "A": sympy.Matrix([[1, 4], [-2, 3], [5, 2]]),
    "B": sympy.Matrix([[3, -1, 2, 6, 1], [-4, 5, 7, 1, 2]]),
    "s": sympy.Rational(3, 2),
    "between": Lambda(t, t),
    "after": Lambda(t, 7 * t),
}
SCALARS = {**CONTROL, "X": ONE, "W": ONE, "s": sympy.Integer(1)}

CLAIM = Claim(
    id="C01",
    title="A LoRA layer in two branches",
    latex=r"X(W + sAB) = XW + s(XA)B",
    hypotheses={
        "inner size": Hypothesis(
            "A has r columns, as B has rows", lambda v: v["A"].cols == v["B"].rows
        ),
        "rows of A": Hypothesis("A has W's rows", lambda v: v["A"].rows == v["W"].rows),
        "columns of B": Hypothesis("B has W's columns", lambda v: v["B"].cols == v["W"].cols),
        "inputs": Hypothesis(
            "an input has as many numbers as W rows", lambda v: v["X"].cols == v["W"].rows
        ),
        "linear adapter": Hypothesis(
            "no function is applied between A and B", lambda v: v["between"](t) == t
        ),
        "additive afterwards": Hypothesis(
            "what is applied to the outputs is additive",
            lambda v: sympy.simplify(v["after"](t + u) - v["after"](t) - v["after"](u)) == 0,
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "inner size": {**CONTROL, "B": sympy.ones(3, 5)},
        "rows of A": {**CONTROL, "A": sympy.ones(2, 2)},
        "columns of B": {**CONTROL, "B": sympy.ones(2, 4)},
        "inputs": {**CONTROL, "X": sympy.ones(2, 4)},
        "linear adapter": {**SCALARS, "A": -ONE, "B": ONE, "between": RELU},
        "additive afterwards": {**SCALARS, "A": ONE, "B": -ONE, "after": RELU},
    },
    idle=("the rank r is small",),
    cited=("the matrix product is bilinear and associative (the kernel's normal form)",),
    source="thesis, table 1",
)
