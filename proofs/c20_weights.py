"""Class weights that pull equally and keep the total are `n / (K n_c)`; table 2 truncates them.

Let `n_c` texts of class `c` of K have weight `w_c`. If every class pulls equally, `n_c w_c` the
same for all `c`, and the weights keep the total, `sum n_c w_c = n`, then `w_c = n / (K n_c)`. Of
the corpus' own counts the three digits of this are those of the thesis' table 2, if the digits
behind are cut off. Rounded, cohere would be 1.044 and not the printed 1.043.

Proof. The equal products are `n / K`, as K of them sum to n. The rest is arithmetic; which counts
of cohere would round to 1.043 is found by trying all.
"""

from fractions import Fraction
from math import floor

import sympy

from proofs import facts
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

COUNTS = tuple(facts.texts().value.values())
PRINTED = tuple(Fraction(w) for w in facts.class_weights().value.values())


def balanced(counts: tuple[int, ...]) -> tuple[Fraction, ...]:
    """The weights n / (K n_c)."""
    return tuple(Fraction(sum(counts), len(counts) * n) for n in counts)


def cut(x: Fraction) -> Fraction:
    """Three digits, the rest dropped."""
    return Fraction(floor(1000 * x), 1000)


def nearest(x: Fraction) -> Fraction:
    """Three digits, rounded."""
    return Fraction(floor(1000 * x + Fraction(1, 2)), 1000)


def totals(v: Instance) -> list[Fraction]:
    """n_c w_c of every class."""
    return [n * w for n, w in zip(v["counts"], v["weights"], strict=True)]


def prove() -> list[Step]:
    """The weights for any K, the table, and what rounding would have needed."""
    n, K, c = sympy.symbols("n K c", positive=True, integer=True)
    pull, count = sympy.Symbol("pull"), sympy.IndexedBase("n")
    total = sympy.Sum(pull, (c, 1, K)).doit()
    (solved,) = sympy.solve(total - n, pull)
    kept = sympy.Sum(count[c] * (n / (K * count[c])), (c, 1, K)).doit()
    all_texts = facts.total_texts().value
    near = range(10_000, 13_000)  # as the weight falls with m, from 1.18 to 0.91 here
    fits = {
        way: [m for m in near if way(Fraction(all_texts, 4 * m)) == PRINTED[1]]
        for way in (cut, nearest)
    }
    return [
        Step("K equal pulls with the sum n are n / K", Scope.SYMBOLIC, (solved - n / K).equals(0)),
        Step("n / (K n_c) keeps the total, any K", Scope.SYMBOLIC, sympy.simplify(kept - n) == 0),
        Step("the counts sum to the thesis' total", Scope.WITNESS, sum(COUNTS) == all_texts),
        Step("cut, they are table 2", Scope.WITNESS, tuple(map(cut, balanced(COUNTS))) == PRINTED),
        Step(
            "rounded, cohere alone differs",
            Scope.WITNESS,
            [nearest(w) - p for w, p in zip(balanced(COUNTS), PRINTED, strict=True)]
            == [0, Fraction(1, 1000), 0, 0],
        ),
        Step(
            "rounding to 1.043 needs 11339 to 11349 texts of cohere among so many",
            Scope.WITNESS,
            fits[nearest] == list(range(11339, 11350)),
        ),
        Step("cutting allows the corpus' 11336", Scope.WITNESS, COUNTS[1] in fits[cut]),
    ]


OTHER = (11995, 11702, 11999, 11997)

CLAIM = Claim(
    id="C20",
    title="Class weights, truncated",
    latex=r"n_c w_c = n_{c'} w_{c'},\ \sum_c n_c w_c = n \Rightarrow w_c = n/(K n_c)",
    hypotheses={
        "equal pull": Hypothesis(
            "n_c w_c is the same for every class", lambda v: len({*totals(v)}) == 1
        ),
        "kept total": Hypothesis("sum n_c w_c = n", lambda v: sum(totals(v)) == sum(v["counts"])),
        "these counts": Hypothesis("the texts are the corpus'", lambda v: v["counts"] == COUNTS),
        "truncation": Hypothesis(
            "printing never raises a weight, and lowers it by less than 0.001",
            lambda v: all(0 <= w - v["print"](w) < Fraction(1, 1000) for w in v["weights"]),
        ),
    },
    holds=lambda v: (
        v["weights"] == balanced(v["counts"]) and tuple(map(v["print"], v["weights"])) == PRINTED
    ),
    prove=prove,
    control={"counts": COUNTS, "weights": balanced(COUNTS), "print": cut},
    models={
        "equal pull": {"counts": COUNTS, "weights": (Fraction(1),) * 4, "print": cut},
        "kept total": {
            "counts": COUNTS,
            "weights": tuple(w / 2 for w in balanced(COUNTS)),
            "print": cut,
        },
        "these counts": {"counts": OTHER, "weights": balanced(OTHER), "print": cut},
        "truncation": {"counts": COUNTS, "weights": balanced(COUNTS), "print": nearest},
    },
    not_proved=("that the thesis weighed the whole corpus, and not a part of it",),
    source="thesis, table 2",
)
