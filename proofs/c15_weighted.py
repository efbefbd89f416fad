"""The log-loss of a sample is n (H(P) + KL(P||q)); class weights w put `P^w ~ w P` in P's place.

Let n_c of n texts with the same input have class c, and let a model give that class q_c. Then

    -sum_c n_c log q_c = n (H(P) + KL(P||q)),   P_c = n_c / n,

so the best q is P, the observed frequencies, and no other. With weights w_c on the terms it is

    -sum_c w_c n_c log q_c = Z (H(P^w) + KL(P^w||q)),   Z = sum_c w_c n_c,   P^w_c = w_c n_c / Z,

and the best q is P^w: a weighted loss does not estimate the true law. With the source's weights
n / (K n_c) it estimates the posterior for equally frequent classes instead. With several inputs
this is true of each, as the loss is the sum over them.

Proof. Both sides are sums over c with equal terms; KL >= 0 because log t <= t - 1 (C14), put at
t = q_c / P^w_c and summed: sum_c (q_c - P^w_c) = 0.
"""

import sympy
from sympy import Expr, Matrix, Rational, Sum, log, prod

from proofs import facts
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

K, c = sympy.Symbol("K", integer=True, positive=True), sympy.Symbol("c", integer=True)
n, Z = sympy.symbols("n Z", positive=True)
w, count, q, prior, density = (sympy.IndexedBase(s, positive=True) for s in "wkqtf")


def total(term: Expr) -> Expr:
    """The sum over the K classes, split into its parts, constant factors before them."""
    parts = sympy.Add.make_args(sympy.expand(sympy.expand_log(term)))
    return sympy.Add(*(sympy.simplify(Sum(part, (c, 1, K)).doit()) for part in parts))


def attracted(counts: Matrix, weights: Matrix) -> Matrix:
    """P^w: the frequencies w n, row by row over their sum."""
    pull = counts * sympy.diag(*weights)
    return Matrix(*pull.shape, lambda i, j: pull[i, j] / sum(pull.row(i)))


def powers(base: Matrix, exponents: Matrix) -> Rational:
    """The product of the entries, each to its own power."""
    return prod(x**often for x, often in zip(base, exponents, strict=True))


def holds(v: Instance) -> bool:
    """The loss is Z (H(P) + KL(P||q)) with the observed frequencies P, and least at P alone.

    Compared are exp(-loss), where Z P_c, which need not be whole, is taken n times.
    """
    observed = attracted(v["counted"], sympy.ones(*v["weights"].shape))
    for i in range(observed.rows):
        P, times = observed.row(i), v["counted"].row(i)
        pulls = times * sympy.diag(*v["weights"])
        for q_i in (Q.row(i) for Q in v["predictors"]):
            value = powers(q_i, pulls)
            if value ** sum(times) != powers(q_i, sum(pulls) * times):
                return False
            if value >= powers(P, pulls) and q_i != P:
                return False
    return True


def prove() -> list[Step]:
    """The decomposition and its minimum for every K; the source's weights, exact and as printed."""
    P = w[c] * count[c] / Z
    entropy, divergence = total(-P * log(P)), total(P * log(P / q[c]))
    parts = total(-w[c] * count[c] * log(q[c])) - Z * (entropy + divergence)
    summed = total(P * (q[c] / P - 1)).subs({total(q[c]): 1, total(w[c] * count[c]): Z})
    balanced = n / (K * count[c])
    share = balanced * count[c] / total(balanced * count[c])
    tilted = density[c] * prior[c] / (K * prior[c])
    posterior = tilted / total(tilted) - density[c] / total(density[c])
    counts = Matrix([list(facts.texts().value.values())])
    weights = Matrix([Rational(str(x)) for x in facts.class_weights().value.values()])
    off = [abs(x - Rational(1, 4)) for x in attracted(counts, weights)]
    return [
        Step("loss = Z (H + KL)", Scope.SYMBOLIC, sympy.simplify(parts) == 0),
        Step("sum P^w (q/P^w - 1) = 0", Scope.SYMBOLIC, summed == 0),
        Step("n / (K n_c) makes P^w uniform", Scope.SYMBOLIC, sympy.simplify(share - 1 / K) == 0),
        Step("and targets uniform priors", Scope.SYMBOLIC, sympy.simplify(posterior) == 0),
        Step(
            "weights (1, 2) move (1/3, 2/3) to (1/5, 4/5)",
            Scope.WITNESS,
            attracted(Matrix([[1, 2]]), Matrix([1, 2])) == Matrix([[1, 4]]) / 5,
        ),
        Step(
            "the printed weights are within 1/10000 of uniform priors, and not uniform",
            Scope.WITNESS,
            all(bool(0 < x < NEARLY) for x in off),
        ),
    ]


NEARLY = Rational(1, 10000)
CONTROL = {
    "counted": Matrix([[3, 1, 2], [1, 1, 4]]),
    "weights": Matrix([2, 2, 2]),
    "predictors": (
        Matrix([[3, 1, 2], [1, 1, 4]]) / 6,
        Matrix([[4, 1, 1], [2, 1, 3]]) / 6,
        Matrix([[1, 2, 7], [5, 3, 2]]) / 10,
    ),
}

CLAIM = Claim(
    id="C15",
    title="What a weighted log-loss estimates",
    latex=r"-\sum_c w_c n_c \log q_c = Z\,\bigl(H(P^w) + \operatorname{KL}(P^w \,\|\, q)\bigr)",
    hypotheses={
        "equal weights": Hypothesis(
            "all classes have the same weight", lambda v: len(set(v["weights"])) == 1
        ),
        "probabilities": Hypothesis(
            "each predicted row is positive and sums to 1",
            lambda v: all(
                all(x > 0 for x in Q) and all(sum(Q.row(i)) == 1 for i in range(Q.rows))
                for Q in v["predictors"]
            ),
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "equal weights": {**CONTROL, "weights": Matrix([1, 3, 2])},
        "probabilities": {**CONTROL, "predictors": (Matrix([[3, 1, 2], [1, 1, 4]]) / 5,)},
    },
    cited=("log t <= t - 1 with equality at t = 1 alone (proved as a step of C14)",),
    not_proved=("that a given family of models contains P or P^w",),
    source="S16, the class weights of table 2; S3, the loss with its label restored",
)
