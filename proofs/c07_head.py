"""A softmax head of K classes needs no adapter of more than K - 1 columns, whatever the update D.

An adapter `AB` of the d x K head has `r (d + K)` entries against `d K`, fewer exactly when
`r < dK / (d + K)`. So from `r = K - 1` on the probabilities of `W + D` are reached exactly, at less
cost for as long as `r` stays below that point; `K - 1` itself does when `d > K (K - 1)`.

Proof. Probabilities fix the logits up to one number an input, so D may be replaced by `D + v 1'`
and by nothing else. With `v = -D e_K` the last column vanishes and K - 1 columns remain. The least
rank of all `D + v 1'` is that of `DP`, `P = I - 11'/K`: `DP` is one of them, and each gives
`(D + v 1') P = DP`. Sigmoids fix the logits themselves: there the rank of D is needed, up to K.
"""

from fractions import Fraction
from itertools import product

import sympy
from sympy import Integer, Rational

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import Matrix, identity, sizes, symbol, zero

d, K, r = sizes("d K r")
D, N, v = symbol("D", d, K), symbol("N", d, K), symbol("v", d, 1)
e, o = symbol("e", K, 1), symbol("o", K, 1)
RULES = {"o' o": K * identity(1), "o' e": identity(1)}
"""o: all ones; e: the last unit vector."""
P, S = identity(K) - (1 / K) * (o @ o.T), identity(K) - e @ o.T
"""XP and XS: X less the mean of its columns, and less its last column."""


SIZES = [*product(range(1, 7), repeat=3), *((n, 768, 4) for n in range(1, 9))]
"""(r, d, K) at which the count is checked."""


def saved(d: int, K: int, r: int) -> int:
    """Entries of the head less those of an adapter of rank r."""
    return d * K - r * (d + K)


def equal(one: Matrix, other: Matrix) -> bool:
    """Equal by the rules."""
    return (one - other).rewrite(RULES) == zero(d, K)


def odds_are_differences() -> bool:
    """For any K: `p_i / p_m = exp(z_i - z_m)`, and adding t to all logits changes no p."""
    i, j, m = sizes("i j m")
    z, t = sympy.IndexedBase("z", real=True), sympy.Symbol("t", real=True)
    p = sympy.exp(z[i]) / sympy.Sum(sympy.exp(z[j]), (j, 1, K))
    moved = sympy.exp(z[i] + t) / sympy.Sum(sympy.exp(z[j] + t), (j, 1, K))
    odds = sympy.simplify(p / p.subs(i, m) - sympy.exp(z[i] - z[m]))
    return bool(odds == 0 and sympy.simplify(p - moved) == 0)


def rank_is_less_by_one(n: int) -> bool:
    """The determinant of an n x n `DP` is the zero polynomial; a minor of order n - 1 is not."""
    centre = sympy.eye(n) - sympy.ones(n) / n
    centred = sympy.Matrix(n, n, sympy.symbols(f"d:{n * n}")) * centre
    minor = centred[: n - 1, : n - 1].det()
    return bool(sympy.expand(centred.det()) == 0 and sympy.expand(minor) != 0)


def least_by_search() -> bool:
    """All 0-1 updates of size 2 x 3, all v of a grid: the least rank is that of `DP`."""
    shifts = [sympy.Matrix(c) for c in product([Rational(-n, 3) for n in range(4)], repeat=2)]
    updates = [sympy.Matrix(2, 3, entries) for entries in product((0, 1), repeat=6)]
    row, centre = sympy.ones(1, 3), sympy.eye(3) - sympy.ones(3) / 3
    return all(min((m + s * row).rank() for s in shifts) == (m * centre).rank() for m in updates)


