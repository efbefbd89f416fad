"""No matrix of rank r is nearer to M than the first r terms of its singular value decomposition.

For `M = U S V'`, with singular values in falling order, every X of rank at most r leaves
`|M - X|^2 >= sum_{i>r} sigma_i^2` (Frobenius norm), and `N = sum_{i<=r} sigma_i u_i v_i'` leaves
just that. It is what a LoRA update of rank r must miss of a full update M, however it is trained.

Proof. X = AB with BB' = I_r, so `|M - X|^2 = |M|^2 - |MB'|^2 + |A - MB'|^2`. With Q = BV, still
QQ' = I_r, `|MB'|^2 = sum_i p_i l_i`, where `l_i = sigma_i^2` and p is the diagonal of the projector
Q'Q: it lies in [0, 1] and adds up to r. A linear programme bounds the sum by `l_1 + ... + l_r`.
"""

from itertools import product
from typing import Any

import sympy
from sympy import Matrix, Rational

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, square_norm, symbol, trace, zero

d, k, r, q = sizes("d k r q")


def total(summand: Any, first: Any, last: Any) -> Any:
    """`sum_{i=first}^{last} summand`, multiplied out, factors without i before each sum."""
    i = sympy.Symbol("i", integer=True)
    parts = [t.as_independent(i, as_Add=False) for t in sympy.expand(summand).as_ordered_terms()]
    return sum(c * sympy.Sum(rest, (i, first, last)).doit() for c, rest in parts)


def certificate() -> bool:
    """For any r and k the gap to `l_1 + ... + l_r` is a sum of non-negative products."""
    i = sympy.Symbol("i", integer=True)
    w, p = sympy.IndexedBase("l"), sympy.IndexedBase("p")

    def whole(summand: Any) -> Any:
        return total(summand, 1, r) + total(summand, r + 1, k)

    gap = total(w[i], 1, r) - whole(p[i] * w[i])
    inside = total((1 - p[i]) * (w[i] - w[r]), 1, r)
    outside = total(p[i] * (w[r] - w[i]), r + 1, k)
    return bool(sympy.expand(gap - inside - outside - w[r] * (r - whole(p[i]))) == 0)


def prove() -> list[Step]:
    """The bound: complete the square, diagonalise, look at the projector, bound; then the best."""
    A, B, M, Q = symbol("A", d, r), symbol("B", r, k), symbol("M", d, k), symbol("Q", r, k)
    U, S, V, e = symbol("U", d, d), symbol("S", d, k), symbol("V", k, k), symbol("e", k, 1)
    rows = {"B B'": identity(r), "Q Q'": identity(r), "e' e": identity(1)}
    turns = {"U' U": identity(d), "V' V": identity(k), "V V'": identity(k)}
    gap = ((M - A @ B) @ (M - A @ B).T).rewrite(rows)
    parts = square_norm(M) - square_norm(M @ B.T) + square_norm(A - M @ B.T)
    svd, diagonal = U @ S @ V.T, (S.T @ S)
    gram = (svd.T @ svd).rewrite(turns)
    BV, projector = B @ V, Q.T @ Q
    seen, unseen = projector @ e, (identity(k) - projector) @ e
    U1, S1, V1 = symbol("U1", d, r), symbol("S1", r, r), symbol("V1", k, r)
    U2, S2, V2 = symbol("U2", d, q), symbol("S2", q, q), symbol("V2", k, q)
    left = U2 @ S2 @ V2.T
    best = (U1 @ S1 @ V1.T + left) @ V1 @ V1.T
    halves = {"V1' V1": identity(r), "V2' V1": zero(q, r), "U2' U2": identity(q)}
    halves |= {"V2' V2": identity(q)}
    square = (left.T @ left).rewrite(halves)
    steps = {
        "|M - AB|^2 = |M|^2 - |MB'|^2 + |A - MB'|^2": trace(gap) == parts,
        "M'M = V S'S V'": gram == V @ diagonal @ V.T,
        "|M|^2 = |S|^2": trace(gram) == trace(diagonal @ V.T @ V)
        and (diagonal @ V.T @ V).rewrite(turns) == diagonal,
        "|MB'|^2 = tr(S'S Q'Q), Q = BV": trace(B @ gram @ B.T) == trace(diagonal @ BV.T @ BV),
        "QQ' = I_r": (BV @ BV.T).rewrite(turns).rewrite(rows) == identity(r),
        "sum p = tr(Q'Q) = r": trace(projector) == trace(Q @ Q.T)
        and trace((Q @ Q.T).rewrite(rows)) == r * trace(identity(1)),
        "p_i = |Q'Q e_i|^2 >= 0": (seen.T @ seen).rewrite(rows) == e.T @ projector @ e,
        "1 - p_i = |(I - Q'Q) e_i|^2 >= 0": (unseen.T @ unseen).rewrite(rows)
        == identity(1) - e.T @ projector @ e,
        "the linear programme's certificate": certificate(),
        "N = (M V_1) V_1', of r columns": best.rewrite(halves) == U1 @ S1 @ V1.T,
        "|M - N|^2 = |S_2|^2": trace(square) == trace(S2.T @ S2 @ V2.T @ V2)
        and (S2.T @ S2 @ V2.T @ V2).rewrite(halves) == S2.T @ S2,
    }
    return [
        *(Step(name, Scope.SYMBOLIC, ok) for name, ok in steps.items()),
        Step("25 rows B, the best A for each", Scope.WITNESS, search()),
    ]


