"""A softmax head adapted at rank r loses at most a quarter of the squared tail that it leaves out.

Let `W*` be a stationary point of the risk R, without loss weights above 1, and `D = W* - W`. Let
`T^2 = E[x'x]`, T symmetric. For every v some AB of rank r has
`R(W + AB) - R(W*) <= (1/4) sum_{i>r} sigma_i(T (D + v 1'))^2`; if `r >= K - 1`, some v makes it 0.
Stationary or not, some AB changes the loss at each x by at most `sqrt 2 |x| sigma_{r+1}(D)`.

Proof. In the logits the loss has gradient `p - e_y`, of squared norm at most `2 (1 - p_y)^2`, and
Hessian `diag(p) - pp'`, at most I/2: what remains is a sum of squares. Then Taylor's formula, whose
linear term is 0, for `AB = N V V'`, with `N = D + v 1'` and V the first r right singular vectors of
`TN`. A shift `v 1'` of the head changes no probability.
"""

from typing import Any

import numpy as np
import sympy
from sympy import Matrix, Rational

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, square_norm, symbol, trace, zero

z, p, u = (sympy.IndexedBase(name, real=True) for name in "zpu")
d, k, r, q = sizes("d k r q")
i, j = sympy.symbols("i j", integer=True)


def derivatives() -> bool:
    """For any K: `d/dz_m log sum exp z = p_m`, and `d p_m / dz_l = p_m ([l = m] - p_l)`."""
    j, m, o, rest = sizes("j m o rest")
    whole = sympy.Sum(sympy.exp(z[j]), (j, 1, m + o + rest))  # so that m and o are among 1 to K
    p_m, p_o = sympy.exp(z[m]) / whole, sympy.exp(z[o]) / whole
    slope = sympy.diff(sympy.log(whole), z[m]).doit() - p_m
    bend = sympy.diff(p_m, z[o]).doit() - p_m * (sympy.KroneckerDelta(m, o) - p_o)
    return bool(sympy.simplify(slope) == 0 and sympy.simplify(bend) == 0)


def total(summand: Any, index: Any) -> Any:
    """`sum_{index=1}^k summand`, multiplied out, what is free of the index before each sum."""
    terms = sympy.expand(summand).as_ordered_terms()
    apart = [t.as_independent(index, as_Add=False) for t in terms]
    return sum(c * sympy.Sum(rest.subs(index, i), (i, 1, k)).doit() for c, rest in apart)


def off_diagonal(pairs: Any) -> Any:
    """The sum over all i != j."""
    return total(total(pairs, j), i) - total(pairs.subs(j, i), i)


def gradient_certificate() -> bool:
    """Over the classes but y: `2 (1 - p_y)^2 - |p - e_y|^2 = sum_{i != j} p_i p_j`."""
    wrong = total(p[i], i)  # 1 - p_y
    gap = 2 * wrong**2 - (wrong**2 + total(p[i] ** 2, i))
    return bool(sympy.expand(gap - off_diagonal(p[i] * p[j])) == 0)


def hessian_certificate() -> bool:
    """`|u|^2/2 - u'Hu = 2 sum_i (p_i - 1/2)^2 u_i^2 + sum_{i != j} p_i p_j (u_i + u_j)^2 / 2`."""
    form = total(p[i] * u[i] ** 2, i) - total(p[i] * u[i], i) ** 2
    squares = total(2 * (p[i] - Rational(1, 2)) ** 2 * u[i] ** 2, i)
    squares += off_diagonal(p[i] * p[j] * (u[i] + u[j]) ** 2 / 2)
    gap = sympy.expand(total(u[i] ** 2, i) / 2 - form - squares)
    return bool(sympy.expand(gap.subs(total(p[i], i), 1)) == 0)