def prove() -> list[Step]:
    """Cost; what probabilities fix; the least rank and an adapter of K - 1 columns."""
    by_ratio = saved(d, K, r) - (d + K) * (d * K / (d + K) - r)
    widest = saved(d, K, K - 1) - (d - K * (K - 1))
    cost = sympy.simplify(by_ratio) == 0 and sympy.expand(widest) == 0
    few = all((n * (d + k) < d * k) == (n < Rational(d * k, d + k)) for n, d, k in SIZES)
    steps = {
        "r (d + K) < dK means r < dK/(d + K); r = K - 1: d > K (K - 1)": cost,
        "probabilities fix the logits' differences and nothing else": odds_are_differences(),
        "(X - D) S = 0 gives XP = DP": equal(N @ S @ P, N @ P),
        "(D + v 1') P = DP": equal((D + v @ o.T) @ P, D @ P),
        "DP = D + v 1' with v = -D1/K": equal(D @ P, D + (-1 / K) * (D @ o) @ o.T),
        "DS = D + v 1' with v = -D e": equal(D @ S, D - (D @ e) @ o.T),
        "the last column of DS is 0": (D @ S @ e).rewrite(RULES) == zero(d, 1),
    }
    return [
        *(Step(name, Scope.SYMBOLIC, bool(ok)) for name, ok in steps.items()),
        *(Step(f"rank K - 1, d = K = {n}", Scope.FIXED, rank_is_less_by_one(n)) for n in (2, 3)),
        Step("the least rank by search", Scope.WITNESS, least_by_search()),
        Step("break-even at sizes up to 6, and of 768 x 4", Scope.WITNESS, few),
    ]


def softmax(z: sympy.Matrix) -> list[Fraction]:
    """In base 2, so that whole logits give rational probabilities."""
    powers = [Fraction(2) ** int(x) for x in z]
    return [x / sum(powers) for x in powers]


def sigmoids(z: sympy.Matrix) -> list[Fraction]:
    """One a class, in base 2."""
    return [1 / (1 + Fraction(2) ** -int(x)) for x in z]


def is_softmax(values: Instance) -> bool:
    """The outputs add up to 1 and their odds are the logits' differences."""
    rows = [values["head"].row(n) for n in range(values["head"].rows)]
    outputs = [(z, values["output"](z)) for z in rows]
    odds = (p[i] == p[0] * Fraction(2) ** int(z[i] - z[0]) for z, p in outputs for i in range(1, 3))
    return all(odds) and all(sum(p) == 1 for _, p in outputs)


def holds(values: Instance) -> bool:
    """D or D less its last column has rank <= r and D's outputs, with fewer entries in A and B."""
    W, D, r = values["head"], values["update"], values["rank"]

    def outputs(change: sympy.Matrix) -> list[list[Fraction]]:
        return [values["output"]((W + change).row(n)) for n in range(W.rows)]

    short = D - D[:, -1] * sympy.ones(1, W.cols)
    exact = any(X.rank() <= r and outputs(X) == outputs(D) for X in (D, short))
    return exact and bool(r * (W.rows + W.cols) < W.rows * W.cols)


HEAD = sympy.Matrix(7, 3, [1, 2, -1, 3, 1, 2, -2, 1, 4, 2, 5, 1, 1, -3, 2, 4, 1, 3, 2, -1, 1])
UPDATE = sympy.Matrix(7, 3, [2, 1, 4, 1, 3, 5, -1, 2, 1, 3, -2, 1, 2, 2, 5, 1, 4, -3, 5, 1, 2])
CONTROL = {"head": HEAD, "update": UPDATE, "rank": Integer(2), "output": softmax}

CLAIM = Claim(
    id="C07",
    title="A softmax head needs rank K - 1",
    latex=r"\min_v \operatorname{rank}(D + v\mathbf 1^\top) = \operatorname{rank}(DP) \le K - 1,"
    r"\quad r(d + K) < dK \iff r < dK/(d + K)",
    hypotheses={
        "rank": Hypothesis("r >= K - 1", lambda v: v["rank"] >= v["head"].cols - 1),
        "softmax": Hypothesis("the outputs are a softmax of the logits", is_softmax),
        "break-even": Hypothesis(
            "r < dK/(d + K)",
            lambda v: v["rank"] < Rational(len(v["head"]), sum(v["head"].shape)),
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "rank": {**CONTROL, "rank": Integer(1)},
        "softmax": {**CONTROL, "output": sigmoids},
        "break-even": {**CONTROL, "head": HEAD[:6, :], "update": UPDATE[:6, :]},
    },
    cited=("a product has no larger rank than its factors",),
    not_proved=("that training finds the exact adapter",),
    source="thesis, equations (7)-(9), the adapter on the output layer",
)
