"""Frozen weights save at most a third of a training's operations, and three quarters of its state.

A token costs a d x k map 2dk operations forward, 2dk for its input's gradient and 2dk for its own,
together 6dk when it trains. Under LoRA of rank r on every map it costs 4dk + 6r(d + k). So, all
else equal, LoRA is less than 3/2 times as fast for every r, and slower for r > dk/(3(d + k)).
Weights, gradients and Adam's two moments, 4 numbers a weight, shrink less than 4-fold. A published
ratio beyond these bounds measures something else: precision, batch, cards.

The bound needs adapters down to the bottom (in the top fraction rho it is 3/(1 + rho)), and texts
of T tokens with 2TL >= 3d, L layers of width d: below the bottom layer nothing trains, so its
query, key and value need no gradient of their input, and attention's own products outweigh that.

Proof. The products of every layer are added up with symbolic sizes; 3 LoRA - 2 full is a polynomial
that is positive under the hypotheses.
"""

from fractions import Fraction
from typing import Any

import sympy

from proofs import audit, facts
from proofs.claim import Claim, Hypothesis, Instance, Scope, Step


def shapes(v: Instance) -> list[tuple[Any, Any]]:
    """Attention's four maps and the FFN's two."""
    return [(v["d"], v["d"])] * 4 + [(v["d"], v["f"]), (v["f"], v["d"])]


def operations(v: Instance) -> tuple[Any, Any]:
    """A token's, of full fine-tuning and of LoRA above the `frozen` lowest layers."""
    d, L, frozen = v["d"], v["L"], v["frozen"]
    maps = sum(2 * a * b for a, b in shapes(v))
    adapters = sum(6 * v["r"] * (a + b) for a, b in shapes(v))
    attention = 4 * v["T"] * d  # scores and weighted values; their four gradients are twice this
    full = L * (3 * maps + 3 * attention)
    upper = 2 * maps + 3 * attention + adapters
    bottom = upper - 3 * (2 * d * d + 2 * v["r"] * d)  # no gradient of what enters q, k, v
    return full, frozen * (maps + attention) + bottom + (L - frozen - 1) * upper


def times(v: Instance) -> list[Any]:
    """Seconds: operations x tokens / speed."""
    return [
        Fraction(n * t, s) for n, t, s in zip(operations(v), v["tokens"], v["speed"], strict=True)
    ]


def states(v: Instance) -> list[Any]:
    """Bytes of weights, gradients and two moments."""
    weights = v["L"] * sum(a * b for a, b in shapes(v))
    adapters = (v["L"] - v["frozen"]) * sum(v["r"] * (a + b) for a, b in shapes(v))
    full, lora = v["bytes"]
    return [full * 4 * weights, lora * (weights + 4 * adapters)]


def holds(v: Instance) -> bool:
    """Less than 3/2 times as fast, and less than 4 times smaller."""
    (slow, fast), (large, small) = times(v), states(v)
    return bool(2 * slow < 3 * fast and large < 4 * small)


def published() -> dict[str, bool]:
    """The published ratios against DistilRoBERTa's operations on 512 tokens, and its bound."""
    shape = facts.distilroberta().value
    sizes = {"d": shape.width, "f": shape.ffn, "L": shape.layers, "T": 512, "frozen": 0}
    full, lora = operations({**sizes, "r": 5})
    limit = Fraction(*operations({**sizes, "r": 0}))
    return audit.speed_ups(512 * full, 512 * lora, limit) | audit.memory()


