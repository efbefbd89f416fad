"""The optimal rank-r update is the same in every domain if and only if the whole one has rank r.

Let inputs x of a domain have the second moment `Sigma = E x'x`, and let all domains share the
update M (d x k) that would fit them: only the inputs shift. An adapter of rank r is judged by
`E |x(M - AB)|^2 = |S(M - AB)|^2`, where `S'S = Sigma`. If rank M <= r, M is the optimum, and the
only one wherever Sigma is positive definite. If rank M > r >= 1, no update of rank r is optimal in
all domains: one that is in a domain Sigma is not in `Sigma + t u u'`, for some u and every t > 0.
Here low rank and domain shift meet: an adapter spends its rank on what is frequent in training.

Proof. Where AB is optimal, `D = A' Sigma (M - AB)` vanishes, as B + tD would do better for small t.
In `Sigma + t u u'` it is `t (A'u)(u'(M - AB))`. Neither A' nor (M - AB)' is 0, so that some u is in
neither kernel: one of v, w and v + w, if v is not in the first and w not in the second. (A is not 0
in a full-rank factorisation of X, nor is X itself: from X = 0 some step gains.) No matrix is
supposed to be diagonal. The instances use that the optimum is M times the projector on the first r
eigenvectors of M' Sigma M.
"""

import sympy
from sympy import Expr, GramSchmidt, Matrix, Rational, diag, eye, symbols

from proofs import kernel
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, square_norm, symbol, trace, zero

Domain = tuple[Matrix, Matrix]
"""The second moment of the inputs, and the update wanted."""
d, k, r, n = kernel.sizes("d k r n")
S, M, A, B = symbol("S", n, d), symbol("M", d, k), symbol("A", d, r), symbol("B", r, k)
Sigma, E = symbol("Sigma", d, d, symmetric=True), symbol("E", d, k)
u, v, w, e = symbol("u", d, 1), symbol("v", d, 1), symbol("w", d, 1), symbol("e", k, 1)
t = sympy.Symbol("t", positive=True)


def descent() -> bool:
    """|S(M - A(B + tD))|^2 = |S(M - AB)|^2 - 2t |D|^2 + t^2 |SAD|^2 for D = A'S'S(M - AB)."""
    D = A.T @ S.T @ S @ (M - A @ B)
    moved = square_norm(S @ (M - A @ (B + t * D)))
    kept, curved = square_norm(S @ (M - A @ B)), square_norm(S @ A @ D)
    return bool(moved == kept - 2 * t * square_norm(D) + t**2 * curved)


def turned() -> bool:
    """D moves by t (A'u)(u'E) when t u u' is added to Sigma, E being M - AB."""
    moved = A.T @ (Sigma + t * (u @ u.T)) @ E
    return bool(moved - A.T @ Sigma @ E == t * ((A.T @ u) @ (u.T @ E)))


def in_neither_kernel() -> bool:
    """If A'w = 0 and E'v = 0, then v + w has the images A'v and E'w."""
    rules, both = {"A' w": zero(r, 1), "E' v": zero(k, 1)}, v + w
    return (A.T @ both).rewrite(rules) == A.T @ v and (E.T @ both).rewrite(rules) == E.T @ w


def outer_product_is_not_zero() -> bool:
    """|a b'|^2 = |a|^2 |b|^2, at sizes 3 and 4."""
    a, b = Matrix(symbols("a:3")), Matrix(symbols("b:4"))
    return bool(sympy.expand(sum(x**2 for x in a * b.T) - a.dot(a) * b.dot(b)) == 0)


def as_truncation() -> bool:
    """The trace of E' S'S E is |SE|^2, and S(M - AB) is SM less the product of SA and B."""
    weighted = trace(E.T @ (S.T @ S) @ E) == square_norm(S @ E)
    return weighted and S @ (M - A @ B) == S @ M - (S @ A) @ B


def spectrum(domain: Domain) -> list[tuple[Expr, Matrix]]:
    """Eigenvalues and orthonormal eigenvectors of M' Sigma M, the greatest first."""
    moment, update = domain
    spaces = (update.T * moment * update).eigenvects()
    pairs = [(value, x) for value, _, basis in spaces for x in GramSchmidt(basis, True)]
    return sorted(pairs, key=lambda pair: pair[0], reverse=True)


def optimum(domain: Domain, rank: int) -> Matrix:
    """The best update of that rank."""
    top = [x * x.T for _, x in spectrum(domain)[:rank]]
    return domain[1] * sum(top, start=sympy.zeros(domain[1].cols))


def excess(X: Matrix, domain: Domain, rank: int) -> Expr:
    """E |x(M - X)|^2 above what rank r can reach, the sum of the other eigenvalues."""
    moment, update = domain
    gap = update - X
    return sympy.simplify(
        (gap.T * moment * gap).trace() - sum(value for value, _ in spectrum(domain)[rank:])
    )


def holds(values: Instance) -> bool:
    """The optimum of the first domain is one in every other."""
    rank, (first, *others) = values["r"], values["domains"]
    best = optimum(first, rank)
    return all(excess(best, other, rank) == 0 for other in others)


