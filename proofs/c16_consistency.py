"""Theorem A: what a sample of n texts teaches an adapter with bounded logits, and how fast.

Let the texts lie in at most S cells (input, class) with law P, let theta_n minimise the unweighted
log-loss of n independent texts of that law over adapters whose logits are at most b in size, and
let some adapter have P's own P(y|x). Then, with M = log K + 2b,

    KL(P||P_theta_n) <= M |P_n - P|_1 for every sample,   E KL(P||P_theta_n) <= M sqrt(S/n).

An eps-minimiser adds eps. This is about the law P_theta; nothing is said of (A, B). Neither the
rank nor differentiability is used. Of texts of 512 tokens there are so many that S makes the rate
useless, and without a finite S, hence without uniform convergence, the theorem is false.

Proof. The excess risk is at most sum (P - P_n)(l_theta_n - l_theta*), all losses l lie in [0, M],
E |P_n - P|_1 is a sum of S mean absolute values, each at most the root of its variance P(1 - P)/n,
and Cauchy-Schwarz does the rest. At theta* with P's own P(y|x) the excess risk is KL.

Models. Small problems are played out (`learning.py`): all samples are enumerated, an adapter is
trained on each, and its KL is held against both bounds. Likelihoods are compared exactly, KL with
a margin of 1e-9.
"""

import math
from fractions import Fraction
from random import Random

import sympy
from sympy import Expr, ImmutableMatrix, Matrix, Rational, Sum, exp, log

from proofs import learning
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

K, c = sympy.Symbol("K", integer=True, positive=True), sympy.Symbol("c", integer=True)
P, Pn, loss, least, u, a = (
    sympy.IndexedBase(s, real=True) for s in ("P", "P_n", "l", "l*", "u", "a")
)


def total(term: Expr) -> Expr:
    """The sum over K cells or classes, split into its parts, constant factors before them."""
    parts = sympy.Add.make_args(sympy.expand(sympy.expand_log(term)))
    return sympy.Add(*(sympy.simplify(Sum(part, (c, 1, K)).doit()) for part in parts))


def variance() -> Expr:
    """E (N/n - p)^2 for N ~ Binomial(n, p), from the moment generating function."""
    n, p, t = sympy.symbols("n p t", positive=True)
    first, second = (sympy.diff((1 - p + p * exp(t)) ** n, t, i).subs(t, 0) for i in (1, 2))
    return sympy.simplify(second / n**2 - 2 * p * first / n + p**2 - p * (1 - p) / n)


def mean_square() -> Expr:
    """`sum u (a - mean)^2`, which is not negative, less `sum u a^2 - (sum u a)^2 / sum u`."""
    mean, first, second = sympy.Symbol("mean"), total(u[c] * a[c]), total(u[c] * a[c] ** 2)
    centred = total(u[c] * (a[c] - mean) ** 2).subs(mean, first / total(u[c]))
    return sympy.simplify(centred - second + first**2 / total(u[c]))


def bump_escapes() -> bool:
    """L = t^2/(1 + t^2) - 2 exp(-(t - m)^2) is smooth, L -> t^2/(1 + t^2), and its minimiser > m/2.

    For m >= 2: L = -1 - 1/(1 + m^2) at t = m, and L > -2 exp(-m^2/4) >= -2/e > -1 at m/2 - s.
    """
    t, m, s = sympy.symbols("t m s", positive=True)
    L = t**2 / (1 + t**2) - 2 * exp(-((t - m) ** 2))
    limit = sympy.simplify(sympy.limit(L, m, sympy.oo) - t**2 / (1 + t**2))
    below = sympy.simplify(-1 - L.subs(t, m) - 1 / (1 + m**2))
    left = sympy.expand((m / 2 - s - m) ** 2 - m**2 / 4 - m * s - s**2)
    return bool(limit == below == left == 0 and 2 * exp(-1) < 1)


