"""Fine-tuning distorts features unless the head starts at its optimum, without any overfitting.

Let `f(x) = v <b, x>` be trained on inputs along e1 alone, with gradient flow on the squared error.
If the head starts at the optimum of a linear probe, `v b1 = y`, if the features are perfect
(b parallel to the truth) and the label is the truth's, then fine-tuning moves nothing and f is
right on e2 too. Started at another head it still fits e1 exactly, but v has changed and b2 has not,
so that it is wrong on e2: from `v = 0`, `b = truth = (1, c2)` it ends at `v = 0.786` and misses
`0.214 c2`. There is no noise and no finite sample here: the cause is not overfitting.

Proof. The flow conserves `v v' - B' B` and never moves features off the data's span, whatever the
sizes. For one feature the residual decays at the rate `v^2 + b1^2 >= |v^2 - b1^2|`, which is
conserved, so the flow ends where `v b1 = y`; with the conserved number that is one point.
"""

import sympy
from sympy import Rational, sqrt

from proofs import facts
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import sizes, square_norm, symbol, trace, zero


def end_of_flow(v: Instance) -> tuple[sympy.Expr, sympy.Expr]:
    """(v, b2) after gradient flow with weight decay; the sign of the larger of v, b1 is kept."""
    head, (b1, b2), y = v["head"], v["features"], v["label"]
    if v["decay"] > 0:  # b2' = -decay b2, and v stays bounded
        return head, sympy.Integer(0)
    kept = head**2 - b1**2
    larger = sqrt((abs(kept) + sqrt(kept**2 + 4 * y**2)) / 2)
    if kept > 0:
        return sympy.sign(head) * larger, b2
    return y / (sympy.sign(b1) * larger), b2


def right_on_e2(v: Instance) -> bool:
    """Whether f is the truth on the direction that training never saw."""
    head, b2 = end_of_flow(v)
    return bool(sympy.simplify(head * b2 - v["truth"][1]) == 0)


def conservation() -> dict[str, bool]:
    """For f(X) = X B v on n inputs of width d, with k features."""
    n, d, k = sizes("n d k")
    X, B, v, Y = symbol("X", n, d), symbol("B", d, k), symbol("v", k, 1), symbol("Y", n, 1)
    H, h, e = symbol("H", d, k), symbol("h", k, 1), sympy.Symbol("e")
    x, rules = symbol("x", 1, d), {"x X'": zero(1, n)}
    R = X @ B @ v - Y
    of_B, of_v = X.T @ R @ v.T, B.T @ X.T @ R  # half the gradients of |R|^2
    moved = of_v @ v.T + v @ of_v.T - of_B.T @ B - B.T @ of_B
    return {
        "the features' gradient": square_norm(X @ (B + e * H) @ v - Y) - square_norm(R)
        == 2 * e * trace(H.T @ of_B) + e**2 * square_norm(X @ H @ v),
        "the head's gradient": square_norm(X @ B @ (v + e * h) - Y) - square_norm(R)
        == 2 * e * trace(h.T @ of_v) + e**2 * square_norm(X @ B @ h),
        "v v' - B' B is conserved": moved == zero(k, k),
        "features off the span stay, at any step size": (x @ (B - e * of_B)).rewrite(rules)
        == x @ B,
    }


def prove() -> list[Step]:
    """Conservation in general, where the flow ends for one feature, and the lecture's example."""
    v, b, y, k = sympy.symbols("v b y k", real=True)
    dv, db = -(v * b - y) * b, -(v * b - y) * v
    w = (sqrt(k**2 + 4 * y**2) - k) / 2
    c1, c2, ratio = sympy.symbols("c1 c2 ratio", positive=True)
    at_optimum = {v: y / b}
    rates = {
        "at v = y/b1 the head rests": dv.subs(at_optimum),
        "and so do the features": db.subs(at_optimum),
        "with y = c1 and b = ratio c, f(e2) is c2": (y / b).subs({y: c1, b: ratio * c1})
        * (ratio * c2)
        - c2,
        "the residual's rate is -(v^2 + b1^2)": dv * b + v * db + (v**2 + b**2) * (v * b - y),
        "which is at least |v^2 - b1^2|": (v**2 + b**2) ** 2
        - (v**2 - b**2) ** 2
        - (2 * v * b) ** 2,
        "v b1 = y and v^2 - b1^2 = k give b1^2": y**2 / w - w - k,
    }
    scratch = {"head": sympy.Integer(0), "features": (1, c2), "label": 1, "decay": 0}
    head, b2 = end_of_flow(scratch)
    missed = sympy.simplify((c2 - head * b2) / c2)
    accuracy = facts.lecture_accuracy().value
    tuned, probed, both = (accuracy[way] for way in WAYS)
    return [
        *(Step(name, Scope.SYMBOLIC, ok) for name, ok in conservation().items()),
        *(Step(name, Scope.SYMBOLIC, sympy.simplify(x) == 0) for name, x in rates.items()),
        Step(
            "from v = 0 it ends at v^2 = (sqrt 5 - 1)/2 and misses 0.214 c2",
            Scope.WITNESS,
            sympy.simplify(head**2 - (sqrt(5) - 1) / 2) == 0
            and bool(Rational(2135, 10000) < missed < Rational(2145, 10000)),
        ),
        Step(
            "the lecture's accuracies are in this order, in and out of distribution",
            Scope.WITNESS,
            probed[0] < tuned[0] < both[0] and tuned[1] < probed[1] < both[1],
        ),
    ]


WAYS = ("fine-tuning", "probing", "probing then fine-tuning")
CONTROL = {
    "truth": (Rational(3), Rational(-2)),
    "label": Rational(3),
    "head": Rational(4),
    "features": (Rational(3, 4), Rational(-1, 2)),
    "decay": Rational(0),
}

CLAIM = Claim(
    id="C24",
    title="Probing before fine-tuning",
    latex=r"v_0 b_1 = y,\ b \parallel c \Rightarrow f_\infty(e_2) = f_0(e_2) = f^*(e_2)",
    hypotheses={
        "head at the probe's optimum": Hypothesis(
            "v b1 = y at the start", lambda v: v["head"] * v["features"][0] == v["label"]
        ),
        "perfect features": Hypothesis(
            "b is parallel to the truth",
            lambda v: v["features"][0] * v["truth"][1] == v["features"][1] * v["truth"][0],
        ),
        "no noise": Hypothesis("the label is the truth's", lambda v: v["label"] == v["truth"][0]),
        "no weight decay": Hypothesis("nothing decays", lambda v: v["decay"] == 0),
    },
    holds=right_on_e2,
    prove=prove,
    control=CONTROL,
    models={
        "head at the probe's optimum": CONTROL | {"head": Rational(0)},
        "perfect features": CONTROL | {"features": (Rational(3, 4), Rational(1))},
        "no noise": CONTROL | {"label": Rational(6), "head": Rational(8)},
        "no weight decay": CONTROL | {"decay": Rational(1, 10)},
    },
    idle=("overfitting, by which the lecture explains what fine-tuning spoils",),
    cited=(
        "a quantity whose rate of decay has a positive lower bound tends to 0 (Gronwall)",
        "gradient flow with weight decay stays bounded, for its loss does not grow",
    ),
    not_proved=(
        "that the lecture's accuracies have this cause",
        "the end of the flow for several features or layers (Kumar et al. 2022 bound its error)",
    ),
    source="lecture 'Transfer learning', slides on probing before fine-tuning",
)
