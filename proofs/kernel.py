"""Matrix algebra over symbolic dimensions that refuses ill-shaped terms.

sympy multiplies a `MatrixSymbol` of shape (d, r) with one of shape (q, k) without a word as long as
the sizes are symbols, so building an expression with it proves no shape. Here every matrix has a
shape, a product or sum of the wrong shapes raises `ShapeError`, and two expressions are equal when
their normal forms are: sums of words, a word being a product of symbols and transposed symbols.

    d, r, k = sizes("d r k")
    A, B = symbol("A", d, r), symbol("B", r, k)
    assert (A @ B).T == B.T @ A.T
    A @ A                                   # raises ShapeError: (d, r) @ (d, r)

A rule such as `{"B B'": identity(r)}` rewrites words; `trace` compares words up to rotation and
transposition. Coefficients are exact sympy expressions that commute.

Equal normal forms are equal for all matrices of these shapes. Unequal ones differ for some, as long
as the sizes are symbols: that a product of shape (1, 1) is a number is not known here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import sympy
from sympy import Expr, Integer, Symbol

Size: TypeAlias = Expr
Letter = tuple[str, bool]
"""A symbol's name, and whether it is transposed."""
Word = tuple[Letter, ...]
"""A product; the empty one is the identity."""


class ShapeError(ValueError):
    """A sum or product of matrices whose shapes do not fit."""


def sizes(names: str) -> tuple[Symbol, ...]:
    """Symbols for positive whole numbers, such as `sizes("d r k")`."""
    return tuple(sympy.symbols(names, integer=True, positive=True, seq=True))


def _size(size: Any) -> Size:
    """Of a matrix; a number must be whole and not negative."""
    n = sympy.sympify(size)
    if n.is_integer is False or n.is_negative:
        raise ShapeError(f"{n} is no size")
    return n


def _same(a: Size, b: Size) -> bool:
    return bool(a == b or sympy.simplify(a - b) == 0)


def _scalar(factor: Any) -> Expr:
    """A coefficient: exact, and no matrix."""
    c = sympy.sympify(factor, strict=True)
    if not isinstance(c, Expr) or not c.is_commutative or c.has(sympy.Float):
        raise TypeError(f"{factor!r} is no exact scalar")
    return c


def _tidy(c: Expr) -> Expr:
    """Expanded; a fraction is cancelled too, so that it is 0 when it vanishes."""
    if c.is_Atom:
        return c
    c = sympy.expand(c)
    return c if c.is_polynomial() else sympy.cancel(c)


@dataclass(frozen=True)
class Shape:
    """Of a symbol, and whether it is its own transpose."""

    rows: Size
    columns: Size
    symmetric: bool = False


@dataclass(frozen=True)
class Matrix:
    """A (rows, columns) matrix: a sum of words with coefficients, none of them zero."""

    rows: Size
    columns: Size
    terms: tuple[tuple[Word, Expr], ...]
    """Sorted by word."""
    symbols: Mapping[str, "Shape"]
    """Of every name that occurs, or has occurred on the way here."""

    @property
    def shape(self) -> tuple[Size, Size]:
        """(rows, columns)."""
        return self.rows, self.columns

    @property
    def T(self) -> "Matrix":
        """The transpose."""
        turned = [(_turned(letters, self.symbols), c) for letters, c in self.terms]
        return _sum(self.columns, self.rows, turned, self.symbols)

    def __add__(self, other: "Matrix") -> "Matrix":
        if not (_same(self.rows, other.rows) and _same(self.columns, other.columns)):
            raise ShapeError(f"{self.shape} + {other.shape}")
        symbols = _together(self.symbols, other.symbols)
        return _sum(self.rows, self.columns, (*self.terms, *other.terms), symbols)

    def __neg__(self) -> "Matrix":
        return self.__rmul__(-1)

    def __sub__(self, other: "Matrix") -> "Matrix":
        return self + -other

    def __rmul__(self, factor: Any) -> "Matrix":
        """A scalar times the matrix."""
        by = _scalar(factor)
        scaled = [(letters, by * c) for letters, c in self.terms]
        return _sum(self.rows, self.columns, scaled, self.symbols)

    def __matmul__(self, other: "Matrix") -> "Matrix":
        if not _same(self.columns, other.rows):
            raise ShapeError(f"{self.shape} @ {other.shape}")
        terms = [(a + b, x * y) for a, x in self.terms for b, y in other.terms]
        return _sum(self.rows, other.columns, terms, _together(self.symbols, other.symbols))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Matrix):
            return NotImplemented
        return not (self - other).terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def rewrite(self, rules: Mapping[str, "Matrix"]) -> "Matrix":
        """Replace words until none of the rules applies.

        A rule's left side is written as letters between spaces, a transposed one with `'`. Both
        sides must have the same shape, else `ShapeError`; that the right side does not bring the
        left one back is the caller's to see to. A rule on a name that does not occur is left out.
        """
        symbols = self.symbols
        fitting = []
        for text, right in rules.items():
            symbols = _together(symbols, right.symbols)
            if all(name in self.symbols for name, _ in word(text)):
                left = _plain(word(text), self.symbols)
                _refuse_other_shape(left, right, self.symbols)
                fitting.append((left, right))
        for left, right in fitting:
            for place, (own, c) in enumerate(self.terms):
                at = _find(own, left)
                if at is not None:
                    before, behind = own[:at], own[at + len(left) :]
                    made = [(before + w + behind, c * x) for w, x in right.terms]
                    rest = self.terms[:place] + self.terms[place + 1 :]
                    return _sum(self.rows, self.columns, (*rest, *made), symbols).rewrite(rules)
        return self

    def __str__(self) -> str:
        factors = ["" if c == 1 else f"({c})*" if c.is_Add else f"{c}*" for _, c in self.terms]
        words = [_written(letters) for letters, _ in self.terms]
        return " + ".join(map("".join, zip(factors, words, strict=True))) or "0"


