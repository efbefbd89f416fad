"""The kernel against dense exact algebra: random expressions, with random rational matrices for
their symbols.

An expression is a nested tuple that two interpreters read: the kernel, and matrices of fractions.
Equal normal forms must be equal densely; unequal ones must differ for some matrices.
"""

# ruff: noqa: N806 - matrices are written as in the formulas

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import MatrixSymbol, Rational
from sympy.polys.domains import QQ
from sympy.polys.matrices import DomainMatrix

from proofs import kernel
from proofs.kernel import Matrix, ShapeError, Trace, Word, identity, sizes, symbol, trace, zero

Node = tuple[Any, ...]
Dense = Any  # an array of fractions
Shape = tuple[str, str]

d, r, k = sizes("d r k")
SIZES = {"d": d, "r": r, "k": k}
s, t = sympy.symbols("s t")
SYMBOLS: dict[str, tuple[str, str, bool]] = {
    "A": ("d", "r", False),
    "B": ("r", "k", False),
    "C": ("d", "r", False),
    "W": ("d", "k", False),
    "G": ("d", "d", False),
    "S": ("d", "d", True),
    "P": ("r", "r", True),
}
RULED = {
    "G": ("d", "d", False),
    "H": ("d", "d", False),
    "Q": ("r", "d", False),
    "P": ("d", "d", True),
    "A": ("d", "r", False),
}
RULES = {
    "G H": identity(d),
    "H G": identity(d),
    "G' H'": identity(d),
    "H' G'": identity(d),
    "Q Q'": identity(r),
    "P P'": symbol("P", d, d, symmetric=True),
}
"""H is G's inverse, the rows of Q are orthonormal, P is an orthogonal projector."""
FACTORS = (Rational(-1), Rational(2), Rational(1, 3), s, s + t, s * t - 1, s / t, 1 / (s + 1))


# -- the two interpreters


def typed(node: Node, table: dict[str, tuple[str, str, bool]] = SYMBOLS) -> Matrix:
    """The expression in the kernel."""
    match node:
        case ("symbol", name):
            rows, columns, symmetric = table[name]
            return symbol(name, SIZES[rows], SIZES[columns], symmetric)
        case ("identity", size):
            return identity(SIZES[size])
        case ("zero", rows, columns):
            return zero(SIZES[rows], SIZES[columns])
        case ("turn", one):
            return typed(one, table).T
        case ("scale", factor, one):
            return factor * typed(one, table)
        case ("add", one, other):
            return typed(one, table) + typed(other, table)
        case ("multiply", one, other):
            return typed(one, table) @ typed(other, table)
    raise AssertionError(node)


@dataclass(frozen=True)
class World:
    """A size for every size, a matrix for every symbol, a number for every scalar."""

    sizes: dict[str, int]
    matrices: dict[str, Dense]
    scalars: dict[sympy.Symbol, Rational]

    def number(self, factor: sympy.Expr) -> Fraction:
        value = sympy.sympify(factor).subs(self.scalars)
        value = value.subs({SIZES[name]: n for name, n in self.sizes.items()})
        return Fraction(int(value.p), int(value.q))

    def eye(self, size: str) -> Dense:
        return exact(np.eye(self.sizes[size], dtype=int))

    def value(self, node: Node) -> Dense:
        """The expression, by matrices of fractions."""
        match node:
            case ("symbol", name):
                return self.matrices[name]
            case ("identity", size):
                return self.eye(size)
            case ("zero", rows, columns):
                return exact(np.zeros((self.sizes[rows], self.sizes[columns]), dtype=int))
            case ("turn", one):
                return self.value(one).T
            case ("scale", factor, one):
                return self.number(factor) * self.value(one)
            case ("add", one, other):
                return self.value(one) + self.value(other)
            case ("multiply", one, other):
                return self.value(one) @ self.value(other)
        raise AssertionError(node)

    def word(self, letters: Word, rows: str) -> Dense:
        product = self.eye(rows)
        for name, turned in letters:
            product = product @ (self.matrices[name].T if turned else self.matrices[name])
        return product

    def normal_form(self, matrix: Matrix) -> Dense:
        rows, columns = str(matrix.rows), str(matrix.columns)
        total = self.value(("zero", rows, columns))
        for letters, c in matrix.terms:
            total = total + self.number(c) * self.word(letters, rows)
        return total

    def trace(self, value: Trace) -> Fraction:
        total = Fraction(0)
        for letters, c in value.terms:
            if letters:
                name, turned = letters[0]
                rows = value.symbols[name].columns if turned else value.symbols[name].rows
                total += self.number(c) * np.trace(self.word(letters, str(rows)))
            else:
                total += self.number(c)
        return total


