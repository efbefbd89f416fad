"""What a training must at least compute: floating-point operations by formula.

Per token, with N weights in the encoder's linear maps, L layers of width d, texts of S tokens and
P adapter weights (one multiply-add counts as two operations; softmax, norms and activations, a few
per cent, are left out):

    forward                                   2N + 4LSd
    full fine-tuning                          6N + 12LSd
    adapters in every layer, backbone frozen  4N + 12LSd + 6P
"""

from collections.abc import Iterable

from lowrank_da.backbone import Backbone
from lowrank_da.method import Method


def forward_flops(backbone: Backbone, lengths: Iterable[int]) -> int:
    """Operations of one forward pass over texts of these token lengths."""
    attention = 4 * backbone.layers * backbone.width
    return sum(s * (2 * backbone.map_parameters + attention * s) for s in lengths)


def training_flops(backbone: Backbone, method: Method, lengths: Iterable[int]) -> int:
    """Operations of one forward and backward pass over texts of these token lengths.

    A method that trains the frozen body's weights pays for their gradients, another only for the
    gradient of the activations and for its own weights.
    """
    body = method.trained_parameters(backbone) - method.added_parameters(backbone)
    maps = (6 if body else 4) * backbone.map_parameters
    added = 6 * method.added_parameters(backbone)
    attention = 12 * backbone.layers * backbone.width
    return sum(s * (maps + added + attention * s) for s in lengths)
