"""The mean first step of an adapter is the same at every rank when the scale is alpha / sqrt r.

One step of gradient descent, with rates h_A and h_B, moves the scaled product `sAB` by
`-s^2 (h_A G B'B + h_B A A'G) + s^3 h_A h_B G B'A'G`. From B = 0 only h_B acts (so LoRA+ raises that
one), and the mean over a random A is `-h_B s^2 r sigma^2 G`: down the gradient, by a factor
`alpha^2 sigma^2 / r` with the usual `s = alpha / r` and `alpha^2 sigma^2` with `alpha / sqrt r`.

Proof. The product is expanded. `(A A')_ij` is a sum over r columns of `a_im a_jm`, whose mean is
`sigma^2` for i = j and 0 otherwise. Neither a mean of 0, nor independence, nor a Gaussian is used.
"""

from itertools import product

import sympy
from sympy import Matrix, Rational

from proofs import kernel
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import sizes, symbol, zero

RANKS = (1, 4)


def move() -> tuple[bool, bool]:
    """The whole step is as stated; from B = 0 the terms with h_A are gone."""
    d, r, k = sizes("d r k")
    s, h_A, h_B = sympy.symbols("s h_A h_B")
    A, G = symbol("A", d, r), symbol("G", d, k)

    def step(B: kernel.Matrix) -> kernel.Matrix:
        moved: kernel.Matrix = s * (A - h_A * s * G @ B.T) @ (B - h_B * s * A.T @ G) - s * A @ B
        return moved

    B = symbol("B", r, k)
    first = -(s**2) * (h_A * G @ B.T @ B + h_B * A @ A.T @ G)
    whole = step(B) == first + (s**3 * h_A * h_B) * G @ B.T @ A.T @ G
    return whole, step(zero(r, k)) == (-(s**2) * h_B) * A @ A.T @ G


def mean_of_product() -> bool:
    """`E[A A'G] = r sigma^2 G` for any r and d, entry by entry."""
    i, j, m, r, rest, column = sizes("i j m r rest column")
    sigma, g = sympy.Symbol("sigma"), sympy.IndexedBase("g")
    d = i + rest - 1  # so that row i is one of them
    moment = sigma**2 * sympy.KroneckerDelta(i, j)  # the mean of a_im a_jm
    columns = sympy.Sum(moment, (m, 1, r)).doit()
    entry = sympy.Sum(columns * g[j, column], (j, 1, d)).doit()
    return bool(sympy.simplify(entry - r * sigma**2 * g[i, column]) == 0)


def scales() -> bool:
    """`s^2 r sigma^2` for both scales, and for entries of deviation 1 / r."""
    r, alpha, sigma = sympy.symbols("r alpha sigma", positive=True)
    usual, stable = alpha / r, alpha / sympy.sqrt(r)
    pairs = (
        (usual**2 * r * sigma**2, alpha**2 * sigma**2 / r),
        (stable**2 * r * sigma**2, alpha**2 * sigma**2),
        ((usual**2 * r * sigma**2).subs(sigma, 1 / r), alpha**2 / r**3),
    )
    return all(sympy.simplify(one - other) == 0 for one, other in pairs)


def signs(r: int) -> bool:
    """The mean of `A A'` over all 2 x r matrices of signs is `r I`."""
    every = [Matrix(2, r, entries) for entries in product((-1, 1), repeat=2 * r)]
    total = sum((A * A.T for A in every), sympy.zeros(2))
    return bool(total == len(every) * r * sympy.eye(2))


def prove() -> list[Step]:
    """The step, its mean, the scales; and all matrices of signs."""
    whole, start = move()
    return [
        Step("the move of sAB in one step", Scope.SYMBOLIC, whole),
        Step("from B = 0 only h_B acts", Scope.SYMBOLIC, start),
        Step("E[A A'G] = r sigma^2 G", Scope.SYMBOLIC, mean_of_product()),
        Step("alpha^2 sigma^2 / r against alpha^2 sigma^2", Scope.SYMBOLIC, scales()),
        Step("matrices of signs, r = 1, 2, 3", Scope.WITNESS, all(map(signs, (1, 2, 3)))),
    ]


