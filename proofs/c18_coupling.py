"""Binary models that each know one machine and the human couple into the exact posterior of all.

Texts x of machine i have the law f_i, human ones h, and their true shares are t_i and t_h. Model i,
trained on n_i texts of machine i and N_i human ones (times class weights), gives p_i(x), that a
text of this mixture is the machine's. With the odds o_i = p_i / (1 - p_i),

    c_i = (t_i / t_h) (N_i / n_i),   pi_i = c_i o_i / (1 + sum_j c_j o_j),   pi_h = 1 / (1 + ...),

which is the softmax of (log o_i + log c_i, 0), and the only law of the classes in which each pair
(i, human) has the odds c_i o_i. The Bayes rule says human where all p_i <= 1 / (1 + c_i), and else
the machine with the greatest c_i o_i; at c = 1 the threshold is 1/2. Averaging the p_i is no such
thing: of p = (.6, .6, .6) it makes the human the most likely class, and is the least likely one.

Proof. c_i o_i = t_i f_i / (t_h h), and t_h h leaves the sum over the machines. A change dp_i moves
log o_i by dp_i / (p_i (1 - p_i)): near 0 and 1 the coupling magnifies every error of calibration.
(Begg & Gray 1984; Hastie & Tibshirani 1998.)
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import sympy
from sympy import Expr, Sum, exp, log, simplify

from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

m, i = sympy.Symbol("m", integer=True, positive=True), sympy.Symbol("i", integer=True)
f, t, n, N, o, c = (sympy.IndexedBase(s, positive=True)[i] for s in ("f", "t", "n", "N", "o", "c"))
h, t_h, pi_h = sympy.symbols("h t_h pi_h", positive=True)
Numbers = tuple[Fraction, ...]
Task = tuple[Numbers, Numbers, int, int]
"""The laws of machine and human texts, cell by cell, and how many of each are trained on."""


def total(term: Expr) -> Expr:
    """The sum over the m machines, constant factors before it."""
    return sympy.simplify(Sum(term, (i, 1, m)))


def binary(task: Task) -> Numbers:
    """What a calibrated model says: the machine's part of the mixture."""
    machine, human, own, others = task
    return tuple(own * x / (own * x + others * y) for x, y in zip(machine, human, strict=True))


def couple(p: Numbers, ratios: Numbers) -> Numbers:
    """The posterior, human last."""
    odds = (*(ratio * q / (1 - q) for q, ratio in zip(p, ratios, strict=True)), Fraction(1))
    return tuple(x / sum(odds) for x in odds)


def average(p: Numbers) -> Numbers:
    """Each machine p_i / m, the human the mean of 1 - p_i."""
    human = sum((1 - q for q in p), start=Fraction(0))
    return (*(q / len(p) for q in p), human / len(p))


def decide(p: Numbers, ratios: Numbers) -> int:
    """The class that the rule names, the human being the last."""
    if all(q <= 1 / (1 + ratio) for q, ratio in zip(p, ratios, strict=True)):
        return len(p)
    return max(range(len(p)), key=lambda j: ratios[j] * p[j] / (1 - p[j]))


def bayes(weights: Numbers) -> Numbers:
    """Shares times densities, over their sum."""
    return tuple(x / sum(weights) for x in weights)


def holds(v: Instance) -> bool:
    """In every cell the coupling is Bayes' posterior, and the rule names a most likely class."""
    for x, densities in enumerate(zip(*v["laws"], strict=True)):
        posterior = bayes(tuple(s * y for s, y in zip(v["shares"], densities, strict=True)))
        told = tuple(p[x] for p in v["told"])
        if 1 in told or couple(told, v["ratios"]) != posterior:
            return False
        if posterior[decide(told, v["ratios"])] < max(posterior):
            return False
    return True


