"""Averaged scores of three binary detectors are the scores of no classifier of four classes.

Three detectors each tell one machine class from human. Let a rule make four classes of their three
verdicts: human if no detector fires, else a machine whose detector fires. Then

- the mean of the F1 is the F1 of mean precision and recall if the rows are proportional;
- the recall of human lies in `[1 - sum(1 - R_i), min R_i]`, R_i detector i's recall of human, and
  that of machine i is at most detector i's (the Frechet bounds);
- if detectors cannot tell machines apart, no rule's accuracy exceeds (human + largest machine) / n:
  for balanced classes and three perfect detectors 1/2;
- a task's scores give away its mix, `N_i / N_human = R (1 - P) / (P (1 - M))`, P and R being
  human's precision and recall and M the machine's recall, if the detector misses some machine.

So the thesis' averages are of no classifier: any such rule has macro recall below full fine-tuning.
Its table 9 is of another mix of texts than its corpus, and one F1 of table 8 follows from no
precision and recall that round to those printed (`audit.py` holds the tables against each other).

Proof. F1 is superadditive with an explicit gap; the bounds follow by induction over the detectors,
the accuracy cell by cell of the verdicts, the mix from the four counts of a confusion.
"""

from fractions import Fraction
from itertools import product

import sympy

from proofs import audit
from proofs.audit import f1, mix
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

Verdicts = tuple[int, ...]
Law = dict[Verdicts, Fraction]
"""The shares of a class' texts that get which verdicts."""
ALL, SILENT, HUMAN = tuple(product((0, 1), repeat=3)), (0, 0, 0), 3


def share(law: Law, event: set[Verdicts]) -> Fraction:
    """How often the verdicts are among these."""
    return sum((law.get(t, Fraction(0)) for t in event), Fraction(0))


def fires(law: Law, i: int) -> Fraction:
    """How often detector i does."""
    return share(law, {t for t in ALL if t[i]})


def scores(v: Instance) -> list[tuple[Fraction, Fraction, Fraction]]:
    """In each task: human's precision and recall, the machine's recall."""
    rows = []
    for i, (machines, people) in enumerate(v["texts"]):
        R, M = 1 - fires(v["task human"], i), fires(v["classes"][i], i)
        rows.append((people * R / (people * R + machines * (1 - M)), R, M))
    return rows


def statements(v: Instance) -> dict[str, bool]:
    """Each part of the claim, on one joint sample and three tasks."""
    rows, prior, laws = scores(v), v["prior"], v["classes"]
    P, R, M = zip(*rows, strict=True)
    named = [{t for t in ALL if v["rule"](t) == c} for c in range(4)]
    recalls = [share(law, event) for law, event in zip(laws, named, strict=True)]
    best = sum(max(n * share(law, {t}) for n, law in zip(prior, laws, strict=True)) for t in ALL)
    return {
        "averages": sum(map(f1, P, R)) / 3 == f1(sum(P) / 3, sum(R) / 3),
        "human": 1 - sum(1 - x for x in R) <= recalls[HUMAN] <= min(R),
        "machines": all(recalls[i] <= M[i] for i in range(3)),
        "accuracy": best <= prior[HUMAN] + max(prior[:HUMAN]),
        "mixes": all(
            row[2] < 1 and mix(*row) == Fraction(*texts)
            for row, texts in zip(rows, v["texts"], strict=True)
        ),
    }


def prove() -> list[Step]:
    """Identities for any rows, detectors and counts; the 16 rules; the tables."""
    p, r, q, s, S, t, a, b, N, M = sympy.symbols("p r q s S t a b N M", positive=True)
    identities = {
        "F1 of a sum of rows exceeds the sum of F1 by a square": f1(p + q, r + s)
        - (f1(p, r) + f1(q, s))
        - 2 * (p * s - q * r) ** 2 / ((p + r) * (q + s) * (p + q + r + s)),
        "F1 keeps factors": f1(q * p, q * r) - q * f1(p, r),
        "F1 grows with precision": sympy.diff(f1(p, r), p) - 2 * r**2 / (p + r) ** 2,
        "one detector more, upper bound": (1 - t) - p * (1 - t) - (1 - p) * (1 - t),
        "one detector more, lower bound": p * (1 - t)
        - (1 - S - t)
        - ((p - (1 - S)) * (1 - t) + S * t),
        "the mix, of a passed human texts of N and b missed machines of M": mix(
            a / (a + b), a / N, (M - b) / M
        )
        - M / N,
    }
    # A cell holds the shares a of human and b of machines; the largest machine has prior p + q.
    spare = [N * a + (p + q) * b - gain for gain in (N * a, p * b)]
    rules = product(range(4), repeat=2)  # what to say when none fires, and when all do
    right = [Fraction((silent == HUMAN) + (fired != HUMAN), 4) for silent, fired in rules]
    return [
        *(Step(name, Scope.SYMBOLIC, sympy.cancel(x) == 0) for name, x in identities.items()),
        Step(
            "a cell of verdicts gains at most human's and the largest machine's part",
            Scope.SYMBOLIC,
            [sympy.expand(x) for x in spare] == [p * b + q * b, N * a + q * b],
        ),
        Step(
            "three perfect detectors: the best of 16 rules is right half the time",
            Scope.WITNESS,
            (max(right), len(right), right.count(max(right))) == (Fraction(1, 2), 16, 3),
        ),
        *(Step(name, Scope.WITNESS, ok) for name, ok in audit.averages().items()),
    ]


