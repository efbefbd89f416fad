"""What a training must at least compute: operations of its matrix products, by formula.

A multiply-add counts as two operations. Norms, softmax, activations, the optimizer and the head are
left out; together they are a few per cent. One layer of width d, one text of S tokens, of which
virtual ones count like others, and K keys of a prefix before it:

    product                                     operations           when
    x W, by a map W of shape in x out           2 S in out           forward
    the gradient of its input x                 2 S in out           something below trains
    the gradient of W                           2 S in out           W trains
    scores q k^T; weights times v               2 S (S + K) d each   forward
    the gradients of the scores, q, k, v        2 S (S + K) d each   that one (scores: q or k) moves
    (x A) B, by an adapter of rank r            2 S r (in + out)     forward, unless merged
    the gradients of A, B and, by A, of x       4 S r (in + out)     A and B train
    forming W + s A B                           2 r in out a step    merged
    y D U, by a bottleneck m behind a map       4 S d m              forward
    the gradients of D, U, y D and y            8 S d m              D and U train; of y, if y moves

What trains in a map, in what enters it or behind it moves its output: q, k, v or y. A bias does so
without a product of its own. A gradient counts whole where any row of it is wanted, the virtual
tokens' alone, say. Of a decoder each key serves several heads, so d is the queries' width.

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

What runs computes more than that in three places, by exactly as much as the tests say:

- P-tuning's network makes P tokens a step, at 6 P (2 d h + h^2), however many texts there are;
- a decomposed LoRA is differentiated through its merged map: 2 S in out for a gradient of the map
  and 4 r in out a step, where the factors' own 4 S r (in + out) would do;
- where tokens stand behind a decoder's text, or its first is pooled, all of its last layer.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lowrank_da.backbone import ATTENTION, FFN, Backbone, Map
from lowrank_da.method import Method, Work
from lowrank_da.methods.both import Both
from lowrank_da.methods.lora import LoRA

_GROUPS = (ATTENTION[:3], ATTENTION[3:], FFN[:1], FFN[1:])
"""A layer's maps from the lowest up; those of one group read the same states."""


@dataclass(frozen=True)
class Limit:
    """Which savings a count relies on. A ratio to a limit is to name which one."""

    first_token: bool
    """All but keys and values of the last layer is for what is pooled: one token, where it is one,
    and never a virtual one."""
    lowest_inputs: bool
    """No gradient is taken below the lowest adapter, where nothing trains."""
    merged: bool
    """Adapters act within W + s A B, so that x has one product; forming it is `merging_flops`."""


COARSE = Limit(first_token=False, lowest_inputs=False, merged=False)
LEAST = Limit(first_token=True, lowest_inputs=True, merged=True)


@dataclass(frozen=True)
class _Layer:
    """The products of one layer, over one text of `length` tokens, virtual ones among them."""

    backbone: Backbone
    length: int
    asking: int
    """Tokens whose states are computed; all `length` of them are looked at."""
    keys: int = 0
    """Keys and values before the text."""

    def tokens(self, target: Map) -> int:
        """Rows that a map is applied to."""
        return self.length if target in ("key", "value") else self.asking

    def product(self, target: Map) -> int:
        """One product with a map's weights, of all copies."""
        rows, columns = self.backbone.map_shape(target)
        return self.backbone.copies(target) * 2 * self.tokens(target) * rows * columns

    @property
    def attention(self) -> int:
        """One of attention's two products, or of their four gradients."""
        return 2 * self.asking * (self.length + self.keys) * self.backbone.width

    @property
    def forward(self) -> int:
        """The maps and attention; what a method puts behind them is counted where it trains."""
        return sum(self.product(target) for target in ATTENTION + FFN) + 2 * self.attention

    def trained(self, parts: Sequence[Method], limit: Limit, something_below: bool) -> int:
        """Forward and backward, where perhaps `something_below` the layer's maps trains too."""
        works = [part.work(self.backbone) for part in parts]
        loras = [part for part in parts if isinstance(part, LoRA)]
        weights = any(work.weights for work in works)
        # A module behind a map moves what comes out of both, and not what it reads itself.
        behind = {target: sizes for work in works for target, sizes in work.behind.items()}
        inside = {target for work in works for target in work.touched - work.behind.keys()}
        total, below, moved = self.forward, something_below, set[Map]()
        for group in _GROUPS:
            for target in group:
                moves = below or target in inside
                total += self.product(target) * (below + weights)
                total += self._behind(target, behind.get(target, ()), moves)
                for lora in loras:
                    total += self._adapted(target, lora, limit, below)
                if moves or target in behind:
                    moved.add(target)
            # What the next group's maps read is made of all of this one's.
            below = below or not moved.isdisjoint(group)
        q, k, v = (target in moved for target in _GROUPS[0])
        return total + self.attention * ((q or k) + q + k + v)

    def _behind(self, target: Map, sizes: tuple[int, ...], y_moves: bool) -> int:
        """The matrices behind a map: forward, their gradients, and those of what they read."""
        products = [2 * self.tokens(target) * size for size in sizes]
        return 3 * sum(products) - (0 if y_moves else sum(products[:1]))

    def _adapted(self, target: Map, method: LoRA, limit: Limit, something_below: bool) -> int:
        """A map's LoRA factors, if it has them."""
        if target not in method.targets:
            return 0
        rows, columns = self.backbone.map_shape(target)
        into, out = (2 * self.tokens(target) * method.rank * n for n in (rows, columns))
        # x A and the gradient of A; g B^T and the gradient of B.
        total = 2 * into + 2 * out
        # A dropped-out input is not that of W, so such an adapter cannot be merged. On its own, it
        # also forms (x A) B and leads the gradient back to x.
        if not limit.merged or method.dropout:
            total += out + (into if something_below else 0)
        return self.backbone.copies(target) * total


def _parts(method: Method) -> tuple[Method, ...]:
    """The methods that train together."""
    return (method.first, method.second) if isinstance(method, Both) else (method,)


def _layer(
    backbone: Backbone, number: int, length: int, limit: Limit, work: Work | None = None
) -> _Layer:
    """The layer of that number, over a text of so many real tokens."""
    virtual, keys = (0, 0) if work is None else (work.tokens, work.keys)
    asking = length + virtual
    if limit.first_token and number == backbone.layers - 1:
        asking = length if backbone.pooling == "mean" else 1
    return _Layer(backbone, length + virtual, asking, keys)


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
    `forward_flops(backbone, lengths, method.frozen_layers(backbone))`, once.
    """
    lengths = list(lengths)
    frozen, work = method.frozen_layers(backbone), method.work(backbone)
    total = 0 if known else forward_flops(backbone, lengths, frozen, limit)
    for length, texts in Counter(lengths).items():
        for number in range(frozen, backbone.layers):
            layer = _layer(backbone, number, length, limit, work)
            below = number > frozen or work.embeddings or not limit.lowest_inputs
            own = [part for part in _parts(method) if part.frozen_layers(backbone) <= number]
            total += texts * layer.trained(own, limit, below)
    return total


def merging_flops(backbone: Backbone, method: LoRA) -> int:
    """Operations of forming W + s A B in every adapted map: once a step, however many tokens."""
    shapes = [backbone.map_shape(t) for t in method.targets for _ in range(backbone.copies(t))]
    layers = backbone.layers - method.frozen_layers(backbone)
    return layers * sum(2 * method.rank * rows * columns for rows, columns in shapes)
