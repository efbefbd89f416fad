"""A binding: what a claim says, held against real modules of torch.

A proof is about matrices; a binding builds a small real model, reads numbers from it, and sets
beside each what the claim says it must be, by the functions of the claim's file where it has them.
A binding's file is `bind/b<number>_<word>.py`, which defines `BINDING`.

Nothing is believed here either: a reading without a number is a fault, and so is a *twin* (the
same model with one thing wrong) that the reading meant to show it does not show.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

HOLDS: dict[str, Callable[[float, float, float], bool]] = {
    "=": lambda measured, said, margin: abs(measured - said) <= margin,
    "<=": lambda measured, said, margin: measured <= said + margin,
    ">=": lambda measured, said, margin: measured >= said - margin,
    ">": lambda measured, said, margin: measured > said + margin,
}


@dataclass(frozen=True)
class Reading:
    """A number of a real model, and what the claim says of it."""

    what: str
    measured: float
    relation: Literal["=", "<=", ">=", ">"]
    said: float
    margin: float = 0.0
    """For rounding, in the units of the number."""

    @property
    def ok(self) -> bool:
        """Whether it is as said; what is not a finite number never is."""
        numbers = (self.measured, self.said, self.margin)
        return all(map(math.isfinite, numbers)) and HOLDS[self.relation](*numbers)


@dataclass(frozen=True)
class Twin:
    """The model with one thing wrong, and a reading that must then fail."""

    shows: str
    arguments: Mapping[str, Any]
    """Of the binding's `read`."""


def wrong(shows: str, **arguments: Any) -> Twin:
    """A twin, shown by the reading of that name."""
    return Twin(shows, arguments)


@dataclass(frozen=True, kw_only=True)
class Binding:
    """See the module's docstring."""

    id: str
    """Of the claim."""
    title: str
    read: Callable[..., Iterable[Reading]]
    """Builds the model and reads it; its arguments are what may be wrong with the model."""
    twins: Mapping[str, Twin]
    """By what is wrong, in words."""


@dataclass(frozen=True)
class Examined:
    """What `examine` found."""

    binding: Binding
    readings: tuple[Reading, ...]
    faults: tuple[str, ...]
    """What is not as the claim says, a line each, twins that pass among them."""


def examine(binding: Binding) -> Examined:
    """Read the model and each of its twins; what raises an error is a fault."""
    readings, faults = _read(binding, {})
    faults += [f"{r.what}: {r.measured:.6g}, not {r.relation} {r.said:.6g}" for r in _off(readings)]
    if not binding.twins:
        faults.append("it has no twin")
    for what, twin in binding.twins.items():
        of_twin, errors = _read(binding, twin.arguments)
        faults += [f"twin {what!r}: {error}" for error in errors]
        if not errors and twin.shows not in {reading.what for reading in _off(of_twin)}:
            faults.append(f"twin {what!r}: {twin.shows!r} does not show it")
    return Examined(binding, tuple(readings), tuple(faults))


def _off(readings: Sequence[Reading]) -> list[Reading]:
    return [reading for reading in readings if not reading.ok]


def _read(binding: Binding, arguments: Mapping[str, Any]) -> tuple[list[Reading], list[str]]:
    try:
        readings = list(binding.read(**arguments))
    except Exception as error:
        return [], [f"reading breaks off: {type(error).__name__}: {error}"]
    return readings, [] if readings else ["nothing was read"]
