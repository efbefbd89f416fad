"""How many parameters six methods train, and which counts of a lecture's table follow.

Of a transformer with L layers, width d and FFN width f train: a prompt of p tokens `pd`; a prefix
`2pdL`; adapters of width m (two a layer, Houlsby) `2L(2dm + m + d)`; LoRA of rank r on query and
value `4Ldr`; BitFit `L(7d + f)`, which is `11Ld` where f = 4d; the norms `4Ld`. The lecture's
table (24 layers, 350M) follows at d = 1024 for adapters and LoRA. It does not for the prompt, whose
count is that of d = 768, nor for BitFit, whose two numbers are `13Ld`: biases and norms' gains.

Proof. The matrices and vectors of one layer are listed and their sizes, symbols, added up. Which
widths give the lecture's counts is found by trying all multiples of 64.
"""

from math import prod
from typing import Any

import sympy

from proofs import audit, facts
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step

Layer = dict[str, tuple[Any, ...]]
MAPS = ("query", "key", "value", "out", "ffn in", "ffn out")
NORMS = ("norm 1", "norm 2")


def layer(d: Any, f: Any) -> Layer:
    """Every parameter of an encoder's layer with its shape."""
    shapes = dict.fromkeys(MAPS, (d, d)) | {"ffn in": (d, f), "ffn out": (f, d)}
    vectors = {f"{name} bias": (shape[1],) for name, shape in shapes.items()}
    return shapes | vectors | {f"{n} {part}": (d,) for n in NORMS for part in ("gain", "bias")}


def trained(v: Instance) -> dict[str, Any]:
    """What each method trains, by listing it."""
    one, d, p, m, r = v["layer"], v["d"], v["p"], v["m"], v["r"]
    a_layer = {
        "prefix": sum(p * one[name][1] for name in ("key", "value")),
        "adapters": v["places"] * sum(map(prod, ((d, m), (m,), (m, d), (d,)))),
        "LoRA": sum(rows * r + r * columns for rows, columns in (one["query"], one["value"])),
        "BitFit": sum(prod(shape) for name, shape in one.items() if name.endswith("bias")),
        "norms": sum(prod(shape) for name, shape in one.items() if name.startswith("norm")),
    }
    return {"prompt tuning": p * one["query"][0]} | {
        name: v["reached"] * n for name, n in a_layer.items()
    }


def formulas(v: Instance) -> dict[str, Any]:
    """The closed forms."""
    L, d, f, p, m, r = (v[name] for name in "Ldfpmr")
    return {
        "prompt tuning": p * d,
        "prefix": 2 * p * d * L,
        "adapters": 2 * L * (2 * d * m + m + d),
        "LoRA": 4 * L * d * r,
        "BitFit": L * (7 * d + f),
        "norms": 4 * L * d,
    }


def transformer(L: Any, d: Any, f: Any, p: Any = 20, m: Any = 64, r: Any = 8) -> dict[str, Any]:
    """An encoder that each method reaches all of; the lecture's p, m and r."""
    sizes = {"L": L, "d": d, "f": f, "p": p, "m": m, "r": r}
    return {**sizes, "layer": layer(d, f), "reached": L, "places": 2}


def prove() -> list[Step]:
    """The forms for all sizes, then the lecture's numbers."""
    general = transformer(*sympy.symbols("L d f p m r", positive=True, integer=True))
    counted, closed = trained(general), formulas(general)
    d, f, layers = general["d"], general["f"], facts.lecture_size().value[1]
    printed = {n: fact.value.parameters for n, fact in facts.lecture_methods().items()}
    widths = []
    for width in range(64, 2049, 64):
        ours = formulas(transformer(layers, width, 4 * width))
        if all(facts.rounds_to(ours[name], printed[name]) for name in ("adapters", "LoRA")):
            widths.append(width)
    wide = facts.open_llama().value
    added = wide.layers * sum(columns for _, columns in wide.map_shapes)
    witness = audit.lecture(formulas(transformer(layers, 1024, 4096))) | {
        "adapters and LoRA do at d = 1024 alone": widths == [1024],
        "open_llama_3b, without biases, gets 26 (5d + 2f) new ones": added
        == 26 * (5 * 3200 + 2 * 8640)
        == 865_280,
    }
    return [
        *(
            Step(f"{name}: {form}", Scope.SYMBOLIC, sympy.expand(counted[name] - form) == 0)
            for name, form in closed.items()
        ),
        Step(
            "BitFit is 11Ld, with the gains 13Ld, at f = 4d",
            Scope.SYMBOLIC,
            [
                sympy.expand((counted["BitFit"] + x).subs(f, 4 * d) / (general["L"] * d))
                for x in (0, counted["norms"] / 2)
            ]
            == [11, 13],
        ),
        *(Step(name, Scope.WITNESS, ok) for name, ok in witness.items()),
    ]


CONTROL = transformer(L=3, d=10, f=24, p=5, m=2, r=3)
LAYER = CONTROL["layer"]
GROUPED = LAYER | {"key": (10, 5), "value": (10, 5), "key bias": (5,), "value bias": (5,)}

CLAIM = Claim(
    id="C22",
    title="Parameters of six methods",
    latex=r"pd,\ 2pdL,\ 2L(2dm+m+d),\ 4Ldr,\ L(7d+f),\ 4Ld",
    hypotheses={
        "biases": Hypothesis(
            "every map has a bias", lambda v: all(f"{name} bias" in v["layer"] for name in MAPS)
        ),
        "two norms": Hypothesis(
            "a layer has two norms, each with gain and bias",
            lambda v: all(f"{n} {part}" in v["layer"] for n in NORMS for part in ("gain", "bias")),
        ),
        "square maps": Hypothesis(
            "keys and values are as wide as queries",
            lambda v: all(v["layer"][name] == v["layer"]["query"] for name in ("key", "value")),
        ),
        "every layer": Hypothesis("a method reaches all layers", lambda v: v["reached"] == v["L"]),
        "two adapters": Hypothesis("two adapters stand in a layer", lambda v: v["places"] == 2),
    },
    holds=lambda v: trained(v) == formulas(v),
    prove=prove,
    control=CONTROL,
    models={
        "biases": CONTROL
        | {"layer": {k: s for k, s in LAYER.items() if k not in {f"{n} bias" for n in MAPS}}},
        "two norms": CONTROL
        | {"layer": {k: s for k, s in LAYER.items() if k not in {f"{n} bias" for n in NORMS}}},
        "square maps": CONTROL | {"layer": GROUPED},
        "every layer": CONTROL | {"reached": 2},
        "two adapters": CONTROL | {"places": 1},
    },
    not_proved=(
        "that the lecture means a model of d = 1024: no width is printed",
        "shares of a model whose size is not the lecture's 350M",
    ),
    source="lecture 'Transfer learning', slide 'Comparison of methods'",
)
