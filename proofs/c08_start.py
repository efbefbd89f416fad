"""With B = 0 an adapter changes nothing at the start; then B moves and A does not.

The gradients of `L(W + sAB)` are `s G B'` for A and `s A'G` for B, `G = dL/dW`. At B = 0 the first
is 0, and one step of gradient descent moves the product by `-h s^2 AA'G`, which lowers the loss to
first order by `h s^2 |A'G|^2`: training starts if and only if `A'G` is not 0. If A is 0 too, both
gradients are 0 for every loss and gradient descent stays for ever, though not at a minimum: the
second-order term is `s tr(G'XY)`, whatever the second derivatives of L, and its Hessian has an
eigenvalue `s sigma` and one `-s sigma` for each singular value of G, r times each.

Proof. The product rule, and traces of products; for small sizes the Hessian's whole spectrum.
"""

import sympy
from sympy import Matrix, Rational

from proofs import kernel
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import sizes, square_norm, symbol, trace, zero

SIZES = ((1, 2, 1), (2, 2, 1), (2, 3, 1), (1, 2, 2))
"""(d, k, r), d <= k, at which the Hessian is expanded."""


def spectrum(d: int, k: int, r: int) -> bool:
    """`det(x - H) = (x^(k - d) det(x^2 - s^2 GG'))^r` at A = B = 0, with a curved loss."""
    G, C = (Matrix(d, k, sympy.symbols(f"{name}:{d * k}")) for name in "gc")
    A, B = Matrix(d, r, sympy.symbols(f"a:{d * r}")), Matrix(r, k, sympy.symbols(f"b:{r * k}"))
    s, x = sympy.symbols("s x")
    change = s * A * B
    loss = sum(g * m + c * m**2 for g, c, m in zip(G, C, change, strict=True))
    unknowns = [*A, *B]
    hessian = sympy.hessian(loss, unknowns).subs(dict.fromkeys(unknowns, 0))
    wanted = (x ** (k - d) * (x**2 * sympy.eye(d) - s**2 * G * G.T).det()) ** r
    return bool(sympy.expand(hessian.charpoly(x).as_expr() - wanted) == 0)


def inner(one: kernel.Matrix, other: kernel.Matrix) -> kernel.Trace:
    """The sum of the entries' products."""
    return trace(one.T @ other)


def prove() -> list[Step]:
    """Gradients, the first step, the saddle's directions and eigenvectors; then the spectrum."""
    n, d, r, k = sizes("n d r k")
    s, t, h, sigma = sympy.symbols("s t h sigma")
    A, X = symbol("A", d, r), symbol("X", d, r)
    B, Y = symbol("B", r, k), symbol("Y", r, k)
    inputs, W, G = symbol("inputs", n, d), symbol("W", d, k), symbol("G", d, k)
    no_A, no_B = zero(d, r), zero(r, k)

    def grad_A(B: kernel.Matrix) -> kernel.Matrix:
        gradient: kernel.Matrix = s * G @ B.T
        return gradient

    def grad_B(A: kernel.Matrix) -> kernel.Matrix:
        gradient: kernel.Matrix = s * A.T @ G
        return gradient

    slope = s * (X @ B + A @ Y)
    moved = A @ (no_B - h * grad_B(A))
    by_gradients = inner(grad_A(B), X) + inner(grad_B(A), Y)
    turned = inner(grad_A(Y), A) + inner(grad_B(X), B)
    second = s * inner(G, X @ Y)
    u, w, a = symbol("u", d, 1), symbol("w", k, 1), symbol("a", r, 1)
    singular = {"G w": sigma * u, "u' G": sigma * w.T}

    def eigenvector(sign: int) -> bool:
        X, Y = u @ a.T, sign * a @ w.T
        value = sign * s * sigma
        rows = (grad_A(Y) - value * X).rewrite(singular), (grad_B(X) - value * Y).rewrite(singular)
        return rows == (no_A, no_B)

    steps = {
        "d(sAB) = s (dA B + A dB)": s * (A + t * X) @ (B + t * Y)
        == s * A @ B + t * slope + (s * t**2) * X @ Y,
        "grad_A = s G B', grad_B = s A'G": inner(G, slope) == by_gradients,
        "B = 0: the same outputs": inputs @ (W + s * A @ no_B) == inputs @ W,
        "B = 0: grad_A = 0": grad_A(no_B) == no_A,
        "B = 0: the loss falls by h s^2 |A'G|^2": inner(G, s * moved)
        == (-h * s**2) * square_norm(A.T @ G),
        "A = B = 0: both gradients are 0": (grad_A(no_B), grad_B(no_A)) == (no_A, no_B),
        "A = B = 0: H(X, Y) = (s G Y', s X'G)": inner(grad_A(Y), X) + inner(grad_B(X), Y)
        == 2 * second,
        "H is symmetric": by_gradients == turned,
        "X = -G Y' goes down": s * inner(G, -G @ Y.T @ Y) == -s * square_norm(G @ Y.T),
        "(u a', a w') has eigenvalue s sigma": eigenvector(1),
        "(u a', -a w') has eigenvalue -s sigma": eigenvector(-1),
    }
    return [
        *(Step(name, Scope.SYMBOLIC, ok) for name, ok in steps.items()),
        *(Step(f"spectrum at {size}", Scope.FIXED, spectrum(*size)) for size in SIZES),
    ]