def matrix_steps() -> dict[str, bool]:
    """What is left of the update, in the norm of the inputs; and at one input."""
    W, D, N, T = symbol("W*", d, k), symbol("D", d, k), symbol("N", d, k), symbol("T", d, d, True)
    A, B, v = symbol("A", d, r), symbol("B", r, k), symbol("v", d, 1)
    o, x = symbol("1", k, 1), symbol("x", 1, d)
    U1, S1, V1 = symbol("U1", d, r), symbol("S1", r, r), symbol("V1", k, r)
    U2, S2, V2 = symbol("U2", d, q), symbol("S2", q, q), symbol("V2", k, q)
    left = U2 @ S2 @ V2.T
    rules = {"V1' V1": identity(r), "V2' V1": zero(q, r), "U2' U2": identity(q)}
    rules |= {"V2' V2": identity(q), "T N": U1 @ S1 @ V1.T + left}
    rest, seen = N - N @ V1 @ V1.T, x @ U2
    at_x, unseen = x @ left, x - seen @ U2.T
    head, missed = W - D + A @ B, A @ B - (D + v @ o.T)
    moment = (missed.T @ x.T @ x @ missed).rewrite({"x' x": T @ T})
    square = (left.T @ left).rewrite(rules)
    return {
        "W + AB = W* + (AB - (D + v 1')) + v 1'": head == W + missed + v @ o.T,
        "E|x m|^2 = |T m|^2": square_norm(T @ missed) == trace(moment),
        "N = D + v 1', AB = N V_1 V_1': T (N - AB) is the tail": (T @ rest).rewrite(rules) == left,
        "|tail|^2 = |S_2|^2": trace(square) == trace(S2.T @ S2 @ V2.T @ V2)
        and (S2.T @ S2 @ V2.T @ V2).rewrite(rules) == S2.T @ S2,
        "|x tail|^2 = y S_2 S_2' y', y = x U_2": (at_x @ at_x.T).rewrite(rules)
        == seen @ S2 @ S2.T @ seen.T,
        "|x|^2 - |y|^2 is a square": (unseen @ unseen.T).rewrite(rules) == x @ x.T - seen @ seen.T,
    }


def sampled() -> bool:
    """At 400 random inputs and heads: the loss at x changes by at most `sqrt 2 |x| sigma_{r+1}`."""
    chance = np.random.default_rng(11)

    def one() -> bool:
        rows, classes = chance.integers(2, 6, size=2)
        W, D = chance.normal(size=(2, rows, classes)) * chance.choice([0.1, 1, 5])
        x, y, r = chance.normal(size=rows), chance.integers(classes), chance.integers(2)
        left, sigma, right = np.linalg.svd(D, full_matrices=False)
        heads = (W + D, W + (left[:, :r] * sigma[:r]) @ right[:r])
        full, cut = (np.logaddexp.reduce(x @ M) - (x @ M)[y] for M in heads)
        return bool(abs(full - cut) <= np.sqrt(2) * np.linalg.norm(x) * sigma[r])

    return all(one() for _ in range(400))


def prove() -> list[Step]:
    """Derivatives, their bounds, Taylor's remainder, what truncation leaves; samples."""
    t, half = sympy.Symbol("t"), Rational(1, 2)
    even = Matrix([half, half])
    H = sympy.diag(*even) - even * even.T
    remainder = sympy.integrate((1 - t) * half, (t, 0, 1))
    steps = {
        "the loss's derivatives are p - e_y and diag(p) - pp'": derivatives(),
        "|p - e_y|^2 <= 2 (1 - p_y)^2": gradient_certificate(),
        "diag(p) - pp' <= I/2": hessian_certificate(),
        "Taylor's remainder: int (1 - t)/2 dt = 1/4": remainder == half**2,
        **matrix_steps(),
    }
    return [
        *(Step(name, Scope.SYMBOLIC, ok) for name, ok in steps.items()),
        Step("I/2 is reached at p = (1/2, 1/2)", Scope.WITNESS, max(H.eigenvals()) == half),
        Step("400 random heads", Scope.SAMPLED, sampled()),
    ]


def weights(values: Instance) -> Matrix:
    """Of every input and class: the input's mass, times the class's probability and loss weight."""
    return sympy.diag(*values["mass"]) * values["law"] * sympy.diag(*values["loss weights"])


