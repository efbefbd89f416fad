"""A claim: what it says, under which hypotheses, how it is proved, and why each one is needed.

A claim's file defines `CLAIM`. `verify` believes nothing: every step of the proof must come out
true; the `control` must satisfy all hypotheses and the statement; and for every hypothesis there
must be a model that violates it, satisfies all others, and makes the statement false.

An instance (the control, a model) is any mapping of names to exact values: matrices of rationals,
numbers, functions. Hypotheses and the statement are predicates on it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

Instance = Mapping[str, Any]
Predicate = Callable[[Instance], bool]


class Scope(Enum):
    """How far a step of a proof reaches."""

    SYMBOLIC = "symbolic dimensions"
    FIXED = "symbolic entries, listed small dimensions"
    WITNESS = "exact witness or finite enumeration"
    SAMPLED = "property test on random instances"

    @property
    def proves(self) -> bool:
        """A property test proves nothing."""
        return self is not Scope.SAMPLED


@dataclass(frozen=True)
class Step:
    """One step of a proof: what was shown, how far it reaches, and whether it came out true."""

    name: str
    scope: Scope
    ok: bool


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a claim, in words and as a predicate on instances."""

    text: str
    check: Predicate


@dataclass(frozen=True, kw_only=True)
class Claim:
    """See the module's docstring; ids are permanent and never used again."""

    id: str
    title: str
    latex: str
    """The statement as a formula."""
    hypotheses: Mapping[str, Hypothesis]
    holds: Predicate
    """The statement, evaluated on one instance."""
    prove: Callable[[], Sequence[Step]]
    control: Instance
    models: Mapping[str, Instance]
    """By hypothesis: an instance that violates it alone, and of which the statement is false."""
    idle: tuple[str, ...] = ()
    """Hypotheses of the source that the proof never uses."""
    cited: tuple[str, ...] = ()
    """Facts from the literature that the proof relies on."""
    not_proved: tuple[str, ...] = ()
    """What a reader might expect and will not find."""
    source: str = ""
    """Where the source states it, or comes near it."""


@dataclass(frozen=True)
class Verdict:
    """What `verify` found."""

    claim: Claim
    steps: tuple[Step, ...]
    faults: tuple[str, ...]
    """What does not hold, a line each; empty when all does."""

    @property
    def proved(self) -> bool:
        """Nothing is at fault, and a step that proves something is there."""
        return not self.faults and any(step.scope.proves for step in self.steps)


def verify(claim: Claim) -> Verdict:
    """Run the proof, the control and every model; what raises an error is a fault."""
    try:
        steps = tuple(claim.prove())
    except Exception as error:
        faults = (f"the proof breaks off: {type(error).__name__}: {error}",)
        return Verdict(claim, (), (*faults, *_faults_of_instances(claim)))
    return Verdict(claim, steps, (*_faults_of_steps(steps), *_faults_of_instances(claim)))


def _faults_of_steps(steps: Sequence[Step]) -> Iterator[str]:
    if not steps:
        yield "the proof has no step"
    for step in steps:
        if step.ok is not True:
            yield f"step {step.name!r} does not hold"


def _faults_of_instances(claim: Claim) -> Iterator[str]:
    if not claim.hypotheses:
        yield "it names no hypothesis"
    if claim.models.keys() != claim.hypotheses.keys():
        odd = sorted(claim.models.keys() ^ claim.hypotheses.keys())
        yield f"hypotheses and models differ: {', '.join(odd)}"
    for name, hypothesis in claim.hypotheses.items():
        yield from _unless(True, hypothesis.check, claim.control, f"the control violates {name}")
    yield from _unless(True, claim.holds, claim.control, "the statement is false of the control")
    for name in (name for name in claim.hypotheses if name in claim.models):
        model, said = claim.models[name], f"the model without {name}"
        for other, hypothesis in claim.hypotheses.items():
            fault = f"{said} satisfies it" if other == name else f"{said} violates {other} too"
            yield from _unless(other != name, hypothesis.check, model, fault)
        yield from _unless(False, claim.holds, model, f"the statement is true of {said}")


def _unless(wanted: bool, predicate: Predicate, instance: Instance, fault: str) -> Iterator[str]:
    """The fault, unless the predicate gives the wanted answer; an error is no answer."""
    try:
        answer = predicate(instance)
        if answer not in (True, False):
            raise TypeError(f"{answer!r} is neither true nor false")
    except Exception as error:
        yield f"{fault}, or so it seems: {type(error).__name__}: {error}"
    else:
        if answer != wanted:
            yield fault


def refute_without(claim: Claim, hypothesis: str) -> str:
    """The model that shows that the hypothesis is needed, in words."""
    values = claim.models[hypothesis]
    lines = [f"{claim.id} without {hypothesis!r} ({claim.hypotheses[hypothesis].text}):"]
    return "\n".join([*lines, *(f"  {name} = {value}" for name, value in values.items())])