def law(**counts: int) -> Law:
    """`law(v110=3, v000=1)`: three texts in four make the first two detectors fire."""
    total = sum(counts.values())
    return {tuple(map(int, t[1:])): Fraction(n, total) for t, n in counts.items()}


def last_fired(t: Verdicts) -> int:
    """Human if none fires."""
    return max((i for i in range(3) if t[i]), default=HUMAN)


PEOPLE = law(v000=7, v100=2, v010=1, v001=1, v110=1)
MACHINE = law(v000=2, v001=1, v011=3, v101=1, v110=1, v111=4)
CONTROL = {
    "classes": (MACHINE, MACHINE, MACHINE, PEOPLE),
    "task human": PEOPLE,
    "texts": ((1, 1), (5, 4), (4, 3)),
    "prior": (Fraction(1, 7), Fraction(2, 7), Fraction(3, 7), Fraction(1, 7)),
    "rule": last_fired,
}
OWN = (law(v000=6, v100=6), law(v000=4, v010=8), law(v000=3, v001=9), PEOPLE)
EVEN, EAGER = law(v000=3, v111=1), law(v111=1)

CLAIM = Claim(
    id="C19",
    title="Averages of binary scores",
    latex=r"\overline{F_1} = F_1(\bar P, \bar R),\quad 1 - \sum_i (1 - R_i) \le R \le \min_i R_i",
    hypotheses={
        "proportional rows": Hypothesis(
            "precision : recall of human is the same in all tasks",
            lambda v: len({R / P for P, R, _ in scores(v)}) == 1,
        ),
        "unanimity": Hypothesis(
            "the rule says human exactly if no detector fires",
            lambda v: all((v["rule"](t) == HUMAN) == (t == SILENT) for t in ALL),
        ),
        "a named machine fired": Hypothesis(
            "a machine is named only if its detector fires",
            lambda v: all((*t, 1)[v["rule"](t)] for t in ALL),
        ),
        "one human law": Hypothesis(
            "detectors fire on the tasks' human texts as on the joint sample's",
            lambda v: all(
                fires(v["task human"], i) == fires(v["classes"][HUMAN], i) for i in range(3)
            ),
        ),
        "machines alike": Hypothesis(
            "the verdicts' law is the same for all machines",
            lambda v: v["classes"][0] == v["classes"][1] == v["classes"][2],
        ),
        "a miss": Hypothesis(
            "every detector misses some machine text", lambda v: all(M < 1 for *_, M in scores(v))
        ),
    },
    holds=lambda v: all(statements(v).values()),
    prove=prove,
    control=CONTROL,
    models={
        "proportional rows": CONTROL | {"texts": ((1, 1), (1, 1), (4, 3))},
        "unanimity": CONTROL | {"rule": lambda t: last_fired(t) if sum(t) > 1 else HUMAN},
        "a named machine fired": CONTROL | {"rule": lambda t: 0 if any(t) else HUMAN},
        "one human law": CONTROL | {"classes": (MACHINE, MACHINE, MACHINE, law(v111=1))},
        "machines alike": CONTROL | {"classes": OWN},
        "a miss": CONTROL | {"classes": (EAGER, EAGER, EAGER, EVEN), "task human": EVEN},
    },
    not_proved=(
        "that table 9's mix is no accident of a random split, not stratified by class",
        "how good the exact combination through the human class is",
    ),
    source="thesis, tables 8 to 12 and conclusions",
)