def _turned(letters: Word, symbols: Mapping[str, Shape]) -> Word:
    """The transpose of a product."""
    return _plain(tuple((name, not flag) for name, flag in reversed(letters)), symbols)


def _plain(letters: Word, symbols: Mapping[str, Shape]) -> Word:
    """The same product; a symmetric symbol is never written as transposed."""
    return tuple((name, flag and not symbols[name].symmetric) for name, flag in letters)


def _together(one: Mapping[str, Shape], other: Mapping[str, Shape]) -> Mapping[str, Shape]:
    """Both tables of symbols; one name is one matrix."""
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if a.symmetric != b.symmetric or not (
            _same(a.rows, b.rows) and _same(a.columns, b.columns)
        ):
            raise ShapeError(f"{name} is {a} and {b}: choose two names")
    return {**one, **other}


def _refuse_other_shape(left: Word, right: Matrix, symbols: Mapping[str, Shape]) -> None:
    """`ShapeError` unless the letters can be multiplied, to the shape of `right`."""
    if not left:
        raise ShapeError("a rule's left side is empty")
    shapes = [symbols[name] for name, _ in left]
    rows = [s.columns if flag else s.rows for s, (_, flag) in zip(shapes, left, strict=True)]
    columns = [s.rows if flag else s.columns for s, (_, flag) in zip(shapes, left, strict=True)]
    fits = [_same(a, b) for a, b in zip(columns, [*rows[1:], right.columns], strict=True)]
    if not (all(fits) and _same(rows[0], right.rows)):
        raise ShapeError(f"{_written(left)} is not of shape {right.shape}")


def word(text: str) -> Word:
    """`"A B'"` as a word."""
    letters = [(letter.rstrip("'"), letter.count("'") % 2 == 1) for letter in text.split()]
    if any("'" in name or not name for name, _ in letters):
        raise ValueError(f"{text!r} is not a word: write letters between spaces")
    return tuple(letters)


def _written(letters: Word) -> str:
    return " ".join(name + "'" * flag for name, flag in letters) or "I"


def _find(letters: Word, part: Word) -> int | None:
    ends = range(len(letters) - len(part) + 1)
    return next((i for i in ends if letters[i : i + len(part)] == part), None)


def _sum(
    rows: Size,
    columns: Size,
    terms: Iterable[tuple[Word, Expr]],
    symbols: Mapping[str, Shape],
) -> Matrix:
    collected: dict[Word, Expr] = {}
    for letters, c in terms:
        collected[letters] = collected.get(letters, Integer(0)) + c
    tidy = ((letters, _tidy(c)) for letters, c in collected.items())
    kept = tuple(sorted((letters, c) for letters, c in tidy if c != 0))
    return Matrix(rows, columns, kept, symbols)


def symbol(name: str, rows: Any, columns: Any, symmetric: bool = False) -> Matrix:
    """A matrix of that shape about which nothing else is known.

    A symmetric one is its own transpose; `ShapeError` when it is not square.
    """
    if "'" in name or len(name.split()) != 1:
        raise ValueError(f"{name!r} cannot be told from other words: a name has no space and no '")
    shape = Shape(_size(rows), _size(columns), symmetric)
    if symmetric and not _same(shape.rows, shape.columns):
        raise ShapeError(f"{name} of shape {(shape.rows, shape.columns)} is not square")
    return Matrix(shape.rows, shape.columns, ((((name, False),), Integer(1)),), {name: shape})


def identity(size: Any) -> Matrix:
    """I."""
    n = _size(size)
    return Matrix(n, n, (((), Integer(1)),), {})


def zero(rows: Any, columns: Any) -> Matrix:
    """All zeros."""
    return Matrix(_size(rows), _size(columns), (), {})


@dataclass(frozen=True)
class Trace:
    """A sum of traces of words, each up to rotation and transposition, and a number."""

    terms: tuple[tuple[Word, Expr], ...]
    symbols: Mapping[str, Shape]

    def __add__(self, other: "Trace") -> "Trace":
        symbols = _together(self.symbols, other.symbols)
        return _traces((*self.terms, *other.terms), symbols)

    def __sub__(self, other: "Trace") -> "Trace":
        return self + other.__rmul__(-1)

    def __rmul__(self, factor: Any) -> "Trace":
        by = _scalar(factor)
        return _traces([(letters, by * c) for letters, c in self.terms], self.symbols)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return not (self - other).terms

    def __hash__(self) -> int:
        return hash(self.terms)


def trace(matrix: Matrix) -> Trace:
    """tr(M); `ShapeError` when M is not square."""
    if not _same(matrix.rows, matrix.columns):
        raise ShapeError(f"trace of {matrix.shape}")
    terms: list[tuple[Word, Expr]] = []
    for letters, c in matrix.terms:
        if letters:
            terms.append((_canonical(letters, matrix.symbols), c))
        else:  # the identity's trace is its size
            terms.append(((), c * matrix.rows))
    return _traces(terms, matrix.symbols)


def _canonical(letters: Word, symbols: Mapping[str, Shape]) -> Word:
    """The least of all rotations of the word and of its transpose."""
    turned = _turned(letters, symbols)
    return min(w[i:] + w[:i] for w in (letters, turned) for i in range(len(w)))


def _traces(terms: Iterable[tuple[Word, Expr]], symbols: Mapping[str, Shape]) -> Trace:
    return Trace(_sum(Integer(1), Integer(1), terms, {}).terms, symbols)


def square_norm(matrix: Matrix) -> Trace:
    """The squared Frobenius norm, tr(M M')."""
    return trace(matrix @ matrix.T)
