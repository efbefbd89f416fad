"""Depth adds ranks up: updates of ranks r_l in N linear layers reach all changes of rank sum r_l.

If `W_1, ..., W_N` are non-singular and `rank(T - W_1...W_N) <= r_1 + ... + r_N`, some updates of
ranks r_l give `(W_1 + A_1 B_1)...(W_N + A_N B_N) = T` exactly; and none changes the product by more
than that rank. (Zeng & Lee 2024 ask besides that partial targets be non-singular: not needed.)

Proof. Let `Z = T (W_1...W_N)^-1 = I + E`, and y = Ea not 0, with Zc = y (or EZ = 0 and c = y). For
a row b' with b'y = 1 and b'c not 0 a factor `I + c b'E / b'c` splits off, and the rest differs from
I by one rank less: Z is a product of rank E such factors. Layer l gets r_l of them, of product G_l,
and with `V = W_1...W_{l-1}` one puts `W_l + A_l B_l = V^-1 G_l V W_l`. Conversely the change of a
product telescopes into N terms, of ranks r_l.
"""

from collections.abc import Sequence
from itertools import product

import sympy
from sympy import Matrix

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step
from proofs.kernel import identity, sizes, symbol, zero

TARGETS = [Matrix(2, 2, entries) for entries in product((-1, 0, 1), repeat=4)]
ENTRIES = ((1, 2, 0, 0, 1, -1, 2, 1, 1), (2, 0, 1, 1, 1, 0, 0, 3, 1), (0, 1, 2, 1, 0, 3, 1, 1, 1))
THREE = [Matrix(3, 3, entries) for entries in ENTRIES]
SHAPES = (sympy.zeros(3), sympy.diag(0, 0, 1), sympy.diag(2, 2, 2), sympy.jordan_cell(0, 3))
RANKS = ((2, 0, 1), (1, 1, 1))
W1, W2 = Matrix([[1, 2], [3, 5]]), Matrix([[2, -1], [1, 1]])


def matrix_steps() -> dict[str, bool]:
    """A factor splits off, a rank is gone, the factors go to the layers; the change telescopes."""
    d, r = sizes("d r")
    beta = sympy.Symbol("beta")
    E, F, H, P, Q = (symbol(name, d, d) for name in "EFHPQ")
    V, V_inverse, W, other = (symbol(name, d, d) for name in ("V", "V^-1", "W", "W+"))
    A, A2, B, B2 = symbol("A", d, r), symbol("A2", d, r), symbol("B", r, d), symbol("B2", r, d)
    a, c, b, unit = symbol("a", d, 1), symbol("c", d, 1), symbol("b", 1, d), identity(d)
    y = E @ a
    rest, last = E - y @ b @ E, unit + (1 / beta) * c @ b @ E
    facts = {"b E a": identity(1), "b c": beta * identity(1), "E c": y - c}
    commuting = {"E E": -E, "b E a": identity(1)}
    inverse = {"V^-1 V": unit, "V V^-1": unit}
    own = V_inverse @ (unit + F) @ V @ W
    pair = (W + A @ B) @ (other + A2 @ B2) - W @ other
    return {
        "E Z = Z E, so that Z c = y for a = Z x, c = E x": E @ (unit + E) == (unit + E) @ E,
        "Z c = y: Z = (Z - y b'E)(I + c b'E / b'c)": ((unit + rest) @ last).rewrite(facts)
        == unit + E,
        "E Z = 0: Z = (Z - y b'E)(I + y b'E)": ((unit + rest) @ (unit + y @ b @ E)).rewrite(
            commuting
        )
        == unit + E,
        "a rank less: (E - y b'E) a = 0": (rest @ a).rewrite(facts) == zero(d, 1),
        "E - y b'E = (I - y b') E": rest == (unit - y @ b) @ E,
        "H V (V^-1 G V W) = H G V W": (H @ V @ own).rewrite(inverse) == H @ (unit + F) @ V @ W,
        "V^-1 G V W - W = V^-1 (G - I) V W": (own - W).rewrite(inverse) == V_inverse @ F @ V @ W,
        "Q (W + F) - P W = (Q - P)(W + F) + P F": Q @ (W + F) - P @ W == (Q - P) @ (W + F) + P @ F,
        "two layers": pair == A @ (B @ (other + A2 @ B2)) + (W @ A2) @ B2,
    }


