"""The thesis' two parameter counts have one explanation, and with it LoRA's rank is 5.

Above table 6 the thesis prints 685,828 trained parameters of 82,807,304. They are those of
DistilRoBERTa-base without pooler, with a head of two linear maps (768 x 768, 768 x 4) and LoRA of
rank 5 on query and value in all six layers, the frozen original of the trained head counted too,
as peft does. So 86.56 % of what "LoRA" trains is the head, and the printed 0.8282 % has a
denominator that holds the head twice: it is 0.8342 %.

Proof. With body E, head H and adapters A the counts are `A + H` and `E + 2H + A`: two equations
that E, known from the configuration, turns into H = 593,668 and A = 92,160. A head of two maps is
this large for four classes alone. LoRA of rank r on a attention and m FFN matrices a layer has
`6 r (2 * 768 a + (768 + 3072) m)` parameters; all (r, a, m) are tried. Then every other accounting
(pooler, more tokens, another head, one copy of it, trained biases) is tried too, and none fits.
"""

from fractions import Fraction
from itertools import product

import sympy

from proofs import facts
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

SHAPE = facts.distilroberta().value
D, F, LAYERS = SHAPE.width, SHAPE.ffn, SHAPE.layers
PRINTED = facts.lora_parameters().value


def body(layers: int = LAYERS) -> int:
    """Embeddings with their norm; a layer's maps, their biases, and two norms."""
    embeddings = (SHAPE.vocab + SHAPE.positions + 1) * D + 2 * D
    attention, ffn = 4 * (D * D + D), D * F + F + F * D + D
    return embeddings + layers * (attention + ffn + 2 * 2 * D)


def size(head: tuple[tuple[int, int], ...]) -> int:
    """Of linear maps with biases."""
    return sum(a * b + b for a, b in head)


def dense(classes: int) -> tuple[tuple[int, int], ...]:
    """The head of RoBERTa."""
    return (D, D), (D, classes)


def lora(v: Instance) -> int:
    """Of adapters on so many attention and FFN matrices in so many layers."""
    return int(v["rank"] * v["layers"] * (2 * D * v["attention"] + (D + F) * v["ffn"]))


def counts(v: Instance) -> tuple[int, int]:
    """Trained parameters, and all."""
    head = size(v["head"])
    return lora(v) + head, body() + v["copies"] * head + lora(v)


def adapters(total: int, layers: range) -> set[tuple[int, int, int, int]]:
    """All (rank, attention, ffn, layers) with so many parameters."""
    return {
        (r, a, m, n)
        for n, a, m in product(layers, range(5), range(3))
        for r in range(1, D)
        if lora({"rank": r, "attention": a, "ffn": m, "layers": n}) == total
    }


def accountings() -> set[tuple[object, ...]]:
    """Every (pooler, new tokens, head, copies, biases, rank, attention, ffn) that fits."""
    fitting: set[tuple[object, ...]] = set()
    heads = {"dense": size(dense(4)), "linear": size(((D, 4),)), "none": 0}
    kinds = product((0, 1), (*range(17), 39), heads, (1, 2), ("none", "layers", "all", "adapted"))
    maps = product(range(5), ((0, 0), (1, D), (1, F), (2, D + F)))  # one FFN map ends in D or F
    for (pooler, new, head, copies, biases), (a, (m, of_ffn)) in product(kinds, maps):
        layers = LAYERS * (7 * D + F)
        own = {"none": 0, "layers": layers, "all": layers + D}.get(
            biases, LAYERS * (a * D + of_ffn)
        )
        frozen = body() + pooler * (D * D + D) + new * D + (copies - 1) * heads[head] - own
        if frozen == PRINTED.all - PRINTED.trainable:
            left = PRINTED.trainable - heads[head] - own
            found = adapters(left, range(LAYERS, LAYERS + 1))
            fitting |= {
                (pooler, new, head, copies, biases, *s[:3]) for s in found if s[1:3] == (a, m)
            }
    return fitting


