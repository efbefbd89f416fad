"""A method: what trains. It changes an encoder in place and counts what it does in closed form.

A subclass is a frozen dataclass in a file of `methods/`; the file's name is the method's name.
The head is not the method's: every method trains the same one (`head.py`).
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from lowrank_da import discover, methods
from lowrank_da.backbone import Backbone

if TYPE_CHECKING:
    from torch import nn


class Method(ABC):
    """One way to adapt a pretrained encoder."""

    @property
    def name(self) -> str:
        """The file's name, which is the command line's name for it."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def attach(self, encoder: "nn.Module") -> None:
        """Change `encoder` in place: afterwards exactly what is to train requires a gradient."""

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


def method(name: str) -> type[Method]:
    """The method whose file in `methods/` is called `name`; `UserError` names the nearest one."""
    return discover.the_class(discover.find(methods.__name__, name, "method"), Method)  # type: ignore[type-abstract]