def exact(values: Any) -> Dense:
    return np.vectorize(Fraction, otypes=[object])(np.asarray(values, dtype=object))


def equal(one: Dense, other: Dense) -> bool:
    return bool(one.shape == other.shape and (one == other).all())


def world(
    random: Random, least: int = 1, most: int = 4, table: dict[str, tuple[str, str, bool]] = SYMBOLS
) -> World:
    """Random sizes and entries."""
    size = {name: random.randint(least, most) for name in SIZES}
    matrices = {}
    for name, (rows, columns, symmetric) in table.items():
        entries = [
            [random.randint(-99, 99) for _ in range(size[columns])] for _ in range(size[rows])
        ]
        matrices[name] = exact(entries) + (exact(entries).T if symmetric else 0)
    scalars = {x: Rational(random.randint(10**6, 10**7), 10**6 + 3) for x in (s, t)}
    return World(size, matrices, scalars)


def inverse(matrix: Dense) -> Dense:
    """By sympy's exact elimination; `ZeroDivisionError` and its like when there is none."""
    n = len(matrix)
    rows = [[QQ(x.numerator, x.denominator) for x in row] for row in matrix]
    found = DomainMatrix(rows, (n, n), QQ).inv().to_list()
    return exact([[Fraction(int(x.numerator), int(x.denominator)) for x in row] for row in found])


