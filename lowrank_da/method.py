"""A method: what trains. It changes an encoder in place and counts what it does in closed form.

A subclass is a frozen dataclass in a file of `methods/`; the file's name is the method's name.
The head is not the method's: every method trains the same one (`head.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from lowrank_da import discover, methods
from lowrank_da.backbone import ATTENTION, FFN, Backbone, Map
from lowrank_da.errors import UserError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from lowrank_da.batches import Batch


class Method(ABC):
    """One way to adapt a pretrained encoder, which starts as the pretrained function.

    `anatomy` finds an encoder's parts in every family, `Backbone` counts them. What trains weights
    that are there already adds none, and says so in `trained_parameters` (see `bitfit.py`).
    """

    rates: ClassVar[tuple[float, ...]] = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)
    """Learning rates to try, rising; a study may try others."""

    @property
    def name(self) -> str:
        """The file's name, which is the command line's name for it."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def virtual_tokens(self) -> int:
        """Positions that the method takes up beside those of a text."""
        return 0

    def attach(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Change `encoder` in place: afterwards exactly what is to train requires a gradient."""
        encoder.requires_grad_(False)
        self.change(encoder, backbone)

    @abstractmethod
    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Put into the frozen `encoder` what trains, and let it require a gradient."""

    def look(
        self, encoder: "nn.Module", backbone: Backbone, batches: "Iterable[Batch]", seed: int
    ) -> None:
        """See training texts before training starts, once; by default nothing is asked of them."""
        return None

    @abstractmethod
    def added_parameters(self, backbone: Backbone) -> int:
        """New parameters that the method puts into the encoder, head excluded."""

    def trained_parameters(self, backbone: Backbone) -> int:
        """Parameters of the encoder that train, head excluded; by default the added ones."""
        return self.added_parameters(backbone)

    def frozen_layers(self, backbone: Backbone) -> int:
        """How many of the lowest layers nothing that trains can change.

        Their states are the same in every step, so they may be computed once (see `trunk.py`).
        Raises `UserError` when the method asks for more layers than the backbone has.
        """
        return 0

    def trained_facts(self, encoder: "nn.Module") -> dict[str, Any]:
        """What the record of a finished training tells of the method's own parameters, as JSON."""
        return {}

    def work(self, backbone: Backbone) -> "Work":
        """What it adds to a training's operations, for `cost.py`."""
        return Work()

    def rate_factor(self, parameter: str) -> float:
        """By what the learning rate is multiplied for the trained parameter of that name."""
        return 1.0


@dataclass(frozen=True)
class Work:
    """What a method's training computes beside the passes through frozen maps, see `cost.py`."""

    embeddings: bool = False
    """Something trains that enters the maps of the lowest layer which is not frozen."""
    weights: bool = False
    """The maps' own weights train."""
    touched: frozenset[Map] = frozenset()
    """The maps at whose output something trains: a bias, a factor, or what stands behind it: a
    module, or the norm that its output is added before."""
    behind: Mapping[Map, tuple[int, ...]] = field(default_factory=dict)
    """The sizes of the matrices that a map's output rows go through, one after the other."""
    tokens: int = 0
    """Virtual tokens around each text."""
    keys: int = 0
    """Keys and values before each text, in every layer."""

    def __post_init__(self) -> None:
        known = ATTENTION + FFN
        for name in (*self.touched, *self.behind):
            if name not in known:
                raise unknown("map", name, known)

    def beside(self, other: "Work") -> "Work":
        """Both together."""
        return Work(
            self.embeddings or other.embeddings,
            self.weights or other.weights,
            self.touched | other.touched,
            {**self.behind, **other.behind},
            self.tokens + other.tokens,
            self.keys + other.keys,
        )


def refuse_two(encoder: "nn.Module", place: str, name: str) -> None:
    """Raise `UserError` where another method has taken the one such place of an encoder."""
    if hasattr(encoder, place):
        raise UserError(f"{name}: another method holds the encoder's {place} already; choose one")


def method(name: str) -> type[Method]:
    """The method whose file in `methods/` is called `name`; `UserError` names the nearest one."""
    return discover.the_class(discover.find(methods.__name__, name, "method"), Method)  # type: ignore[type-abstract]