def prove() -> list[Step]:
    """Both directions for all sizes; then the optimum of the instances, and where it jumps."""
    full = square_norm((S @ (M - A @ B)).rewrite({"A B": M}))
    recovered = (symbol("R", d, n) @ (S @ E)).rewrite({"R S": identity(d)})
    column = Sigma @ M @ e
    gain = column.T @ Sigma @ M @ e
    jump = [optimum((diag(x, 1 - x), eye(2)), 1) for x in SHARES]
    tie = [excess(X, (eye(2) / 2, eye(2)), 1) for X in ENDS]
    best = optimum((SOURCE, WIDE), 1)
    still = (best.T * SOURCE * (WIDE - best)).is_zero_matrix
    lost = [excess(best, (SOURCE + x * x.T / 9, WIDE), 1) for x in TURNS]
    return [
        Step("E |x(M - AB)|^2 = |SM - (SA)B|^2", Scope.SYMBOLIC, as_truncation()),
        Step(
            "rank M <= r: M has loss 0 in every domain",
            Scope.SYMBOLIC,
            full == square_norm(zero(n, k)),
        ),
        Step(
            "and S(M - X) = 0 gives X = M if S has a left inverse", Scope.SYMBOLIC, recovered == E
        ),
        Step("a step along D = A' Sigma (M - AB) gains", Scope.SYMBOLIC, descent()),
        Step("at X = 0 some D is not 0", Scope.SYMBOLIC, gain == column.T @ column),
        Step("t u u' turns D by t (A'u)(u'E)", Scope.SYMBOLIC, turned()),
        Step("some u is in neither kernel", Scope.SYMBOLIC, in_neither_kernel()),
        Step("so that D is not 0 any more", Scope.FIXED, outer_product_is_not_zero()),
        Step(
            "M = I, Sigma = diag(w, 1 - w): the optimum jumps at w = 1/2",
            Scope.WITNESS,
            jump == ENDS and tie == [0] * 4,
        ),
        Step(
            "no diagonal matrix: the optimum has D = 0, and loses in four turned domains",
            Scope.WITNESS,
            still and excess(best, (SOURCE, WIDE), 1) == 0 and bool(min(lost) > 0),
        ),
    ]


SHARES = (Rational(1, 8), Rational(3, 8), Rational(5, 8), Rational(7, 8))
ENDS = [diag(0, 1), diag(0, 1), diag(1, 0), diag(1, 0)]
TURNS = tuple(Matrix(u) for u in ((1, 0, 0), (0, 1, 0), (1, -1, 2), (0, 2, 1)))
SOURCE = Matrix([[5, 1, -2], [1, 2, -1], [-2, -1, 2]])
TARGETS = (Matrix([[2, -1, 0], [-1, 3, 2], [0, 2, 5]]), Matrix([[1, 1, 1], [1, 2, 2], [1, 2, 3]]))
NARROW = Matrix([1, 2, -1]) * Matrix([[3, -2]])
WIDE = Matrix([[1, 2], [0, 1], [-1, 1]])


def domains(source: Matrix, update: Matrix) -> tuple[Domain, ...]:
    """A source and two targets that share the update."""
    return tuple((moment, update) for moment in (source, *TARGETS))


CLAIM = Claim(
    id="C17",
    title="Low rank and covariate shift",
    latex=r"\arg\min_{AB} \lVert \Sigma^{1/2}(M - AB) \rVert_F \text{ is the same for all } \Sigma"
    r" \iff \operatorname{rank} M \le r",
    hypotheses={
        "realisable": Hypothesis(
            "the update wanted has rank at most r",
            lambda v: all(update.rank() <= v["r"] for _, update in v["domains"]),
        ),
        "all directions": Hypothesis(
            "the second moment of the first domain is positive definite",
            lambda v: v["domains"][0][0].is_positive_definite,
        ),
        "covariate shift": Hypothesis(
            "all domains want the same update; only their inputs differ",
            lambda v: all(update == v["domains"][0][1] for _, update in v["domains"]),
        ),
    },
    holds=holds,
    prove=prove,
    control={"r": 1, "domains": domains(SOURCE, NARROW)},
    models={
        "realisable": {"r": 1, "domains": domains(SOURCE, WIDE)},
        "all directions": {
            "r": 1,
            "domains": domains(6 * eye(3) - NARROW[:, 0] * NARROW[:, 0].T / 9, NARROW),
        },
        "covariate shift": {
            "r": 1,
            "domains": ((SOURCE, NARROW), (TARGETS[0], WIDE[:, :1] * Matrix([[1, 1]]))),
        },
    },
    cited=("Eckart and Young (C10), for the optimum in the instances; not for the proof",),
    not_proved=(
        "anything of the kind for cross-entropy in place of the square",
        "that training finds the optimum",
        "that two given domains differ enough to have different optima",
    ),
    source="S6, and the domain adaptation of the title, which the source does not link to the rank",
)