def prove() -> list[Step]:
    """One map, then the whole encoder, then what was published."""
    d, k, f, L, T, r, cut, N, a = sympy.symbols("d k f L T r cut N a", positive=True)
    full, lora = 6 * d * k, 4 * d * k + 6 * r * (d + k)
    v = {"d": d, "f": f, "L": L, "T": T, "r": r, "frozen": 0}
    all_full, all_lora = operations(v)
    maps, attention = sum(2 * x * y for x, y in shapes(v)), 4 * T * d
    adapters = sum(x + y for x, y in shapes(v))
    slack = 6 * d * (2 * T * L - 3 * d) + 18 * r * (L * adapters - d)
    top = operations({**v, "frozen": cut, "T": 0, "r": 0})
    rho = (L - cut) / L
    large, small = states({**v, "bytes": (4, 4)})
    identities = {
        "one map: 3 LoRA - 2 full = 18r(d + k)": 3 * lora - 2 * full - 18 * r * (d + k),
        "one map: LoRA - full = 6(d + k)(r - dk/(3(d + k)))": lora
        - full
        - 6 * (d + k) * (r - d * k / (3 * (d + k))),
        "encoder: 3 LoRA - 2 full = 6d(2TL - 3d) + 18r(L sum(a + b) - d)": 3 * all_lora
        - 2 * all_full
        - slack,
        "and the last bracket is (8L - 1)d + 2L(d + f)": L * adapters
        - d
        - ((8 * L - 1) * d + 2 * L * (d + f)),
        "prompts, maps frozen: 3 x theirs - 2 full = 3 attention": 3
        * L
        * (2 * maps + 3 * attention)
        - 2 * all_full
        - 3 * L * attention,
        "top fraction rho of the maps: 3/(1 + rho)": top[0] / (top[1] + 6 * d * d) - 3 / (1 + rho),
        "full state: 16 bytes a weight": large - 16 * L * (4 * d * d + 2 * d * f),
        "state: 4 LoRA - full = 64 bytes x adapters": 4 * small - large - 64 * L * r * adapters,
        "state / 4 and activations / 4 together are / 4": (16 * N + a) / 4 - (4 * N + a / 4),
    }
    return [
        *(Step(name, Scope.SYMBOLIC, sympy.cancel(left) == 0) for name, left in identities.items()),
        Step(
            "at 768 x 768 LoRA is as slow as full from rank 128",
            Scope.WITNESS,
            (lora - full).subs({d: 768, k: 768, r: 128}) == 0,
        ),
        *(Step(name, Scope.WITNESS, ok) for name, ok in published().items()),
    ]


CONTROL = {"d": 64, "f": 250, "L": 2, "T": 49, "r": 1, "frozen": 0} | {
    name: (n, n) for name, n in (("tokens", 70), ("speed", 900), ("bytes", 4))
}

CLAIM = Claim(
    id="C23",
    title="What frozen weights can save",
    latex=r"\frac{6dk}{4dk + 6r(d+k)} < \tfrac32,\quad \frac{16N}{4N + 16n} < 4",
    hypotheses={
        "same work": Hypothesis("both see as many tokens", lambda v: len({*v["tokens"]}) == 1),
        "same speed": Hypothesis(
            "precision, batch and cards give as many operations a second",
            lambda v: len({*v["speed"]}) == 1,
        ),
        "same bytes": Hypothesis("numbers have as many bytes", lambda v: len({*v["bytes"]}) == 1),
        "down to the bottom": Hypothesis(
            "the lowest layer has adapters", lambda v: v["frozen"] == 0
        ),
        "long texts": Hypothesis("2TL >= 3d", lambda v: 2 * v["T"] * v["L"] >= 3 * v["d"]),
    },
    holds=holds,
    prove=prove,
    control=CONTROL,
    models={
        "same work": CONTROL | {"tokens": (140, 70)},
        "same speed": CONTROL | {"speed": (900, 1800)},
        "same bytes": CONTROL | {"bytes": (4, 3)},
        "down to the bottom": CONTROL | {"frozen": 1},
        "long texts": CONTROL | {"T": 1},
    },
    cited=("Adam keeps two moments of every trained number",),
    not_proved=(
        "seconds and bytes themselves: norms, softmax, kernels and activations are not counted",
        "that activations quarter with half precision and half batch (a model of 3.2 GB)",
    ),
    source="thesis, conclusions; the slides on multilingual inference; P-tuning & bias, table 1",
)
