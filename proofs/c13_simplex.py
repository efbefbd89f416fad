"""The output of a softmax head with a LoRA update is a point of the open simplex; no more is true.

For finite X (n x d), W (d x K), A (d x r), B (r x K) of any sizes each row of
`softmax(X (W + A B))` is positive and sums to 1, a number added to a whole row of logits changes
nothing, and some update of rank 1 sends a given input to any point of the open simplex one likes.

This is what the source's theorem on applicability says if its "correct output matrix" is a matrix
of probabilities. It is true of *every* finite update: convergence to the truth and smoothness,
conditions 2 and 3 of the consistency theorem that it builds on, and the rank play no part. If it
means "the right classes" it is false: a rank-1 update turns a head without errors into one that
errs on every input.

Proof. `Z = sum_c exp(z_c)` is positive and leaves the sum over c; a shift multiplies every term by
the same factor. For the last part take A with xA = 1 and B = log p - xW. The idle conditions are
violated one by one, and the statement stays true.
"""

import sympy
from sympy import Expr, Matrix, Rational, Sum, exp, eye, log

from proofs import kernel
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

K, c = sympy.Symbol("K", integer=True, positive=True), sympy.Symbol("c", integer=True)
shift = sympy.Symbol("v", real=True)
z, p = sympy.IndexedBase("z", real=True), sympy.IndexedBase("p", positive=True)


def total(term: Expr) -> Expr:
    """The sum over all K classes, constant factors before it."""
    return sympy.simplify(sympy.expand(Sum(term, (c, 1, K))))


def share(logit: Expr) -> Expr:
    """What softmax gives class c, if its logit is that function of c."""
    return exp(logit) / total(exp(logit))


def steered() -> bool:
    """The row x (W + A B) is t for B = t - x W and any column A with x A = 1."""
    d, k = kernel.sizes("d k")
    x, W, t = kernel.symbol("x", 1, d), kernel.symbol("W", d, k), kernel.symbol("t", 1, k)
    logits = x @ (W + kernel.symbol("A", d, 1) @ (t - x @ W))
    return logits.rewrite({"x A": kernel.identity(1)}) == t


def softmax(logits: Matrix) -> Matrix:
    """Row by row."""
    powers = logits.applyfunc(exp)
    return Matrix(*powers.shape, lambda i, j: powers[i, j] / sum(powers.row(i)))


def logits(v: Instance) -> Matrix:
    """X (W + A B); sympy refuses shapes that do not fit."""
    return v["X"] * (v["W"] + v["A"] * v["B"])


def holds(v: Instance) -> bool:
    """Every row is positive, sums to 1, and stays when 1/3 is added to all its logits."""
    try:
        P, moved = softmax(logits(v)), softmax(logits(v).applyfunc(lambda e: e + Rational(1, 3)))
    except sympy.ShapeError:
        return False
    positive = all(entry.is_positive is True for entry in P)
    sums = all(sympy.simplify(sum(P.row(i)) - 1) == 0 for i in range(P.rows))
    return positive and sums and all(sympy.simplify(e) == 0 for e in P - moved)


def update(A: Matrix, B: Matrix) -> Instance:
    """Two inputs, each of its own class, and a head that tells them apart but for A B."""
    return {"X": eye(2), "W": eye(2), "A": A, "B": B}


def errors(v: Instance) -> int:
    """How many inputs i have another most likely class than i."""
    scores = logits(v)
    return sum(bool(max(scores.row(i)) > scores[i, i]) for i in range(scores.rows))


def prove() -> list[Step]:
    """The parts for every K; the update that errs everywhere; the idle conditions violated."""
    shifted = sympy.simplify(share(z[c] + shift) - share(z[c]))
    reached = share(log(p[c])).subs(total(p[c]), 1)
    kept, turned = update(0 * LEFT, RIGHT), update(LEFT, RIGHT)
    away = softmax(logits(kept)) != softmax(logits(turned))
    jump = [update(sympy.floor(t) * LEFT, RIGHT) for t in (0, ALMOST, 1)]
    leaps = logits(jump[0]) == logits(jump[1]) != logits(jump[2])
    ranks = [update(left, eye(2)) for left in (sympy.zeros(2), LEFT * RIGHT, 3 * eye(2))]
    attained = [(v["A"] * v["B"]).rank() for v in ranks] == [0, 1, 2]
    counts = (errors(kept), errors(turned), (LEFT * RIGHT).rank()) == (0, 2, 1)
    S, W = Scope.SYMBOLIC, Scope.WITNESS
    return [
        Step("the K outputs sum to 1", S, total(share(z[c])) == 1),
        Step("each is positive", S, share(z[c]).is_positive is True),
        Step("a shift of all logits cancels", S, shifted == 0),
        Step("logits log p give p", S, sympy.simplify(reached - p[c]) == 0),
        Step("rank 1 gives one input any logits", S, steered()),
        Step("rank 1 turns no error into errors everywhere", W, counts),
        Step("true without condition 2, for ever away from the truth", W, away and holds(turned)),
        Step("true without condition 3, on a jump", W, leaps and all(map(holds, jump))),
        Step("true at every rank", W, attained and all(map(holds, ranks))),
    ]


LEFT, RIGHT = Matrix([-1, 1]), Matrix([[1, -1]])
ALMOST = 1 - Rational(1, 10**9)

GENERIC = {
    "X": Matrix([[1, -2, 3], [2, 5, -1]]),
    "W": Matrix(3, 4, range(-5, 7)) / 7,
    "A": Matrix([[1, 2], [-1, 3], [2, Rational(1, 2)]]),
    "B": Matrix([[1, 0, -2, 3], [2, -1, 1, 5]]) / 3,
}

CLAIM = Claim(
    id="C13",
    title="A softmax head gives probabilities, whatever the update",
    latex=r"\operatorname{softmax}(X(W + AB)) \in \bigl(\operatorname{int} \Delta_{K-1}\bigr)^n",
    hypotheses={
        "shapes": Hypothesis(
            "X, W, A and B fit: X has d columns, and A B is defined and d x K like W",
            lambda v: (
                v["A"].cols == v["B"].rows
                and v["X"].cols == v["W"].rows == v["A"].rows
                and v["W"].cols == v["B"].cols
            ),
        ),
        "finite": Hypothesis(
            "all entries are finite numbers",
            lambda v: all(entry.is_finite for name in "XWAB" for entry in v[name]),
        ),
    },
    holds=holds,
    prove=prove,
    control=GENERIC,
    models={
        "shapes": {**GENERIC, "B": GENERIC["B"].T},
        "finite": {**GENERIC, "W": GENERIC["W"] + sympy.oo * sympy.ones(3, 4)},
    },
    idle=(
        "condition 2 of the consistency theorem: the empirical law tends to the true one",
        "condition 3 of the consistency theorem: the loss is continuous and differentiable",
        "the update has rank at most r",
    ),
    not_proved=("that a trained head gives the right classes; no theorem of this form can",),
    source="S14, the theorem on applicability, conditions (6)-(9)",
)
