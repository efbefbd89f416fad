"""A product of a d x r and an r x k matrix has rank at most r; all ranks to min(d, k, r) occur.

LoRA adds such a product AB, an adapter, to a frozen d x k weight: whatever A and B become, this
moves the weight by a matrix of rank at most r. The sum of two adapters may have rank 2r.

Proof. `[[I, B], [A, AB]]`, between two triangular matrices with ones on the diagonal, which are
invertible, becomes `diag(I_r, 0)`. So its rank is r, and AB is a part of it. For q <= min(d, k, r)
put ones at the first q places of A's diagonal and on all of B's, zeros elsewhere: AB has rank q;
one case is computed. As a second check all minors of AB of order r + 1 (determinants of r + 1 rows
and columns) are expanded at small sizes.

An instance is r and the pairs (A, B) of its adapters. `python -m proofs` checks that all steps are
true; that `control` fits all hypotheses and `holds` is true of it; and that each of `models`, a
counterexample, violates the hypothesis of its name alone, and `holds` is false of it. `cited` lists
known facts used without proof; `source` says where the claim comes from.
"""

from itertools import combinations

import sympy
from sympy import BlockMatrix, Identity, MatrixSymbol, ZeroMatrix

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

SIZES = ((2, 2, 1), (3, 3, 1), (3, 3, 2), (3, 4, 2), (4, 4, 2))
"""(d, k, r) at which the minors are expanded."""


def certificate() -> bool:
    """`[[I, 0], [-A, I]] [[I, B], [A, AB]] [[I, -B], [0, I]] = diag(I_r, 0)` for all sizes."""
    d, r, k = sympy.symbols("d r k", integer=True, positive=True)
    A, B = MatrixSymbol("A", d, r), MatrixSymbol("B", r, k)
    left = BlockMatrix([[Identity(r), ZeroMatrix(r, d)], [-A, Identity(d)]])
    middle = BlockMatrix([[Identity(r), B], [A, A * B]])
    right = BlockMatrix([[Identity(r), -B], [ZeroMatrix(k, r), Identity(k)]])
    product = sympy.block_collapse(left * middle * right)
    wanted = [[Identity(r), ZeroMatrix(r, k)], [ZeroMatrix(d, r), ZeroMatrix(d, k)]]
    blocks = [[product.blocks[i, j] for j in range(2)] for i in range(2)]
    return bool(blocks == wanted)


def minors_vanish(d: int, k: int, r: int) -> bool:
    """All minors of order r + 1 are the zero polynomial; `symbols("a:6")` makes a0 to a5."""
    product = sympy.Matrix(d, r, sympy.symbols(f"a:{d * r}")) * sympy.Matrix(
        r, k, sympy.symbols(f"b:{r * k}")
    )
    return all(
        sympy.expand(product.extract(list(rows), list(columns)).det()) == 0
        for rows in combinations(range(d), r + 1)
        for columns in combinations(range(k), r + 1)
    )


def update(values: Instance) -> sympy.Matrix:
    """The sum of all adapters' products."""
    products = [A * B for A, B in values["adapters"]]
    return sum(products[1:], products[0])


def prove() -> list[Step]:
    """SYMBOLIC: for all sizes. FIXED: for all entries, at SIZES. WITNESS: one example each."""
    ranks = [(sympy.eye(4, q) * sympy.eye(q, 4) * sympy.eye(4, 5)).rank() for q in range(1, 5)]
    return [
        Step("elimination to diag(I_r, 0)", Scope.SYMBOLIC, certificate()),
        *(Step(f"minors at {size}", Scope.FIXED, minors_vanish(*size)) for size in SIZES),
        Step("r = 4, 4 x 5: the ranks 1 to 4 occur", Scope.WITNESS, ranks == [1, 2, 3, 4]),
    ]


COLUMN, ROW = sympy.Matrix([1, 2, 3]), sympy.Matrix([[4, 5, 6]])
OTHER = (sympy.Matrix([1, 0, 0]), sympy.Matrix([[0, 1, 0]]))

CLAIM = Claim(
    id="C03",
    title="The rank of a LoRA update",
    latex=r"\operatorname{rank}(AB) \le r",
    hypotheses={
        "inner size": Hypothesis(
            "A has at most r columns", lambda v: all(A.cols <= v["r"] for A, _ in v["adapters"])
        ),
        "one adapter": Hypothesis("the update is one product", lambda v: len(v["adapters"]) == 1),
    },
    holds=lambda v: update(v).rank() <= v["r"],
    prove=prove,
    control={"r": 1, "adapters": ((COLUMN, ROW),)},
    models={
        "inner size": {"r": 1, "adapters": ((sympy.eye(3, 2), sympy.eye(2, 3)),)},
        "one adapter": {"r": 1, "adapters": ((COLUMN, ROW), OTHER)},
    },
    cited=(
        "a part of a matrix has no larger rank than the matrix",
        "multiplying by invertible matrices keeps the rank",
    ),
    source="thesis of A. Remizova (MIPT, 2024): the update is approximated by a product AB",
)