def gradient(values: Instance, W: Matrix) -> Matrix:
    """Of `|XW - T|^2 / 2`."""
    return values["X"].T * (values["X"] * W - values["T"])


def holds(values: Instance) -> bool:
    """No output changes; a step leaves A alone and moves the product by `-h s^2 AA'G`, not 0."""
    X, W, A, B, s, h = (values[name] for name in ("X", "W", "A", "B", "s", "h"))
    G = gradient(values, W + s * A * B)
    later_A, later_B = A - h * s * G * B.T, B - h * s * A.T * G
    moved, wanted = s * (later_A * later_B - A * B), -h * s**2 * A * A.T * G
    same = X * (W + s * A * B) == X * W and later_A == A
    return bool(same and moved == wanted and not moved.is_zero_matrix)


CONTROL = {
    "X": Matrix([[1, 2], [3, -1], [2, 2]]),
    "T": Matrix([[1, 0, 2], [3, 1, -1], [2, 5, 1]]),
    "W": Matrix([[1, -2, 3], [2, 1, 1]]),
    "A": Matrix([[1, 3], [-2, 1]]),
    "B": sympy.zeros(2, 3),
    "s": Rational(3, 2),
    "h": Rational(1, 10),
}

CLAIM = Claim(
    id="C08",
    title="The start at B = 0",
    latex=r"B_0 = 0:\ \nabla_A = 0,\ \nabla_B = s A_0^\top G;\quad"
    r" A_0 = B_0 = 0:\ \operatorname{spec} H = \{\pm s\,\sigma_i(G)\} \cup \{0\}",
    hypotheses={
        "B starts at 0": Hypothesis("B0 = 0", lambda v: v["B"].is_zero_matrix),
        "A sees the gradient": Hypothesis(
            "A0'G is not 0", lambda v: not (v["A"].T * gradient(v, v["W"])).is_zero_matrix
        ),
        "scale and rate": Hypothesis("s and the rate are not 0", lambda v: v["s"] * v["h"] != 0),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "B starts at 0": {**CONTROL, "B": Matrix([[1, 2, 1], [0, 1, 3]])},
        "A sees the gradient": {**CONTROL, "A": sympy.zeros(2, 2)},
        "scale and rate": {**CONTROL, "s": Rational(0)},
    },
    idle=("the entries of A are Gaussian: only A0'G != 0 is used",),
    not_proved=("how long descent stays near the saddle from a small A0 and B0",),
    source="thesis, the start A ~ N(0, sigma^2), B = 0",
)
