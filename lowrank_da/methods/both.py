"""Two methods together, as one value; by default P-tuning & bias.

P-tuning & bias trains tokens on the left of every text and the bias of every linear map; where the
maps have none, it adds them.
"""

from dataclasses import dataclass, field
from itertools import tee
from typing import TYPE_CHECKING, Any

from lowrank_da.backbone import Backbone
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.p_tuning import PTuning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from lowrank_da.batches import Batch


@dataclass(frozen=True)
class Both(Method):
    """Train what `first` trains and what `second` trains; they must not meet in a parameter."""

    first: Method = field(default=PTuning(side="left"))
    second: Method = field(default=BitFit())

    rates = (2.5e-4, 1e-3, 4e-3, 1.6e-2, 6.4e-2)

    def __post_init__(self) -> None:
        for alone in (Full, LinearProbe, Both):
            if isinstance(self.first, alone) or isinstance(self.second, alone):
                raise UserError(f"both: {alone.__name__} does not go together with another method")
        if type(self.first) is type(self.second):
            raise UserError(f"both: {self.first.name} twice; choose two methods")

    @property
    def virtual_tokens(self) -> int:
        """Of both."""
        return self.first.virtual_tokens + self.second.virtual_tokens

    def change(self, encoder: "nn.Module", backbone: Backbone) -> None:
        """Make both changes, one after the other; `UserError` where they meet in a parameter."""
        self.first.change(encoder, backbone)
        trained = [p for p in encoder.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        self.second.change(encoder, backbone)
        if any(parameter.requires_grad for parameter in trained):
            names = f"{self.first.name} and {self.second.name}"
            raise UserError(f"both: {names} train the same parameters; choose two that do not meet")
        for parameter in trained:
            parameter.requires_grad_(True)

    def look(
        self, encoder: "nn.Module", backbone: Backbone, batches: "Iterable[Batch]", seed: int
    ) -> None:
        """Each of them sees the same texts."""
        texts, again = tee(batches)
        self.first.look(encoder, backbone, texts, seed)
        self.second.look(encoder, backbone, again, seed)

    def added_parameters(self, backbone: Backbone) -> int:
        """The sum."""
        return self.first.added_parameters(backbone) + self.second.added_parameters(backbone)

    def trained_parameters(self, backbone: Backbone) -> int:
        """The sum."""
        return self.first.trained_parameters(backbone) + self.second.trained_parameters(backbone)

    def frozen_layers(self, backbone: Backbone) -> int:
        """Those that neither of them changes."""
        return min(self.first.frozen_layers(backbone), self.second.frozen_layers(backbone))

    def work(self, backbone: Backbone) -> Work:
        return self.first.work(backbone).beside(self.second.work(backbone))

    def trained_facts(self, encoder: "nn.Module") -> dict[str, Any]:
        """Those of both."""
        return self.first.trained_facts(encoder) | self.second.trained_facts(encoder)

    def rate_factor(self, parameter: str) -> float:
        """The product."""
        return self.first.rate_factor(parameter) * self.second.rate_factor(parameter)
