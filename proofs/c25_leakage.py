"""Full fine-tuning never changes what a map does off the data's span; LoRA from a random A does.

Let `x X' = 0` for the inputs X of a map W. Gradient descent then leaves `xW` as it is. Under LoRA
`x (W + s A B) = xW + s x A0 B` at every step: A0 is random and not in the span of the data, so the
trained B acts on x. At the first step this is `1/sqrt r` of the change on the span, for Gaussian
A0. Started in the data's span, `A0 = X' N`, nothing leaks.

Proof. Every gradient is `X' R` times something, so that what is added to W or A vanishes under x;
induction over the steps. Sizes are symbolic. The first step moves x by a multiple of `x A A' g`,
`g` a column of the gradient; its moments, of degree 4 in A, are computed with a law on three points
that has the first four moments of a Gaussian, for two columns and then for r.
"""

from itertools import product

import sympy
from sympy import Matrix, Rational

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import sizes, square_norm, symbol, trace, zero


def gradient(v: Instance, W: Matrix) -> Matrix:
    """Of half the squared error of XW."""
    return v["X"].T * (v["X"] * W - v["Y"])


def full(v: Instance) -> Matrix:
    """W after three steps of full fine-tuning."""
    W = v["W"]
    for _ in range(3):
        W = W - v["eta"] * (v["direction"](gradient(v, W)) + v["decay"] * W)
    return W


def lora(v: Instance, A: Matrix) -> tuple[Matrix, Matrix]:
    """W + s A B, and B, after three steps of LoRA from A and B = 0."""
    eta, s, decay, way = v["eta"], v["s"], v["decay"], v["direction"]
    B = Matrix.zeros(A.cols, v["W"].cols)
    for _ in range(3):
        G = s * gradient(v, v["W"] + s * A * B)
        A, B = A - eta * (way(G * B.T) + decay * A), B - eta * (way(A.T * G) + decay * B)
    return v["W"] + s * A * B, B


def statements(v: Instance) -> dict[str, bool]:
    """On x: full fine-tuning and LoRA from the span keep W, LoRA from elsewhere acts through A0."""
    x, kept = v["x"], v["x"] * v["W"]
    leaking, B = lora(v, v["A random"])
    return {
        "full": x * full(v) == kept,
        "LoRA": x * leaking == kept + v["s"] * x * v["A random"] * B != kept,
        "LoRA from the span": x * lora(v, v["A"])[0] == kept,
    }


def invariance() -> dict[str, bool]:
    """One step more, for all sizes; R is the loss' gradient by XW, for the squared one XW - Y."""
    n, d, k, r = sizes("n d k r")
    X, W, Y, R = symbol("X", n, d), symbol("W", d, k), symbol("Y", n, k), symbol("R", n, k)
    A0, B, N, x = symbol("A0", d, r), symbol("B", r, k), symbol("N", n, r), symbol("x", 1, d)
    H, J, K = symbol("H", d, k), symbol("J", d, r), symbol("K", r, k)
    eta, s, e = sympy.symbols("eta s e")
    off = {"x X'": zero(1, n)}
    A = A0 + X.T @ N  # by induction
    E = X @ (W + s * A @ B) - Y
    more = X @ (s * J @ B)
    next_A = A - eta * s * X.T @ R @ B.T
    return {
        "the gradient by W is X' R": square_norm(X @ (W + e * H) - Y) - square_norm(X @ W - Y)
        == 2 * e * trace(H.T @ X.T @ (X @ W - Y)) + e**2 * square_norm(X @ H),
        "by A it is s X' R B'": square_norm(E + e * more) - square_norm(E)
        == 2 * e * s * trace(J.T @ X.T @ E @ B.T) + e**2 * square_norm(more),
        "by B it is s A' X' R": square_norm(E + e * s * X @ A @ K) - square_norm(E)
        == 2 * e * s * trace(K.T @ A.T @ X.T @ E) + e**2 * square_norm(s * X @ A @ K),
        "full: xW stays": (x @ (W - eta * X.T @ R)).rewrite(off) == x @ W,
        "LoRA: A stays in A0 + X' N": next_A == A0 + X.T @ (N - eta * s * R @ B.T),
        "LoRA: x sees A0 alone": (x @ (W + s * next_A @ B)).rewrite(off) == x @ W + s * x @ A0 @ B,
        "A0 = X' N: no leak": (x @ (W + s * (X.T @ N) @ B)).rewrite(off) == x @ W,
    }