def risk(values: Instance, W: Matrix) -> Any:
    """The mean of the weighted loss."""
    logits = values["X"] * W
    norms = [sympy.log(sum(map(sympy.exp, logits.row(n)))) for n in range(logits.rows)]
    losses = [norm - z for n, norm in enumerate(norms) for z in logits.row(n)]
    return sum(w * loss for w, loss in zip(weights(values), losses, strict=True))


def stationary(values: Instance) -> bool:
    """The risk's gradient at `W*` is 0."""
    entries = sympy.symbols(f"w:{len(values['W*'])}")
    value = risk(values, Matrix(*values["W*"].shape, entries))
    at = dict(zip(entries, values["W*"], strict=True))
    return all(sympy.simplify(sympy.diff(value, w).subs(at)) == 0 for w in entries)


def truncated(values: Instance) -> tuple[Matrix, Any]:
    """`NVV'`, V the first r eigenvectors of `N' E[x'x] N`, N = DP; the other eigenvalues' sum."""
    X, D, r = values["X"], values["D"], values["r"]
    N = D - D * sympy.ones(3) / 3
    pairs = (N.T * X.T * sympy.diag(*values["mass"]) * X * N).eigenvects()
    pairs.sort(key=lambda pair: -pair[0])
    kept = [w * w.T / (w.T * w)[0] for _, _, (w, *_) in pairs[:r]]
    return N * sum(kept, sympy.zeros(3)), sum(value for value, _, _ in pairs[r:])


def allowed(left_out: Any) -> Any:
    """Of excess risk, when the squared singular values left out add up to so much."""
    return left_out / 4


def holds(values: Instance) -> bool:
    """The excess risk is at most what is allowed (30 digits)."""
    best, (AB, left_out) = values["W*"], truncated(values)
    excess = risk(values, best - values["D"] + AB) - risk(values, best)
    return bool((excess - allowed(left_out)).evalf(30) <= 0)


X = Matrix([[1, 2], [3, 1]])
LAW = Matrix([[49, 49, 2], [25, 50, 25]]) / 100
APART = Matrix([[1, -1, 0], [Rational(1, 2), Rational(1, 2), -1]])  # X D, of orthogonal rows
CONTROL: dict[str, Any] = {
    "X": X,
    "mass": (Rational(1, 3), Rational(2, 3)),
    "law": LAW,
    "loss weights": (1, 1, 1),
    "W*": X.inv() * LAW.applyfunc(sympy.log),
    "D": X.inv() * APART + Matrix([2, 5]) * sympy.ones(1, 3),
    "r": 1,
}

CLAIM = Claim(
    id="C11",
    title="Excess risk of a head of rank r",
    latex=r"R(W + AB) - R(W^*) \le \tfrac14 \sum_{i > r}"
    r" \sigma_i\bigl(\Sigma^{1/2}(D + v\mathbf 1^\top)\bigr)^2",
    hypotheses={
        "stationary": Hypothesis("the risk's gradient is 0 at W*", stationary),
        "loss weights": Hypothesis(
            "no class weight above 1", lambda v: all(w <= 1 for w in v["loss weights"])
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "stationary": {**CONTROL, "law": Matrix([[98, 1, 1], [25, 50, 25]]) / 100},
        "loss weights": {**CONTROL, "loss weights": (2, 2, 2)},
    },
    cited=(
        "C10: what the first r terms of a singular value decomposition leave; its existence",
        "C07: for some v the rank of D + v 1' is at most K - 1, so that r = K - 1 loses nothing",
        "Taylor's formula with the integral remainder; the mean value theorem; Cauchy-Schwarz",
        "|y S_2| <= sigma_{r+1} |y| for a diagonal S_2 of the smaller singular values",
    ),
    not_proved=("any bound for adapters inside attention or below a non-linearity",),
    source="thesis, equations (7)-(9), AB on the output layer",
)