def ruled_world(random: Random, least: int = 1, most: int = 3) -> World:
    """One of which the rules are true; a rotation comes from a skew matrix by Cayley's formula."""
    size = {name: random.randint(least, most) for name in SIZES}
    n = size["d"] = size["r"] + random.randint(1, 2)

    def square() -> Dense:
        return exact([[random.randint(-9, 9) for _ in range(n)] for _ in range(n)])

    def rotation() -> Dense:
        skew = square()
        skew = skew - skew.T
        one = exact(np.eye(n, dtype=int))
        return (one - skew) @ inverse(one + skew)

    G = square() + 100 * exact(np.eye(n, dtype=int))  # dominated by its diagonal
    basis = rotation()[: (n + 1) // 2]
    A = exact([[random.randint(-9, 9) for _ in range(size["r"])] for _ in range(n)])
    matrices = {"G": G, "H": inverse(G), "Q": rotation()[: size["r"]], "P": basis.T @ basis, "A": A}
    return World(size, matrices, {s: Rational(20011, 70001), t: Rational(50021, 30011)})


# -- random expressions


@st.composite
def expressions(
    draw: Callable[..., Any],
    shape: Shape,
    depth: int = 3,
    table: dict[str, tuple[str, str, bool]] = SYMBOLS,
) -> Node:
    """An expression of that shape."""
    rows, columns = shape
    leaves: list[Node] = []
    for name, (own_rows, own_columns, _) in table.items():
        if (own_rows, own_columns) == shape:
            leaves.append(("symbol", name))
        if (own_columns, own_rows) == shape:
            leaves.append(("turn", ("symbol", name)))
    if rows == columns:
        leaves.append(("identity", rows))
    kinds = ["leaf", "add", "multiply", "multiply", "turn", "scale"] if depth else ["leaf"]

    def part(*of: str) -> Node:
        return draw(expressions((of[0], of[1]), depth - 1, table))

    match draw(st.sampled_from(kinds)):
        case "leaf":
            return draw(st.sampled_from(leaves or [("zero", rows, columns)]))
        case "add":
            return ("add", part(*shape), part(*shape))
        case "turn":
            return ("turn", part(columns, rows))
        case "scale":
            return ("scale", draw(st.sampled_from(FACTORS)), part(*shape))
        case _:
            inner = draw(st.sampled_from(sorted(SIZES)))
            return ("multiply", part(rows, inner), part(inner, columns))


shapes = st.tuples(st.sampled_from(sorted(SIZES)), st.sampled_from(sorted(SIZES)))
randoms = st.integers(0, 2**32).map(Random)


def another(node: Node, random: Random) -> Node:
    """The same matrix otherwise written, by the laws of matrix algebra."""
    parts = tuple(another(p, random) if isinstance(p, tuple) else p for p in node)
    return ("turn", law(("turn", parts))) if random.random() < 0.3 else law(parts)


def law(node: Node) -> Node:
    """The first law that applies."""
    match node:
        case ("add", one, other):
            return ("add", other, one)
        case ("multiply", one, ("multiply", two, three)):
            return ("multiply", ("multiply", one, two), three)
        case ("multiply", one, ("add", two, three)):
            return ("add", ("multiply", one, two), ("multiply", one, three))
        case ("multiply", ("add", one, two), three):
            return ("add", ("multiply", one, three), ("multiply", two, three))
        case ("multiply", one, ("scale", factor, two)):
            return ("scale", factor, ("multiply", one, two))
        case ("turn", ("multiply", one, other)):
            return ("multiply", ("turn", other), ("turn", one))
        case ("turn", ("add", one, other)):
            return ("add", ("turn", one), ("turn", other))
        case ("scale", factor, one):
            half = ("scale", factor / 2, one)
            return ("add", half, half)
    return node


def near(node: Node, random: Random) -> Node:
    """The expression with something slightly wrong, of the same shape."""
    match node:
        case ("turn", ("symbol", name)) if SYMBOLS[name][0] == SYMBOLS[name][1]:
            return ("symbol", name)
        case ("symbol", name) if SYMBOLS[name][0] == SYMBOLS[name][1]:
            return ("turn", node)
        case ("symbol", "A" | "C" as name):
            return ("symbol", "C" if name == "A" else "A")
        case ("scale", factor, one):
            return ("scale", factor + 1, one)
        case ("add" | "multiply" | "turn" as kind, *parts):
            at = random.randrange(len(parts))
            parts[at] = near(parts[at], random)
            return (kind, *parts)
    return ("scale", Rational(2), node)


def longest(*matrices: Matrix | Trace) -> int:
    return max((len(letters) for m in matrices for letters, _ in m.terms), default=0)


pairs = shapes.flatmap(lambda shape: st.tuples(expressions(shape), expressions(shape)))
squares = st.sampled_from(sorted(SIZES)).flatmap(lambda n: expressions((n, n)))


# -- the kernel is right


@settings(max_examples=80, deadline=None)
@given(shapes.flatmap(expressions), randoms)
def test_a_normal_form_has_the_value_of_its_expression(node: Node, random: Random) -> None:
    here = world(random)
    matrix = typed(node)
    assert equal(here.normal_form(matrix), here.value(node))
    assert equal(here.normal_form(matrix.T), here.value(node).T)
    assert (str(matrix) == "0") == (matrix == zero(*matrix.shape))


@settings(max_examples=60, deadline=None)
@given(shapes.flatmap(expressions), randoms)
def test_the_laws_of_matrix_algebra_hold(node: Node, random: Random) -> None:
    one, other = typed(node), typed(another(node, random))
    assert one == other
    assert hash(one) == hash(other)
    assert one - other == zero(*one.shape)
    if node[0] == "multiply":
        left, right = typed(node[1]), typed(node[2])
        assert trace(one @ one.T) == trace(right.T @ left.T @ left @ right)


@settings(max_examples=60, deadline=None)
@given(pairs, randoms, st.booleans())
def test_equality_is_dense_equality(pair: tuple[Node, Node], random: Random, close: bool) -> None:
    one, other = pair
    if close:
        other = near(another(one, random), random)
    size = longest(typed(one), typed(other)) + 1  # large enough to tell all words apart
    large = world(random, size, size)
    assert equal(large.value(one), large.value(other)) == (typed(one) == typed(other))


@settings(max_examples=60, deadline=None)
@given(squares, squares, randoms, st.sampled_from(["turned", "near", "other"]))
def test_traces_are_dense_traces(one: Node, other: Node, random: Random, kind: str) -> None:
    if kind != "other" or typed(one).shape != typed(other).shape:
        other = another(one, random) if kind == "turned" else near(one, random)
        other = ("turn", other)
    here = world(random)
    assert here.trace(trace(typed(one))) == np.trace(here.value(one))
    size = longest(typed(one), typed(other)) + 1
    large = world(random, size, size)
    same = np.trace(large.value(one)) == np.trace(large.value(other))
    assert same == (trace(typed(one)) == trace(typed(other)))


@settings(max_examples=40, deadline=None)
@given(shapes.flatmap(lambda ab: st.tuples(expressions(ab, 2), expressions(ab[::-1], 2))), randoms)
def test_a_trace_turns_and_goes_round(pair: tuple[Node, Node], random: Random) -> None:
    one, other = (typed(node) for node in pair)
    assert trace(one @ other) == trace(other @ one) == trace(one.T @ other.T)
    assert 2 * trace(one @ other) - trace(other @ one) == trace(one @ other)
    here = world(random)
    assert here.trace(kernel.square_norm(one)) == (here.value(pair[0]) ** 2).sum()


ruled = st.sampled_from([("d", "d"), ("r", "d"), ("d", "r"), ("r", "r")]).flatmap(
    lambda shape: expressions(shape, 4, RULED)
)


@settings(max_examples=60, deadline=None)
@given(ruled, randoms)
def test_rewriting_keeps_the_value(node: Node, random: Random) -> None:
    matrix = typed(node, RULED)
    done = matrix.rewrite(RULES)
    here = ruled_world(random)
    assert equal(here.normal_form(done), here.value(node))
    for letters, _ in done.terms:
        written = " ".join(name + "'" * turned for name, turned in letters)
        assert not any(f" {left} " in f" {written} " for left in (*RULES, "P P"))
    backwards = dict(reversed(RULES.items()))
    assert matrix.rewrite(backwards) == done
    assert matrix.T.rewrite(RULES) == done.T


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["d", "r"]).flatmap(
        lambda n: st.tuples(*(expressions((n, n), 3, RULED) for _ in range(2)))
    ),
    randoms,
)
def test_equality_after_rewriting_is_dense_equality(
    pair: tuple[Node, Node], random: Random
) -> None:
    one, other = pair
    said = typed(one, RULED).rewrite(RULES) == typed(other, RULED).rewrite(RULES)
    worlds = [ruled_world(random, 2, 4) for _ in range(3)]
    assert said == all(equal(w.value(one), w.value(other)) for w in worlds)