def rank_one_misses() -> bool:
    """Log-odds a b' have determinant 0 for all a and b; those of the model have not."""
    C, z = Matrix([[1, 0], [0, 1], [-1, -1]]), sympy.symbols("z:5")
    logs = Matrix(2, 3, [log(Rational(p)) for p in UNREACHABLE])
    gap = sympy.simplify(sympy.expand_log((logs * C).det()) - log(2) ** 2)
    return bool(sympy.expand((Matrix(z[:2]) * Matrix([z[2:]]) * C).det()) == 0 and gap == 0)


def holds(v: Instance) -> bool:
    """Both bounds at all samples of the listed sizes; a group bears its share of the first."""
    M = math.log(v["W"].cols) + 2 * v["b"] * math.log(2)
    own = learning.in_one_group(v["truth"], v["groups"])
    for n in v["sizes"]:
        mean = 0.0
        for counts, chance in learning.samples(v, n).items():
            error = v["error"](v, v["train"](v, counts))
            apart = sum(abs(Fraction(m, n) - p) for m, p in zip(counts, own, strict=True))
            if error / v["groups"] > M * apart + 1e-9:
                return False
            mean += chance * error
        if mean > M * math.sqrt(v["cells"] / n) + 1e-9:
            return False
    return True


def sampled(seed: int) -> bool:
    """The first bound at one sample of 30 texts of a random problem of rank 1."""
    rng = Random(seed)
    adapters = [rank_one(*rng.choices((-1, 0, 1), k=5)) for _ in range(9)]
    share, true = Fraction(rng.randint(1, 9), 10), learning.model(WORDS, rng.choice(adapters))
    truth = tuple(p * (share if i < 3 else 1 - share) for i, p in enumerate(true))
    drawn = rng.choices(range(6), [float(p) for p in truth], k=30)
    counts = tuple(drawn.count(i) for i in range(6))
    only = {counts: Fraction(0)}
    return holds(
        learning.problem(WORDS, adapters, truth, b=2, sizes=(30,), draw=lambda n, law: only)
    )


def prove() -> list[Step]:
    """The bound for any number of cells and classes, then what stands behind some models."""
    b, z, z_y = sympy.symbols("b z z_y", real=True)
    p, q = sympy.symbols("p q", positive=True)
    excess, empirical = P[c] * (loss[c] - least[c]), Pn[c] * (loss[c] - least[c])
    most = log(total(exp(2 * b)))
    spread = total(P[c] - P[c] * (1 - P[c]))
    identities = {
        "excess risk = empirical excess + sum (P - P_n)(l - l*)": excess
        - empirical
        - (P[c] - Pn[c]) * (loss[c] - least[c]),
        "logits differ by 2b at most": 2 * b - (z - z_y) - ((b - z) + (b + z_y)),
        "K terms up to exp(2b) make a loss of at most log K + 2b": sympy.expand_log(most)
        - log(K)
        - 2 * b,
        "E (P_n - P)^2 = P(1 - P)/n": variance(),
        "Jensen and Cauchy-Schwarz: a variance is a sum of squares": mean_square(),
        "the excess over P's own P(y|x) is KL": log(p) - log(q) - sympy.expand_log(log(p / q)),
        "a sample of one label: its loss falls for ever": sympy.diff(log(1 + exp(-z)), z)
        + 1 / (1 + exp(z)),
    }
    S = Scope.SYMBOLIC
    return [
        *(Step(name, S, sympy.simplify(e) == 0) for name, e in identities.items()),
        Step("sum P(1 - P) <= sum P", S, spread.is_nonnegative is True),
        Step("smoothness does not keep a minimiser from escaping", S, bump_escapes()),
        Step("no rank-1 adapter has the unreachable law", Scope.FIXED, rank_one_misses()),
        Step("40 random problems", Scope.SAMPLED, all(map(sampled, range(40)))),
    ]


def rank_one(a0: int, a1: int, *b: int) -> learning.Adapter:
    """For two inputs and three classes."""
    return ImmutableMatrix([a0, a1]), ImmutableMatrix([b])


