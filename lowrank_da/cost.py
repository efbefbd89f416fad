"""What a training must at least compute: operations of its matrix products, by formula.

A multiply-add counts as two operations. Norms, softmax, activations, the optimizer and the head are
left out; together they are a few per cent. One layer of width d, one text of S tokens:

    product                                     operations           when
    x W, by a map W of shape in x out           2 S in out           forward
    the gradient of its input x                 2 S in out           something below trains
    the gradient of W                           2 S in out           W trains
    scores q k^T; weights times v               2 S S d each         forward
    the gradients of attention                  4 times 2 S S d      q, k, v or what is below trains
    (x A) B, by an adapter of rank r            2 S r (in + out)     forward, unless merged
    the gradients of A, B and, by A, of x       4 S r (in + out)     A and B train
    forming W + s A B                           2 r in out a step    merged

Summed over L layers with N weights in their maps and P in all adapters, that is a token's

    forward                                     2N + 4LSd
    full fine-tuning                            6N + 12LSd
    adapters in every layer, the rest frozen    4N + 12LSd + 6P
    adapters in the top k layers                2N + 4LSd + (k/L)(2N + 8LSd) + 6P
    the same, the states below them known       (k/L)(4N + 12LSd) + 6P

These coarse formulas are the usual ones (`COARSE`): 2 operations a weight forward and twice as many
backward (Kaplan et al. 2020, arXiv:2001.08361, section 2.1; attention added for every token that is
looked at), and frozen weights without gradients (Hu et al. 2021, arXiv:2106.09685, sections 4.1 and
4.2). `LEAST`, the default, also counts on what a training may leave out (see `Limit`). Earlier
records hold `COARSE`: `LEAST` is the same for full fine-tuning with mean pooling, otherwise less.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lowrank_da.backbone import ATTENTION, FFN, Backbone, Map
from lowrank_da.method import Method
from lowrank_da.methods.lora import LoRA

_GROUPS = (ATTENTION[:3], ATTENTION[3:], FFN[:1], FFN[1:])
"""A layer's maps from the lowest up; those of one group read the same states."""


@dataclass(frozen=True)
class Limit:
    """Which savings a count relies on. A ratio to a limit is to name which one."""

    first_token: bool
    """With first-token pooling, all but keys and values of the last layer is for one token."""
    lowest_inputs: bool
    """No gradient is taken below the lowest adapter, where nothing trains."""
    merged: bool
    """Adapters act within W + s A B, so that x has one product; forming it is `merging_flops`."""


COARSE = Limit(first_token=False, lowest_inputs=False, merged=False)
LEAST = Limit(first_token=True, lowest_inputs=True, merged=True)


@dataclass(frozen=True)
class _Layer:
    """The products of one layer, over one text of `length` tokens."""

    backbone: Backbone
    length: int
    asking: int
    """Tokens whose states are computed; all `length` of them are looked at."""

    def tokens(self, target: Map) -> int:
        """Rows that a map is applied to."""
        return self.length if target in ("key", "value") else self.asking

    def product(self, target: Map) -> int:
        """One product with a map's weights."""
        rows, columns = self.backbone.map_shape(target)
        return 2 * self.tokens(target) * rows * columns

    @property
    def attention(self) -> int:
        """One of attention's two products, or of their four gradients."""
        return 2 * self.asking * self.length * self.backbone.width

    @property
    def forward(self) -> int:
        return sum(self.product(target) for target in ATTENTION + FFN) + 2 * self.attention

    def adapted(self, method: LoRA, limit: Limit, something_below: bool) -> int:
        """Forward and backward with adapters in frozen maps, and perhaps `something_below`."""
        # A dropped-out input is not that of W: such an adapter cannot be merged.
        merged = limit.merged and not method.dropout
        total, needed = self.forward, something_below
        for group in _GROUPS:
            for target in group:
                total += self.product(target) if needed else 0
                if target in method.targets:
                    rows, columns = self.backbone.map_shape(target)
                    into, out = (2 * self.tokens(target) * method.rank * n for n in (rows, columns))
                    # x A and the gradient of A; g B^T and the gradient of B.
                    total += 2 * into + 2 * out
                    # On its own, an adapter also forms (x A) B and leads the gradient back to x.
                    total += 0 if merged else out + (into if needed else 0)
            needed = needed or not set(group).isdisjoint(method.targets)
            if needed and group == _GROUPS[0]:
                total += 4 * self.attention
        return total


def _layer(backbone: Backbone, number: int, length: int, limit: Limit) -> _Layer:
    last = number == backbone.layers - 1
    pooled = limit.first_token and backbone.pooling == "first" and last
    return _Layer(backbone, length, asking=1 if pooled else length)


def forward_flops(
    backbone: Backbone, lengths: Iterable[int], layers: int | None = None, limit: Limit = LEAST
) -> int:
    """Operations of one pass over texts of these token lengths.

    Through the lowest `layers` layers, or all: what an evaluation costs, and what it costs to know
    once the states above layers in which nothing trains.
    """
    numbers = range(backbone.layers if layers is None else layers)
    return sum(
        texts * _layer(backbone, number, length, limit).forward
        for length, texts in Counter(lengths).items()
        for number in numbers
    )


def training_flops(
    backbone: Backbone,
    method: Method,
    lengths: Iterable[int],
    *,
    known: bool = False,
    limit: Limit = LEAST,
) -> int:
    """Operations of one forward and backward pass over texts of these token lengths.

    With `known`, the states above the method's frozen layers are at hand; knowing them costs
    `forward_flops(backbone, lengths, method.frozen_layers(backbone))`, once. A method that trains
    weights of the body is taken to train all of them. One that is neither this nor LoRA pays
    gradients of all states and 6 operations a token for each weight of its own.
    """
    lengths = list(lengths)
    frozen = method.frozen_layers(backbone)
    body = method.trained_parameters(backbone) > method.added_parameters(backbone)
    total = 0 if known else forward_flops(backbone, lengths, frozen, limit)
    for length, texts in Counter(lengths).items():
        for number in range(frozen, backbone.layers):
            layer = _layer(backbone, number, length, limit)
            if isinstance(method, LoRA):
                something_below = number > frozen or not limit.lowest_inputs
                total += texts * layer.adapted(method, limit, something_below)
            else:
                maps = sum(layer.product(target) for target in ATTENTION + FFN)
                total += texts * ((3 if body else 2) * maps + 6 * layer.attention)
    if not isinstance(method, LoRA):
        total += 6 * method.added_parameters(backbone) * sum(lengths)
    return total


def merging_flops(backbone: Backbone, method: LoRA) -> int:
    """Operations of forming W + s A B in every adapted map: once a step, however many tokens."""
    shapes = [backbone.map_shape(target) for target in method.targets]
    layers = backbone.layers - method.frozen_layers(backbone)
    return layers * sum(2 * method.rank * rows * columns for rows, columns in shapes)