def test_a_definition_is_put_in_place() -> None:
    A, B, W, M = symbol("A", d, r), symbol("B", r, k), symbol("W", d, k), symbol("M", d, k)
    update = s * (A @ B)
    assert update.rewrite({"A B": M}) == s * M
    assert (M.T @ M).rewrite({"M": A @ B, "M'": B.T @ A.T}) == B.T @ A.T @ A @ B
    assert update.rewrite({"Z Z": W, "A B": M}) == s * M  # no Z, no rule


# -- and refuses the rest


@settings(max_examples=25, deadline=None)
@given(shapes, shapes, st.data())
def test_what_does_not_fit_is_refused(one: Shape, other: Shape, data: Any) -> None:
    a, b = typed(data.draw(expressions(one, 2))), typed(data.draw(expressions(other, 2)))
    fits: dict[Callable[[], object], bool] = {
        lambda: a + b: one == other,
        lambda: a - b: one == other,
        lambda: a == b: one == other,
        lambda: a @ b: one[1] == other[0],
        lambda: trace(a): one[0] == one[1],
        lambda: symbol("N", *a.shape, symmetric=True): one[0] == one[1],
        lambda: symbol("N", *a.shape).rewrite({"N": b}): one == other,
        lambda: (symbol("N", *a.shape).T).rewrite({"N'": b}): one[::-1] == other,
        lambda: symbol("N", *a.shape).rewrite({"N N": a}): one[0] == one[1],
        lambda: symbol("N", *a.shape) @ symbol("M", *b.shape): one[1] == other[0],
    }
    for make, allowed in fits.items():
        if allowed:
            make()
        else:
            with pytest.raises(ShapeError):
                make()