def coins(*logits: int, gauges: tuple[int, ...] = (1,)) -> list[learning.Adapter]:
    """For one input and two classes, logits z and -z; a gauge moves between A and B."""
    B = ImmutableMatrix([[1, -1]])
    return [(ImmutableMatrix([[g]]), B * z / g) for g in gauges for z in logits]


WORDS, COIN = ImmutableMatrix([[1, 0, -1], [0, 1, 1]]), ImmutableMatrix([[0, 0]])
GRID = [
    rank_one(*z) for z in ((0, 0, 0, 0, 0), (1, 0, 1, 0, 0), (0, 1, 0, 1, 0), (1, -1, 1, -1, 0))
]
STUCK = (ImmutableMatrix([[0]]), ImmutableMatrix([[0, 0]]))
SURE = (Fraction(256, 257), Fraction(1, 257))
UNREACHABLE = tuple(Fraction(x, 8) for x in (2, 1, 1, 1, 2, 1))
RARE, OFTEN = (Fraction(1, 5), Fraction(4, 5)), (Fraction(16, 17), Fraction(1, 17))
TILTED = ImmutableMatrix([[1, -1]])
CONTROL = learning.problem(TILTED, coins(-5, 3), SURE, b=4, sizes=(1, 2, 6), groups=3, cells=6)
TOSSED = learning.problem(COIN, coins(0, 1, -1), RARE, b=1, sizes=(5, 25))

CLAIM = Claim(
    id="C16",
    title="Theorem A: consistency, its rate, and all it needs",
    latex=r"\mathbb{E} \operatorname{KL}(P \,\|\, P_{\theta_n}) \le (\log K + 2b) \sqrt{S/n}",
    hypotheses={
        "realisable": Hypothesis("some adapter has P's own P(y|x)", learning.realisable),
        "read in the quotient": Hypothesis(
            "the error is one of the law: adapters of one law have one error", learning.of_the_law
        ),
        "bounded": Hypothesis("logits are at most b in size", learning.bounded),
        "uniform convergence": Hypothesis(
            "the law lives on at most S cells, so that all risks settle together",
            learning.few_cells,
        ),
        "same law": Hypothesis("each text has the law P", learning.same_law),
        "independent": Hypothesis("the texts do not depend on each other", learning.unlinked),
        "global minimum": Hypothesis(
            "theta_n minimises the loss of its sample over all adapters", learning.minimised
        ),
        "equal weights": Hypothesis("all classes have the same weight", learning.unweighted),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "realisable": learning.problem(0 * WORDS, GRID, UNREACHABLE, b=1, sizes=(8,)),
        "read in the quotient": {
            **TOSSED,
            "adapters": coins(0, 1, -1, gauges=(4, 2, 1)),
            "error": learning.distance,
        },
        "bounded": {**TOSSED, "adapters": coins(0, 1, -1, 20, -20)},
        "uniform convergence": learning.problem(
            COIN, coins(-2, -1, 0, 1, 2), OFTEN, b=2, sizes=(16,), groups=10**6
        ),
        "same law": {**TOSSED, "source": RARE[::-1]},
        "independent": {**TOSSED, "draw": learning.copied, "sizes": (1000,)},
        "global minimum": {
            **TOSSED,
            "adapters": [STUCK, *coins(0, 1, -1)],
            "train": learning.descend,
        },
        "equal weights": {**TOSSED, "weights": (4, 1)},
    },
    idle=("the loss is continuous and differentiable in Theta", "the adapter has rank r"),
    cited=("exp, log and the square root are increasing; a mean of a sum is the sum of means",),
    not_proved=(
        "a rate of use for long texts, which would need Rademacher bounds",
        "anything about the factors A and B, or their asymptotic law",
        "that training finds a global minimum",
        "the almost sure limit, which is the strong law of large numbers",
    ),
    source="S8 to S12: existence (3), hypotheses 2 and 3, the limit (5)",
)