def enumerated() -> bool:
    """The coupling and the rule against Bayes, at 125 texts of three machines for each mixture."""
    for shares, texts in MIXTURES:
        ratios = true_ratios(shares, texts)
        for p in product(GRID, repeat=3):
            densities = [q / (1 - q) * N / n for q, (n, N) in zip(p, texts, strict=True)]
            weights = zip(shares, (*densities, Fraction(1)), strict=True)
            posterior = bayes(tuple(share * x for share, x in weights))
            if couple(p, ratios) != posterior or posterior[decide(p, ratios)] != max(posterior):
                return False
    return True


def prove() -> list[Step]:
    """For any number of machines; then by enumeration, and where it breaks."""
    p = n * f / (n * f + N * h)
    joint = (t / t_h) * (N / n) * p / (1 - p)  # c_i o_i from its definition
    known, off = t * f / (t_h * h), t / t_h - n / N
    machine = known / (1 + total(known)) - t * f / (total(t * f) + t_h * h)
    human = 1 / (1 + total(known)) - t_h * h / (total(t * f) + t_h * h)
    x = sympy.Symbol("x", positive=True)
    pair = c * o / (1 + c * o)
    (alone,) = sympy.solve(pair * (x + pi_h) - x, x)
    (found,) = sympy.solve(total(alone) + pi_h - 1, pi_h)
    q, ratio, rest = sympy.symbols("q c rest", positive=True)
    odds = ratio * q / (1 - q)
    pi, pi_rest = odds / (odds + rest), 1 / (odds + rest)
    above = (1 + ratio) * (q - 1 / (1 + ratio)) / (1 - q)  # of the sign of q - 1 / (1 + c)
    moves = sympy.diff(pi, q) - pi * (1 - pi) / (q * (1 - q))
    gives = sympy.diff(pi_rest, q) + pi * pi_rest / (q * (1 - q))
    steep = sympy.limit(sympy.diff(log(odds), q), q, 1, "-")
    wrong = average(AMBIGUOUS) == AVERAGED and couple(AMBIGUOUS, EQUAL) == COUPLED
    seen = [[binary(((x,), (law[-1],), 1, 1)) for x in law[:-1]] for law in UNHUMAN]
    blind = seen[0] == seen[1] and bayes(UNHUMAN[0]) != bayes(UNHUMAN[1])
    identities = {
        "c_i o_i = t_i f_i / (t_h h)": joint - known,
        "pi_i is Bayes' posterior": machine,
        "pi_h is Bayes' posterior": human,
        "c_i = 1 if and only if t_i / t_h = n_i / N_i": joint / (p / (1 - p)) - 1 - off * N / n,
        "a softmax of log o_i + log c_i": exp(log(o) + log(c)) - c * o,
        "odds c_i o_i give pi_i = c_i o_i pi_h": alone - c * o * pi_h,
        "so that the posterior is unique": found - 1 / (1 + total(c * o)),
        "pi_i > pi_h if and only if p_i > 1 / (1 + c_i)": odds - 1 - above,
        "dpi_i / dp_i = pi_i (1 - pi_i) / (p_i (1 - p_i))": moves,
        "dpi_h / dp_i = -pi_i pi_h / (p_i (1 - p_i))": gives,
    }
    W = Scope.WITNESS
    return [
        *(Step(name, Scope.SYMBOLIC, simplify(e) == 0) for name, e in identities.items()),
        Step("dlog(o_i) / dp_i has no bound towards 1", Scope.SYMBOLIC, steep == sympy.oo),
        Step("375 texts and shares, enumerated", W, enumerated()),
        Step("averaging (.6, .6, .6) prefers the least likely class", W, wrong),
        Step("where h = 0 the binaries do not tell the posteriors apart", W, blind),
    ]


def true_ratios(shares: Sequence[int], texts: Sequence[tuple[int, int]]) -> Numbers:
    """c_i of these shares, human last, and pairs (n_i, N_i)."""
    return tuple(Fraction(s * N, shares[-1] * n) for s, (n, N) in zip(shares, texts, strict=False))


