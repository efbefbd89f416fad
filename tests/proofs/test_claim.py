"""The harness tested by itself: every claim, made worse in every way, must be found at fault."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from proofs.__main__ import files, load
from proofs.claim import (
    Claim,
    Hypothesis,
    Instance,
    Predicate,
    Scope,
    Step,
    Verdict,
    refute_without,
    verify,
)

NAMES = sorted(files().values())


def always(answer: bool) -> Any:
    return lambda values: answer


def proof(*steps: Step) -> Any:
    return lambda: steps


def remembered(predicate: Predicate) -> Predicate:
    """The same, asked once about each instance, which must outlive it."""
    answers: dict[int, bool] = {}

    def ask(values: Instance) -> bool:
        if id(values) not in answers:
            answers[id(values)] = predicate(values)
        return answers[id(values)]

    return ask


def mutants(claim: Claim, steps: Sequence[Step]) -> Iterator[tuple[str, Claim]]:
    """The claim with one thing changed."""
    checks = {k: Hypothesis(h.text, remembered(h.check)) for k, h in claim.hypotheses.items()}
    holds = remembered(claim.holds)
    claim = replace(claim, prove=proof(*steps), hypotheses=checks, holds=holds)
    for answer in (True, False):
        yield f"the statement is always {answer}", replace(claim, holds=always(answer))
    yield "the proof is empty", replace(claim, prove=proof())
    for at, step in enumerate(steps):
        broken = (*steps[:at], replace(step, ok=False), *steps[at + 1 :])
        yield f"step {step.name} is broken", replace(claim, prove=proof(*broken))
    for name, hypothesis in claim.hypotheses.items():
        model, others = claim.models[name], {k: v for k, v in claim.models.items() if k != name}
        yield f"the model without {name} is removed", replace(claim, models=others)
        swapped = {**claim.models, name: claim.control}
        yield f"the model without {name} is the control", replace(claim, models=swapped)
        yield f"the control is the model without {name}", replace(claim, control=model)
        for answer in (True, False):
            wrong = {**claim.hypotheses, name: Hypothesis(hypothesis.text, always(answer))}
            yield f"{name} is always {answer}", replace(claim, hypotheses=wrong)
        fewer = {k: v for k, v in claim.hypotheses.items() if k != name}
        yield f"{name} is dropped, its model kept", replace(claim, hypotheses=fewer)


@pytest.mark.parametrize("name", NAMES)
def test_every_mutant_of_a_claim_is_killed(name: str, verdict_of: Callable[[str], Verdict]) -> None:
    verdict = verdict_of(name)
    claim = verdict.claim
    assert verdict.proved, verdict.faults
    made = list(mutants(claim, verdict.steps))
    assert len(made) == 3 + len(verdict.steps) + 6 * len(claim.hypotheses)
    survivors = [what for what, mutant in made if verify(mutant).proved]
    print(f"{claim.id}: {len(made) - len(survivors)} of {len(made)} mutants killed")
    assert not survivors


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_says_what_it_must(name: str) -> None:
    claim = load(name)
    assert claim.title
    assert claim.latex
    assert claim.source
    assert claim.hypotheses
    assert all(hypothesis.text for hypothesis in claim.hypotheses.values())
    for hypothesis in claim.hypotheses:
        said = refute_without(claim, hypothesis)
        assert claim.id in said
        assert hypothesis in said
        for part, value in claim.models[hypothesis].items():
            assert f"{part} = {value}" in said


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_step_can_be_told_by_its_name(
    name: str, verdict_of: Callable[[str], Verdict]
) -> None:
    steps = [step.name for step in verdict_of(name).steps]
    assert len(set(steps)) == len(steps)


# -- a claim small enough to be changed by hand


def positive(values: Instance) -> bool:
    return bool(values["x"] > 0)


SMALL = Claim(
    id="C00",
    title="A product of positive numbers",
    latex="xy > 0",
    hypotheses={
        "x": Hypothesis("x is positive", positive),
        "y": Hypothesis("y is positive", lambda v: v["y"] > 0),
    },
    holds=lambda v: v["x"] * v["y"] > 0,
    prove=lambda: [Step("signs", Scope.SYMBOLIC, True)],
    control={"x": 2, "y": 3},
    models={"x": {"x": -1, "y": 1}, "y": {"x": 1, "y": 0}},
)


def test_a_sound_claim_is_proved() -> None:
    verdict = verify(SMALL)
    assert verdict.proved
    assert verdict.faults == ()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"prove": proof()}, "the proof has no step"),
        ({"prove": proof(Step("signs", Scope.FIXED, False))}, "step 'signs' does not hold"),
        ({"hypotheses": {}, "models": {}}, "it names no hypothesis"),
        ({"models": {"x": SMALL.models["x"]}}, "hypotheses and models differ: y"),
        ({"models": {**SMALL.models, "z": {}}}, "hypotheses and models differ: z"),
        ({"control": {"x": 2, "y": -3}}, "the control violates y"),
        ({"holds": lambda v: v["x"] * v["y"] > 7}, "the statement is false of the control"),
        (
            {"models": {**SMALL.models, "y": {"x": -1, "y": 0}}},
            "the model without y violates x too",
        ),
        ({"models": {**SMALL.models, "y": {"x": 1, "y": 1}}}, "the model without y satisfies it"),
        ({"holds": lambda v: v["y"] > 0}, "the statement is true of the model without x"),
    ],
)
def test_a_fault_is_named(change: dict[str, Any], fault: str) -> None:
    verdict = verify(replace(SMALL, **change))
    assert fault in verdict.faults
    assert not verdict.proved


@pytest.mark.parametrize("ok", [1, "yes", None, [True]])
def test_a_step_is_true_and_nothing_like_it(ok: Any) -> None:
    assert verify(replace(SMALL, prove=proof(Step("signs", Scope.SYMBOLIC, ok)))).faults


@pytest.mark.parametrize("answer", [None, "yes", [True], 7])
def test_a_predicate_answers_true_or_false(answer: Any) -> None:
    for change in (
        {"holds": always(answer)},
        {"hypotheses": {**SMALL.hypotheses, "x": Hypothesis("", always(answer))}},
    ):
        faults = verify(replace(SMALL, **change)).faults
        assert any("neither true nor false" in fault for fault in faults)


def test_an_error_is_a_fault_and_no_refutation() -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("by nothing")

    assert verify(replace(SMALL, prove=broken)).faults == (
        "the proof breaks off: ZeroDivisionError: by nothing",
    )
    only = {"x": SMALL.hypotheses["x"]}
    lost = replace(SMALL, hypotheses=only, models={"x": {"x": -1}})  # no y: KeyError in `holds`
    assert any("KeyError" in fault for fault in verify(lost).faults)
    faults = verify(replace(SMALL, holds=broken)).faults
    assert len(faults) == 3  # the control, and two models that refute nothing


@pytest.mark.parametrize("scope", list(Scope))
def test_samples_prove_nothing(scope: Scope) -> None:
    verdict = verify(replace(SMALL, prove=proof(Step("signs", scope, True))))
    assert verdict.proved is (scope is not Scope.SAMPLED)


def test_a_sample_beside_a_proof_must_come_out_true_too() -> None:
    steps = (Step("signs", Scope.SYMBOLIC, True), Step("cases", Scope.SAMPLED, False))
    assert not verify(replace(SMALL, prove=proof(*steps))).proved


def test_faults_come_in_the_order_of_the_hypotheses() -> None:
    many = {f"h{i}": Hypothesis("", lambda v: True) for i in range(9)}
    models = {name: {"x": 1, "y": 1} for name in many}
    verdict = verify(replace(SMALL, hypotheses=many, models=models))
    named = [fault.split()[3] for fault in verdict.faults if fault.endswith("satisfies it")]
    assert named == list(many)
