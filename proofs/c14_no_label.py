"""The source's loss contains no label, so the uniform predictor minimises it on every data set.

The loss as printed sums `-log P(c|x)` over *all* classes c in place of the text's own one. Of one
text with probabilities p over K classes it is

    -sum_c log p_c = K log K + K KL(u||p),   u = (1/K, ..., 1/K),

which is least, K log K, at p = u and nowhere else, whatever the label is; of n texts likewise. The
source's `min(-L) = max L` lacks a sign: `min(-L) = -max L`, so both would be 0, and they are not.

Proof. Both sides are sums over c with equal terms. KL(u||p) >= 0 because t - 1 - log t >= 0 with
equality at t = 1 alone, put at t = K p_c and summed: sum_c (K p_c - 1) / K = 0. At t = exp(s) that
function is `int_0^1 (1 - y) s^2 exp(s y) dy`, the integral of a positive function unless s = 0.
"""

import sympy
from sympy import Expr, Matrix, Rational, Sum, exp, log, prod

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

K, c = sympy.Symbol("K", integer=True, positive=True), sympy.Symbol("c", integer=True)
p = sympy.IndexedBase("p", positive=True)


def total(term: Expr) -> Expr:
    """The sum over the K classes, split into its parts, constant factors before them."""
    parts = sympy.Add.make_args(sympy.expand(sympy.expand_log(term)))
    return sympy.Add(*(sympy.simplify(Sum(part, (c, 1, K)).doit()) for part in parts))


def remainder_is_positive() -> bool:
    """The integral form of t - 1 - log t at t = exp(s), and the sign of what is integrated."""
    s = sympy.Symbol("s", real=True, nonzero=True)
    y, rest = sympy.symbols("y rest", positive=True)
    integrand = (1 - y) * s**2 * exp(s * y)
    exact = sympy.simplify(sympy.integrate(integrand, (y, 0, 1)) - (exp(s) - 1 - s)) == 0
    return exact and integrand.subs(1 - y, rest).is_positive is True


def holds(v: Instance) -> bool:
    """The identity, and that the loss exceeds n K log K but at the uniform predictor.

    Compared are exp(-loss), products of rational numbers; exp(-K KL(u||p)) = prod_c K p_c.
    """
    n, k = v["counted"].shape
    least, uniform = Rational(1, k ** (n * k)), sympy.ones(n, k) / k
    for P in v["predictors"]:
        value = prod(q**often for q, often in zip(P, v["counted"], strict=True))
        if value != least * prod(k * q for q in P) or (value >= least and uniform != P):
            return False
    return True


def prove() -> list[Step]:
    """Identity, minimum and sign for every K."""
    u, more = 1 / K, sympy.Symbol("m", nonnegative=True)
    identity = total(-log(p[c])) - K * log(K) - K * total(u * log(u / p[c]))
    summed = total(u * (K * p[c] - 1)).subs(total(p[c]), 1)
    least = total(-log(u))
    apart = (least - K * log(K) == 0) and least.subs(K, more + 2).is_positive is True
    return [
        Step("-sum log p = K log K + K KL(u||p)", Scope.SYMBOLIC, sympy.simplify(identity) == 0),
        Step("t - 1 - log t > 0 unless t = 1", Scope.SYMBOLIC, remainder_is_positive()),
        Step("the numbers K p_c - 1 sum to 0", Scope.SYMBOLIC, summed == 0),
        Step("min(-L) = K log K > 0 > max L for K >= 2", Scope.SYMBOLIC, apart),
    ]


CONTROL = {
    "counted": sympy.ones(2, 3),
    "predictors": (
        sympy.ones(2, 3) / 3,
        Matrix([[8, 1, 1], [2, 1, 7]]) / 10,
        Matrix([[5, 5, 5], [3, 4, 8]]) / 15,
    ),
}

CLAIM = Claim(
    id="C14",
    title="The loss as printed knows no labels",
    latex=r"-\sum_{c} \log p_c = K \log K + K \operatorname{KL}(u \,\|\, p)",
    hypotheses={
        "no label": Hypothesis(
            "the loss counts every class of every text once, not the text's own class alone",
            lambda v: v["counted"] == sympy.ones(*v["counted"].shape),
        ),
        "probabilities": Hypothesis(
            "each predicted row is positive and sums to 1",
            lambda v: all(
                all(x > 0 for x in P) and all(sum(P.row(i)) == 1 for i in range(P.rows))
                for P in v["predictors"]
            ),
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "no label": {**CONTROL, "counted": Matrix([[1, 0, 0], [0, 0, 1]])},
        "probabilities": {**CONTROL, "predictors": (Matrix([[1, 1, 1], [2, 1, 2]]) / 3,)},
    },
    not_proved=("that a given family of models contains the uniform predictor",),
    source="S3, the loss (2) and (4); S4, the sign in (2)",
)