def turning(r: int) -> list[Matrix]:
    """Four equally likely A of r columns; within a column the two entries are uncorrelated."""
    corners = [(1, 2), (2, -1), (-1, -2), (-2, 1)]
    return [Matrix(2, r, lambda i, m, n=n: corners[(n + m) % 4][i]) for n in range(4)]


def tied(r: int) -> list[Matrix]:
    """Two equally likely A, whose rows are equal."""
    return [sign * sympy.ones(2, r) for sign in (1, -1)]


def square(law: list[Matrix]) -> Rational:
    """The mean square of an entry."""
    return sum((x**2 for A in law for x in A), Rational(0)) / sum(len(A) for A in law)


def uncorrelated(values: Instance) -> bool:
    """Within each column: `E[a_i a_j]` is sigma^2 for i = j and 0 otherwise."""
    laws = [values["law"](r) for r in RANKS]
    outer = [
        (law, sum((A[:, m] * A[:, m].T for A in law), sympy.zeros(2)) / len(law))
        for law in laws
        for m in range(law[0].cols)
    ]
    return all(second == square(law) * sympy.eye(2) for law, second in outer)


def mean_move(values: Instance, r: int) -> Matrix:
    """Of sAB in one step of the rule, over the law of A, for a linear loss."""
    s, G, law, rule = values["scale"](r), values["G"], values["law"](r), values["rule"]
    (h_A, h_B), B = values["rates"], values["start"](r)
    moved = [(A - h_A * rule(s * G * B.T)) * (B - h_B * rule(s * A.T * G)) - A * B for A in law]
    return s * sum(moved, sympy.zeros(*G.shape)) / len(law)


def holds(values: Instance) -> bool:
    """At rank 1 and at rank 4 the mean first move is `-h_B alpha^2 sigma^2 G`."""
    factor = -values["rates"][1] * values["alpha"] ** 2
    G, law = values["G"], values["law"]
    return all(mean_move(values, r) == factor * square(law(r)) * G for r in RANKS)


CONTROL = {
    "law": turning,
    "start": lambda r: sympy.zeros(r, 3),
    "scale": lambda r: 3 / sympy.sqrt(r),
    "alpha": Rational(3),
    "rates": (Rational(1, 7), Rational(2, 5)),
    "rule": lambda gradient: gradient,
    "G": Matrix([[2, -1, 3], [1, 4, -2]]),
}

CLAIM = Claim(
    id="C09",
    title="The first step and the scale",
    latex=r"\mathbb E\,\Delta W_1 = -\eta_B s^2 r \sigma^2 G",
    hypotheses={
        "B starts at 0": Hypothesis(
            "B0 = 0", lambda v: all(v["start"](r).is_zero_matrix for r in RANKS)
        ),
        "uncorrelated": Hypothesis(
            "within a column of A0 the entries are uncorrelated, of one mean square", uncorrelated
        ),
        "plain descent": Hypothesis(
            "a step is the gradient times the rate",
            lambda v: all(v["rule"](c * v["G"]) == c * v["G"] for c in (1, -2, Rational(1, 3))),
        ),
        "scale": Hypothesis(
            "s = alpha / sqrt r",
            lambda v: all(v["scale"](r) ** 2 * r == v["alpha"] ** 2 for r in RANKS),
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "B starts at 0": {**CONTROL, "start": lambda r: sympy.ones(r, 3)},
        "uncorrelated": {**CONTROL, "law": tied},
        "plain descent": {**CONTROL, "rule": lambda gradient: gradient.applyfunc(sympy.sign)},
        "scale": {**CONTROL, "scale": lambda r: Rational(3, r)},
    },
    idle=("A is Gaussian, of mean 0, with independent entries",),
    not_proved=("Adam, whose steps are no multiples of the gradient", "all steps but the first"),
    source="thesis, the start A ~ N(0, sigma^2), B = 0; the scale alpha / r, which it omits",
)