def test_equal_sizes_may_be_written_differently() -> None:
    one, other = symbol("A", d * (r + 1), k), symbol("B", d * r + d, k)
    assert (one + other).shape == one.shape
    with pytest.raises(ShapeError):
        one + symbol("C", d * r + 1, k)


@pytest.mark.parametrize(
    "use",
    [
        lambda a, b: a + b,
        lambda a, b: a @ b,
        lambda a, b: a == b,
        lambda a, b: trace(a) + trace(b),
        lambda a, b: trace(a) == trace(b),
        lambda a, b: a.rewrite({"N": b}),
        lambda a, b: a.rewrite({"Z": b}),
    ],
)
def test_one_name_is_one_matrix(use: Callable[[Matrix, Matrix], object]) -> None:
    plain = symbol("N", d, d)
    use(plain, symbol("M", d, d))
    for other in (symbol("N", d, d, symmetric=True), _hidden(k, k), _hidden(d, k), _hidden(k, d)):
        with pytest.raises(ShapeError):
            use(plain, other)


def _hidden(rows: Any, columns: Any) -> Matrix:
    """A square matrix of d rows in which another N occurs, and no longer shows."""
    left = symbol("L", d, rows) @ symbol("N", rows, columns) @ symbol("R", columns, d)
    return symbol("M", d, d) + left - left


def test_traces_of_two_shapes_are_not_mixed() -> None:
    with pytest.raises(ShapeError):
        trace(symbol("N", d, d)) + trace(symbol("N", k, k))
    assert trace(identity(d)) != trace(identity(k))


@pytest.mark.parametrize("size", [-1, Rational(1, 2), -d])
def test_no_matrix_has_such_a_size(size: Any) -> None:
    for make in (identity, lambda n: zero(n, d), lambda n: zero(d, n), lambda n: symbol("A", n, d)):
        with pytest.raises(ShapeError):
            make(size)


@pytest.mark.parametrize("factor", [0.5, "x", MatrixSymbol("X", d, d), True, 0.5 * s, None])
def test_a_coefficient_is_an_exact_scalar(factor: Any) -> None:
    for one in (symbol("A", d, d), trace(symbol("A", d, d))):
        with pytest.raises((TypeError, ValueError)):
            factor * one


@pytest.mark.parametrize("name", ["", "A'", "A B", " "])
def test_a_name_is_one_letter_of_a_word(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        symbol(name, d, d)


def test_words_are_read_with_care() -> None:
    assert kernel.word("A B' C''") == (("A", False), ("B", True), ("C", False))
    for wrong in ("A'B", "'", "A ' B"):
        with pytest.raises(ValueError, match="is not a word"):
            kernel.word(wrong)
    A = symbol("A", d, d)
    with pytest.raises(ShapeError, match="empty"):
        A.rewrite({"": A})


def test_it_is_written_as_a_sum_of_words() -> None:
    A, B = symbol("A", d, r), symbol("B", r, k)
    assert str(A @ B - (s + t) * (B.T @ A.T).T) == "(-s - t + 1)*A B"
    assert str(identity(d) - 2 * (A @ A.T)) == "I + -2*A A'"
    assert str(A - A) == "0"


def test_a_fraction_that_vanishes_is_zero() -> None:
    A = symbol("A", d, r)
    assert (s / (s + 1)) * A + (1 / (s + 1)) * A == A


def test_a_product_of_size_one_is_not_known_to_be_a_number() -> None:
    """Equality is that for all sizes: here it says less than is true, never more."""
    x, y = symbol("x", d, 1), symbol("y", d, 1)
    assert x.T @ y != y.T @ x
    assert trace(x.T @ y) == trace(y.T @ x)


def test_sympy_does_not_refuse() -> None:
    """Why there is a kernel: sympy says nothing against what has no meaning."""
    q = sizes("q")[0]
    silent = MatrixSymbol("A", d, r) * MatrixSymbol("B", q, k)
    assert silent.shape == (d, k)
    assert (MatrixSymbol("W", d, k) + MatrixSymbol("A", d, r)).shape in ((d, k), (d, r))
    with pytest.raises(ShapeError):
        symbol("A", d, r) @ symbol("B", q, k)
    with pytest.raises(ShapeError):
        symbol("W", d, k) + symbol("A", d, r)