def moments(d: int, r: int) -> bool:
    """Mean and mean square of `x A A' g`, A d x r of standard Gaussians, x and g symbols."""
    # 0 with 2/3, +-sqrt 3 with 1/6 each have their moments 1 and 3, and the odd ones vanish.
    chances = {0: Rational(2, 3), 1: Rational(1, 6), -1: Rational(1, 6)}
    x, g = (Matrix(1, d, sympy.symbols(f"{name}:{d}")) for name in "xg")
    mean = square = sympy.Integer(0)
    for entries in product(chances, repeat=d * r):
        A, chance = Matrix(d, r, entries), sympy.prod(chances[a] for a in entries)
        value = 3 * (x * A * A.T * g.T)[0]
        mean, square = mean + chance * value, square + chance * value**2
    m, v = (x * g.T)[0], (x * x.T)[0] * (g * g.T)[0]
    wanted = r * (v + 2 * m**2) + r * (r - 1) * m**2
    return bool(sympy.expand(mean - r * m) == 0 and sympy.expand(square - wanted) == 0)


def prove() -> list[Step]:
    """The induction for all sizes, and the size of the first leak."""
    i, j, r = sympy.symbols("i j r", positive=True, integer=True)
    m, v = sympy.symbols("m v")  # x g' and |x|^2 |g|^2
    pairs = sympy.Sum(m * m, (i, 1, r), (j, 1, r)).doit()  # column i with column j, m each
    pairs += sympy.Sum(v + 2 * m**2 - m * m, (i, 1, r)).doit()  # but i with itself
    off, on = pairs.subs(m, 0), (r * m).subs(m, sympy.sqrt(v))
    return [
        *(Step(name, Scope.SYMBOLIC, ok) for name, ok in invariance().items()),
        *(
            Step(f"the moments of x A A' g at {size}", Scope.FIXED, moments(*size))
            for size in ((2, 1), (2, 2), (3, 1))
        ),
        Step(
            "of r independent columns: mean square r v + (r^2 + r) m^2",
            Scope.SYMBOLIC,
            sympy.simplify(pairs - (r * v + (r**2 + r) * m**2)) == 0,
        ),
        Step(
            "off the span against on it, squared: 1/r",
            Scope.SYMBOLIC,
            sympy.simplify(off / on**2 - 1 / r) == 0,
        ),
    ]


X = Matrix([[1, 2, 0, 1], [0, 1, 1, 3]])
RANDOM = Matrix([[1, 0], [2, 1], [-1, 1], [0, 3]])
CONTROL = {
    "X": X,
    "Y": Matrix([[1, -2, 4], [3, 1, -1]]),
    "W": Matrix([[1, 2, 1], [0, -1, 2], [3, 1, 1], [1, 1, -2]]),
    "A": X.T * Matrix([[1, 2], [-1, 1]]),
    "A random": RANDOM,
    "x": Matrix([[5, -3, 0, 1]]),
    "s": Rational(2),
    "eta": Rational(1, 50),
    "decay": 0,
    "direction": lambda G: G,
}

CLAIM = Claim(
    id="C25",
    title="Leakage off the data's span",
    latex=r"xX^\top = 0 \Rightarrow xW_t = xW,\quad x(W + sA_tB_t) = xW + s\,xA_0B_t",
    hypotheses={
        "off the data": Hypothesis("x X' = 0", lambda v: (v["x"] * v["X"].T).is_zero_matrix),
        "start in the span": Hypothesis(
            "the columns of A0 are in the span of the inputs",
            lambda v: v["X"].T.row_join(v["A"]).rank() == v["X"].rank(),
        ),
        "gradient steps": Hypothesis(
            "a step is a multiple of the gradient",
            lambda v: (
                Matrix.hstack(
                    gradient(v, v["W"]).vec(), v["direction"](gradient(v, v["W"])).vec()
                ).rank()
                == 1
            ),
        ),
        "no weight decay": Hypothesis("nothing decays", lambda v: v["decay"] == 0),
    },
    holds=lambda v: all(statements(v).values()),
    prove=prove,
    control=CONTROL,
    models={
        "off the data": CONTROL | {"x": Matrix([[5, -3, 0, 2]])},
        "start in the span": CONTROL | {"A": RANDOM},
        "gradient steps": CONTROL | {"direction": lambda G: G.applyfunc(sympy.sign)},
        "no weight decay": CONTROL | {"decay": Rational(1, 10)},
    },
    cited=(
        "for any loss of XW the gradient is X' R (chain rule)",
        "the mean of a polynomial of degree 4 in independent entries needs four of their moments",
        "a Gaussian law is invariant under rotation: two rows stand for d",
    ),
    not_proved=(
        "that a leak harms, or how large it is after the first step",
        "maps above others that train: their inputs X move",
        "that Adam always leaks: its first step, the gradient's sign, does in the model",
    ),
    source="new; compare Kumar et al. 2022, and the thesis' A ~ N(0, sigma^2)",
)