def chain(matrices: Sequence[Matrix]) -> Matrix:
    """Their product, from left to right."""
    return sympy.prod(matrices[1:], start=matrices[0])


def factors(Z: Matrix) -> list[Matrix]:
    """`rank(Z - I)` matrices that differ from I by rank 1, and whose product is Z."""
    unit = sympy.eye(Z.rows)
    E = Z - unit
    if E.is_zero_matrix:
        return []
    source = E if (E * Z).is_zero_matrix else E * Z
    column = next(j for j in range(Z.rows) if any(source.col(j)))
    y, c = source.col(column), E.col(column)  # Z c = y; or, where EZ = 0, Z c = 0 and y = c
    rows = (Matrix([[t**n for n in range(Z.rows)]]) for t in range(2 * Z.rows))
    b = next(b for b in rows if (b * y)[0] and (b * c)[0])
    b = b / (b * y)[0]
    return [*factors(Z - y * b * E), unit + c * b * E / (b * c)[0]]


def updated(layers: Sequence[Matrix], ranks: Sequence[int], target: Matrix) -> list[Matrix]:
    """The layers with updates of these ranks, whose product is the target."""
    unit, before, made = sympy.eye(target.rows), sympy.eye(target.rows), []
    left = factors(target * chain(layers).inv())
    for W, rank in zip(layers, ranks, strict=True):
        own, left = left[:rank], left[rank:]
        made.append(before.inv() * chain([unit, *own]) * before * W)
        before = before * W
    return made


def reached(layers: Sequence[Matrix], ranks: Sequence[int], target: Matrix) -> bool:
    """`updated` keeps its word."""
    made = updated(layers, ranks, target)
    small = all((M - W).rank() <= r for M, W, r in zip(made, layers, ranks, strict=True))
    return small and bool(chain(made) == target)


def prove() -> list[Step]:
    """The factors and the bound; then all small targets, and singular ones of size 3."""
    deep = [reached(THREE, ranks, Z * chain(THREE)) for Z in SHAPES for ranks in RANKS]
    all_small = all(reached((W1, W2), (1, 1), target) for target in TARGETS)
    return [
        *(Step(name, Scope.SYMBOLIC, ok) for name, ok in matrix_steps().items()),
        Step("all 81 targets of entries -1, 0, 1", Scope.WITNESS, all_small),
        Step("three layers: 0, a projection, 2I, a nilpotent", Scope.WITNESS, all(deep)),
    ]


def holds(values: Instance) -> bool:
    """The equations for all entries of the A_l and B_l have a solution (their Groebner basis)."""
    unknowns: list[sympy.Symbol] = []
    layers = []
    for n, (W, r) in enumerate(zip(values["layers"], values["ranks"], strict=True)):
        entries = sympy.symbols(f"x{n}_:{4 * r}")
        unknowns += entries
        layers.append(W + Matrix(2, r, entries[: 2 * r]) * Matrix(r, 2, entries[2 * r :]))
    equations = [x for x in chain(layers) - values["target"] if x != 0]
    return bool(sympy.groebner(equations, *unknowns, order="grevlex").exprs != [1])


CONTROL = {"layers": (W1, W2), "ranks": (1, 1), "target": Matrix([[3, 1], [-2, 4]])}

CLAIM = Claim(
    id="C12",
    title="Depth adds ranks up",
    latex=r"\operatorname{rank}\Bigl(T - \prod_l W_l\Bigr) \le \sum_l r_l \implies"
    r" \exists A_l, B_l:\ \prod_l (W_l + A_l B_l) = T",
    hypotheses={
        "non-singular": Hypothesis(
            "every W_l is non-singular", lambda v: all(W.det() != 0 for W in v["layers"])
        ),
        "ranks": Hypothesis(
            "rank(T - W_1...W_N) <= sum r_l",
            lambda v: (v["target"] - chain(v["layers"])).rank() <= sum(v["ranks"]),
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "non-singular": {**CONTROL, "layers": (sympy.zeros(2), W2)},
        "ranks": {**CONTROL, "ranks": (1, 0)},
    },
    cited=("rank and nullity add up to d", "rank(X + Y) <= rank X + rank Y; products"),
    not_proved=(
        "ReLU networks and transformers (Zeng & Lee 2024, where r must be half the width)",
        "that training finds the updates",
    ),
    source="not in the thesis, which adapts several layers at once; Zeng & Lee 2024",
)
