"""Gradient flow on a LoRA layer conserves `N = A'A - BB'`, whatever the loss.

The loss sees the product AB alone. With G its gradient with respect to AB (s times that with
respect to `W + sAB`), A moves by `P = -GB'` and B by `Q = -A'G`. A step of descent of length h,
stochastic or not, changes N by exactly `h^2 (BG'GB' - A'GG'A)`, so the flow, h -> 0, not at all.
Under weight decay l it is `e^{2lt} N` that is conserved; with rates a for A and b for B (LoRA+),
`b A'A - a BB'`. From A = A0 of rank r and B = 0, `A'A = A0'A0 + BB'`: A keeps the rank r.

The velocity of AB, `-(GB'B + AA'G)`, is another matter: an orthogonal change of the adapter's basis
leaves it as it is, but another change, which leaves AB as it is too, in general does not.

Proof. Expand `N(A + hP, B + hQ)`: what is linear in h cancels, but for the decay's `-2lh N`.
"""

from typing import Any

import sympy
from sympy import Lambda, Rational

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, square_norm, symbol, trace

a, b, h, l, t = sympy.symbols("a b h l t")  # noqa: E741
x = sympy.Symbol("x", real=True)
SAME = (1, 1)


def velocity(A: Any, B: Any, G: Any, rates: Any = SAME, decay: Any = 0) -> tuple[Any, Any]:
    """Of A and B: against their gradients, each with its rate, and towards zero."""
    return -rates[0] * (G @ B.T) - decay * A, -rates[1] * (A.T @ G) - decay * B


def balance(A: Any, B: Any, rates: Any = SAME) -> Any:
    """N, or with rates what LoRA+ conserves."""
    return rates[1] * (A.T @ A) - rates[0] * (B @ B.T)


def of_product(A: Any, B: Any, velocities: Any) -> Any:
    """The velocity of AB."""
    return velocities[0] @ B + A @ velocities[1]


def other_basis() -> bool:
    """From A = B = 1 to A = x, B = 1/x, with G = 1, the velocity falls by `(x - 1/x)^2`."""
    A, B, G = sympy.eye(1) * x, sympy.eye(1) / x, sympy.eye(1)
    (speed,) = of_product(A, B, velocity(A, B, G))
    return bool(sympy.expand(speed.subs(x, 1) - speed - (x - 1 / x) ** 2) == 0)


def prove() -> list[Step]:
    """For all sizes, and all losses by their gradient G."""
    d, k, r = sizes("d k r")
    A, B, G, U = symbol("A", d, r), symbol("B", r, k), symbol("G", d, k), symbol("U", r, r)
    dA, dB, A0, X = symbol("dA", d, r), symbol("dB", r, k), symbol("A0", d, r), symbol("X", r, 1)
    P, Q = velocity(A, B, G)
    slope = trace(G.T @ of_product(A, B, (dA, dB)))
    V, Y = velocity(A, B, G, (a, b), l)
    stepped = balance(A + h * V, B + h * Y, (a, b))
    expanded = (1 - 2 * l * h) * balance(A, B, (a, b)) + h**2 * balance(V, Y, (a, b))
    n = sympy.Function("n")(t)
    decayed = sympy.diff(sympy.exp(2 * l * t) * n, t).subs(n.diff(t), -2 * l * n)
    later = trace((X.T @ A.T @ A @ X).rewrite({"A' A": A0.T @ A0 + B @ B.T}))
    product, speed = (A + h * P) @ (B + h * Q), of_product(A, B, (P, Q))
    C, D = A @ U, U.T @ B
    turned = of_product(C, D, velocity(C, D, G)).rewrite({"U U'": identity(r)})
    S = Scope.SYMBOLIC
    return [
        Step("-P and -Q are the gradients", S, slope == -1 * (trace(P.T @ dA) + trace(Q.T @ dB))),
        Step("a step: N -> (1 - 2lh)N + h^2 N(P, Q)", S, stepped == expanded),
        Step(
            "N(P, Q) = BG'GB' - A'GG'A", S, balance(P, Q) == B @ G.T @ G @ B.T - A.T @ G @ G.T @ A
        ),
        Step("dN/dt = -2lN: e^{2lt} N is conserved", S, sympy.expand(decayed) == 0),
        Step("X'A'AX = |A0 X|^2 + |B'X|^2", S, later == square_norm(A0 @ X) + square_norm(B.T @ X)),
        Step("AB moves by its velocity", S, product == A @ B + h * speed + h**2 * (P @ Q)),
        Step("which is -(GB'B + AA'G)", S, speed == -1 * (G @ B.T @ B + A @ A.T @ G)),
        Step("the same for (AU, U'B) if UU' = I", S, turned == speed),
        Step("for scalars not in another basis", Scope.FIXED, other_basis()),
    ]


def holds(v: Instance) -> bool:
    """N does not change, and the velocity of AB is the same in both bases."""
    A, B, C, D = v["A"], v["B"], v["A"] * v["U"], v["U"].inv() * v["B"]
    P, Q = moved(A, B, v)
    change = ((balance(A + h * P, B + h * Q) - balance(A, B)) / h).expand()
    kept = change.subs(h, v["step"]).is_zero_matrix
    return bool(kept and of_product(A, B, (P, Q)) == of_product(C, D, moved(C, D, v)))


def moved(A: sympy.Matrix, B: sympy.Matrix, v: Instance) -> tuple[sympy.Matrix, sympy.Matrix]:
    """The velocities, after what the optimizer makes of each number of them."""
    P, Q = velocity(A, B, v["G"], v["rates"], v["decay"])
    return P.applyfunc(v["optimizer"]), Q.applyfunc(v["optimizer"])


CONTROL = {
    "A": sympy.Matrix([[2, 1], [-1, 3], [5, 4], [7, -2]]),
    "B": sympy.Matrix([[3, 1, -2], [4, 6, 5]]),
    "G": sympy.Matrix(4, 3, [1, -3, 2, 4, 1, 5, -2, 6, 3, 2, 2, -7]),
    "U": sympy.Matrix([[3, 4], [-4, 3]]) / 5,
    "step": 0,
    "rates": (7, 7),
    "decay": 0,
    "optimizer": Lambda(x, x),
}

CLAIM = Claim(
    id="C06",
    title="What training conserves",
    latex=r"\tfrac{d}{dt}(A^\top A - BB^\top) = 0",
    hypotheses={
        "continuous time": Hypothesis("the step is infinitely short", lambda v: v["step"] == 0),
        "equal rates": Hypothesis("A and B share a rate", lambda v: len(set(v["rates"])) == 1),
        "no decay": Hypothesis("the weights do not decay", lambda v: v["decay"] == 0),
        "gradient": Hypothesis(
            "a parameter moves by its gradient", lambda v: v["optimizer"](x) == x
        ),
        "orthogonal": Hypothesis("UU' = I", lambda v: v["U"] * v["U"].T == sympy.eye(v["U"].rows)),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "continuous time": {**CONTROL, "step": Rational(1, 10)},
        "equal rates": {**CONTROL, "rates": (1, 16)},
        "no decay": {**CONTROL, "decay": Rational(1, 100)},
        "gradient": {**CONTROL, "optimizer": Lambda(x, sympy.sign(x))},
        "orthogonal": {**CONTROL, "U": sympy.Matrix([[1, 5], [2, -3]])},
    },
    cited=("a function whose derivative is 0 everywhere is constant",),
    not_proved=("what Adam or momentum conserve", "that the flow exists for all times"),
    source="not in the thesis; it bears on its start A ~ N(0, sigma^2), B = 0",
)