def prove() -> list[Step]:
    """Solve for head and adapters, then for classes, rank and targets."""
    E, H, A, K, trained, every = sympy.symbols("E H A K trained every")
    split = sympy.Matrix([[1, 1], [2, 1]]).LUsolve(sympy.Matrix([trained, every - E]))
    recovered = sympy.Matrix([[A + H, E + 2 * H + A]])
    back = split.subs({trained: recovered[0], every: recovered[1]}, simultaneous=True)
    known = {trained: PRINTED.trainable, every: PRINTED.all, E: SHAPE.body_parameters}
    head, of_lora = split.subs(known)
    classes = sympy.solve(D * D + D + D * K + K - head, K)
    plain = {(5, 2, 0), (10, 1, 0), (4, 0, 1), (2, 0, 2)}
    whole, lower = adapters(of_lora, range(6, 7)), adapters(of_lora, range(1, 7))
    once = sympy.Rational(100 * PRINTED.trainable, PRINTED.all - head)
    prompt, two = 20 * D, size(dense(2))
    witness = {
        "the body by hand is the backbone's": body() == SHAPE.body_parameters == 81_527_808,
        "head 593,668 and adapters 92,160": (head, of_lora) == (593_668, 92_160),
        "a head of two maps has four classes": classes == [4],
        "(rank, attention, ffn): four solutions": {s[:3] for s in whole} == plain,
        "query and value: rank 5 alone": {s[0] for s in whole if s[1:3] == (2, 0)} == {5},
        "fewer layers, two attention matrices": {(r, n) for r, a, m, n in lower if (a, m) == (2, 0)}
        == {(5, 6), (6, 5), (10, 3), (15, 2), (30, 1)},
        "no other accounting fits": accountings()
        == {(0, 0, "dense", 2, "none", *s) for s in plain},
        "peft counts so in a public log": (prompt + two, body(12) + 2 * two + prompt)
        == facts.public_log().value,
        "the printed share is of the printed counts": facts.rounds_to(
            100 * Fraction(PRINTED.trainable, PRINTED.all), PRINTED.percent
        ),
        "86.56 % of it is the head": round(10_000 * head / PRINTED.trainable) == 8656,
        "counted once: 0.8342 %": round(10_000 * once) == 8342,
    }
    return [
        Step(
            "the counts determine head and adapters",
            Scope.SYMBOLIC,
            sympy.simplify(back - sympy.Matrix([H, A])) == sympy.zeros(2, 1),
        ),
        *(Step(name, Scope.WITNESS, bool(ok)) for name, ok in witness.items()),
    ]


CONTROL = {"rank": 5, "attention": 2, "ffn": 0, "layers": 6, "head": dense(4), "copies": 2}

CLAIM = Claim(
    id="C21",
    title="The parameter count and rank 5",
    latex=r"(\text{trained}, \text{all}) = (4Ldr + H,\ E + 2H + 4Ldr),\ r = 5",
    hypotheses={
        "rank": Hypothesis("the rank is 5", lambda v: v["rank"] == 5),
        "targets": Hypothesis(
            "two attention matrices a layer are adapted, no others",
            lambda v: (v["attention"], v["ffn"]) == (2, 0),
        ),
        "every layer": Hypothesis("all six layers are", lambda v: v["layers"] == LAYERS),
        "dense head": Hypothesis(
            "the head begins with a 768 x 768 map", lambda v: v["head"][:-1] == ((D, D),)
        ),
        "four classes": Hypothesis("it ends with four outputs", lambda v: v["head"][-1] == (D, 4)),
        "frozen copy": Hypothesis("the head is counted twice", lambda v: v["copies"] == 2),
    },
    holds=lambda v: counts(v) == PRINTED[:2],
    prove=prove,
    control=CONTROL,
    models={
        "rank": {**CONTROL, "rank": 8},
        "targets": {**CONTROL, "attention": 4},
        "every layer": {**CONTROL, "layers": 3},
        "dense head": {**CONTROL, "head": ((D, 4),)},
        "four classes": {**CONTROL, "head": dense(6)},
        "frozen copy": {**CONTROL, "copies": 1},
    },
    cited=("peft keeps the head's original beside its trained copy (`modules_to_save`)",),
    not_proved=(
        "that query and value, peft's default for RoBERTa, were the two matrices adapted",
        "that no accounting beyond those listed fits",
    ),
    source="thesis, the line above table 6; section 'Applicability', softmax(W^T x) as the head",
)