def error(M: Matrix, X: Matrix) -> Any:
    """`|M - X|^2`."""
    return sum(x**2 for x in M - X)


def full(values: Instance) -> Matrix:
    """`M = U S V'` of the instance, whose S is square."""
    return values["U"] * sympy.diag(*values["sigma"]) * values["V"].T


def holds(values: Instance) -> bool:
    """X leaves at least the tail, and the first r terms leave just the tail."""
    rank, sigma = values["r"], values["sigma"]
    cut = {**values, "sigma": sigma[:rank] + (0,) * (len(sigma) - rank)}
    tail = sum(x**2 for x in sigma[rank:])
    M = full(values)
    return bool(error(M, values["X"]) >= tail and error(M, full(cut)) == tail)


V = Matrix([[1, 2], [2, 1], [2, -2]]) / 3
U = Matrix([[3, -4], [4, 3]]) / 5
CONTROL = {"U": U, "sigma": (4, 3), "V": V, "r": 1, "X": Matrix([[1], [1]]) * Matrix([[1, 1, 1]])}
SHORT = {**CONTROL, "U": Matrix([[3, 1], [4, 2]]) / 5}


def search() -> bool:
    """Of the best `AB` for 25 rows B the nearest to the control leaves just the tail."""
    M, few = full(CONTROL), [Rational(n, 2) for n in range(-2, 3)]
    rows = [Matrix([[b, c, 1]]) for b, c in product(few, repeat=2)]
    return bool(min(error(M, M * B.T * B / error(B, 0 * B)) for B in rows) == 9)


def orthonormal(values: Instance) -> bool:
    """The columns of U and those of V."""
    return all((m.T * m).is_Identity for m in (values["U"], values["V"]))


CLAIM = Claim(
    id="C10",
    title="Eckart-Young in the Frobenius norm",
    latex=r"\min_{\operatorname{rank} X \le r} \|M - X\|_F^2 = \sum_{i > r} \sigma_i^2",
    hypotheses={
        "rank": Hypothesis("rank X <= r", lambda v: v["X"].rank() <= v["r"]),
        "order": Hypothesis(
            "the singular values fall", lambda v: list(v["sigma"]) == sorted(v["sigma"])[::-1]
        ),
        "orthonormal": Hypothesis("U and V have orthonormal columns", orthonormal),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "rank": {**CONTROL, "X": full(CONTROL)},
        "order": {**CONTROL, "sigma": (3, 4), "X": full({**CONTROL, "sigma": (0, 4)})},
        "orthonormal": {**SHORT, "X": full({**SHORT, "sigma": (4, 0)})},
    },
    cited=(
        "every real matrix has a singular value decomposition",
        "tr(LP) = sum l_i p_i for a diagonal L",
        "X of rank <= r <= k is AB with BB' = I_r (Gram-Schmidt)",
    ),
    not_proved=("the spectral norm, and Mirsky's other norms",),
    source="thesis, Delta W approximated by AB",
)