def fractions(text: str) -> Numbers:
    """As in "1/2 1/4 1/4"."""
    return tuple(map(Fraction, text.split()))


def problem(laws: Sequence[Numbers], tasks: Sequence[Task], shares: Sequence[int]) -> Instance:
    """Calibrated models of the tasks, and the ratios that belong to the shares."""
    ratios = true_ratios(shares, [task[2:] for task in tasks])
    told = [binary(task) for task in tasks]
    return {"laws": laws, "tasks": tasks, "shares": shares, "told": told, "ratios": ratios}


GRID = fractions("1/6 1/3 1/2 2/3 5/6")
MIXTURES = (
    ((1, 1, 1, 1), ((2, 2), (2, 2), (2, 2))),
    ((1, 2, 3, 4), ((7, 6), (5, 6), (3, 6))),
    ((9, 1, 5, 2), ((1, 3), (2, 8), (3, 1))),
)
AMBIGUOUS, EQUAL = fractions("3/5 3/5 3/5"), fractions("1 1 1")
AVERAGED, COUPLED = fractions("1/5 1/5 1/5 2/5"), fractions("3/11 3/11 3/11 2/11")
UNHUMAN = (fractions("1 3 0"), fractions("3 1 0"))
ONE, TWO, OTHER = fractions("1/8 1/4 5/8"), fractions("1/2 3/8 1/8"), fractions("1/8 1/8 3/4")
HUMAN, APART = fractions("1/4 1/2 1/4"), fractions("0 1/2 1/2")
TASKS, SHARES = [(ONE, HUMAN, 5, 3), (TWO, HUMAN, 2, 7)], (2, 1, 4)
CONTROL = problem((ONE, TWO, HUMAN), TASKS, SHARES)

CLAIM = Claim(
    id="C18",
    title="Coupling binary models into the posterior",
    latex=r"\pi_i = \frac{c_i o_i}{1 + \sum_j c_j o_j}, \quad"
    r" c_i = \frac{t_i}{t_h} \frac{N_i}{n_i}, \quad o_i = \frac{p_i}{1 - p_i}",
    hypotheses={
        "overlap": Hypothesis(
            "a human text may lie wherever a machine's may",
            lambda v: all(column[-1] > 0 for column in zip(*v["laws"], strict=True) if any(column)),
        ),
        "calibrated": Hypothesis(
            "each model gives the probabilities of its own task",
            lambda v: v["told"] == [binary(task) for task in v["tasks"]],
        ),
        "same human law": Hypothesis(
            "the human texts of every task have the law of those that are to be told",
            lambda v: all(task[1] == v["laws"][-1] for task in v["tasks"]),
        ),
        "same machine law": Hypothesis(
            "so have the texts of each machine",
            lambda v: [task[0] for task in v["tasks"]] == list(v["laws"][:-1]),
        ),
        "true shares": Hypothesis(
            "c_i is of the true shares and of the numbers trained on",
            lambda v: v["ratios"] == true_ratios(v["shares"], [task[2:] for task in v["tasks"]]),
        ),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "overlap": problem((ONE, TWO, APART), [(ONE, APART, 5, 3), (TWO, APART, 2, 7)], SHARES),
        "calibrated": {
            **CONTROL,
            "told": [tuple(p**2 / (p**2 + (1 - p) ** 2) for p in row) for row in CONTROL["told"]],
        },
        "same human law": problem((ONE, TWO, HUMAN), [TASKS[0], (TWO, OTHER, 2, 7)], SHARES),
        "same machine law": problem((ONE, TWO, HUMAN), [TASKS[0], (OTHER, HUMAN, 2, 7)], SHARES),
        "true shares": {**CONTROL, "ratios": (Fraction(1), Fraction(1))},
    },
    cited=("the most likely class errs least: Bayes' rule",),
    not_proved=(
        "that trained models are calibrated; near 0 and 1 small errors of theirs are magnified",
        "anything off the human law's support",
    ),
    source="S17, the average of the three binary models of table 11",
)
