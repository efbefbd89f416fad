"""Two adapters of full rank have the same update exactly when a change of basis relates them.

For invertible G, `(AG)(G^-1 B) = AB`. Conversely, if `AB = CD` and A and B have rank r, there is
one G with `C = AG` and `D = G^-1 B`. So a loss sees A and B only up to the group GL(r): no optimum
(A, B) is unique or isolated, and the set of optima is unbounded, since it holds `(tA, B/t)`.

Proof. Let `A+ A = I = B B+`, `E = AB - CD`, `G = A+ C`, `H = D B+`. For all C and D,
`I - GH = A+ E B+` and `B - GD = A+ E`; for E = 0 therefore GH = I, so HG = I, both being square,
and `D = HB`. From `C - AG = C(I - HG) - E B+ G` follows `C = AG`, and `G = A+ (AG)` is unique.
The square norm of `(tA, B/t)` is `t^2 |A|^2 + |B|^2 / t^2`, without bound as t grows.
"""

import sympy

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, square_norm, symbol

t = sympy.Symbol("t", positive=True)


def prove() -> list[Step]:
    """Both directions, uniqueness and the unbounded orbit, for all sizes."""
    d, k, r = sizes("d k r")
    A, B, C, D = symbol("A", d, r), symbol("B", r, k), symbol("C", d, r), symbol("D", r, k)
    one, other = symbol("G", r, r), symbol("H", r, r)
    left, right = symbol("A+", r, d), symbol("B+", k, r)
    rules = {"A+ A": identity(r), "B B+": identity(r)}
    E = A @ B - C @ D
    G, H = left @ C, D @ right
    changed = ((A @ one) @ (other @ B)).rewrite({"G H": identity(r)})
    rest = C @ (identity(r) - H @ G) - E @ right @ G
    norm = square_norm(t * A) + square_norm(1 / t * B)
    a, b = sympy.Symbol("a", positive=True), sympy.Symbol("b", nonnegative=True)
    S = Scope.SYMBOLIC
    return [
        Step("(AG)(HB) = AB where GH = I", S, changed == A @ B),
        Step("I - GH = A+ E B+", S, (left @ E @ right).rewrite(rules) == identity(r) - G @ H),
        Step("B - GD = A+ E", S, (left @ E).rewrite(rules) == B - G @ D),
        Step("C - AG = C(I - HG) - E B+ G", S, rest.rewrite(rules) == C - A @ G),
        Step("G = A+ (AG) is unique", S, (left @ (A @ one)).rewrite(rules) == one),
        Step("(tA)(B/t) = AB", S, (t * A) @ (1 / t * B) == A @ B),
        Step(
            "|tA|^2 + |B/t|^2 = t^2 |A|^2 + |B|^2 / t^2",
            S,
            norm == t**2 * square_norm(A) + t**-2 * square_norm(B),
        ),
        Step("which has no bound", S, sympy.limit(t**2 * a + b / t**2, t, sympy.oo) == sympy.oo),
    ]


def change_of_basis(v: Instance) -> bool:
    """There is exactly one G with `C = AG` and `GD = B`, and it is invertible."""
    r = v["A"].cols
    unknown = sympy.Matrix(r, r, sympy.symbols(f"g:{r * r}"))
    equations = [*(v["A"] * unknown - v["C"]), *(unknown * v["D"] - v["B"])]
    solutions = sympy.linsolve(equations, list(unknown))
    if solutions.is_empty or solutions.free_symbols:
        return False
    return bool(sympy.Matrix(r, r, solutions.args[0]).det() != 0)


def holds(v: Instance) -> bool:
    """G changes nothing, (C, D) is (A, B) in another basis, and `(tA, B/t)` has no bound."""
    A, B = v["A"], v["B"]
    unchanged = (A * v["G"]) * (v["H"] * B) == A * B
    norms = sum(x**2 for x in t * A) + sum(x**2 for x in B / t)
    return unchanged and change_of_basis(v) and sympy.limit(norms, t, sympy.oo) == sympy.oo


A, B = sympy.Matrix([[2, 1], [-1, 3], [5, 4], [7, -2]]), sympy.Matrix([[3, 1, -2], [4, 6, 5]])
G, BASIS = sympy.Matrix([[2, 3], [1, 4]]), sympy.Matrix([[1, 5], [2, -3]])
CONTROL = {"A": A, "B": B, "C": A * BASIS, "D": BASIS.inv() * B, "G": G, "H": G.inv()}
ONE, NONE, TWO = sympy.eye(1), sympy.zeros(1), 2 * sympy.eye(1)

CLAIM = Claim(
    id="C05",
    title="Adapters of the same update",
    latex=r"AB = CD \iff \exists!\, G \in GL(r)\colon C = AG,\ D = G^{-1}B",
    hypotheses={
        "rank of A": Hypothesis("A has rank r", lambda v: v["A"].rank() == v["A"].cols),
        "rank of B": Hypothesis("B has rank r", lambda v: v["B"].rank() == v["B"].rows),
        "same update": Hypothesis("AB = CD", lambda v: v["A"] * v["B"] == v["C"] * v["D"]),
        "inverse": Hypothesis("GH = I", lambda v: v["G"] * v["H"] == sympy.eye(v["A"].cols)),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "rank of A": {"A": NONE, "B": ONE, "C": ONE, "D": NONE, "G": TWO, "H": TWO.inv()},
        "rank of B": {"A": ONE, "B": NONE, "C": NONE, "D": ONE, "G": TWO, "H": TWO.inv()},
        "same update": {**CONTROL, "D": B},
        "inverse": {**CONTROL, "G": sympy.diag(1, 0), "H": sympy.diag(1, 0)},
    },
    cited=(
        "a matrix of full column rank has a left inverse, one of full row rank a right inverse",
        "a one-sided inverse of a square matrix is its inverse",
    ),
    source="thesis, equation (3), where the optimum is spoken of as one point",
)
