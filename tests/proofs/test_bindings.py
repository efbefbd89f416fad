"""Every claim that is held against real modules holds there, and its twins do not."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from proofs.__main__ import alone, load_binding, main
from proofs.bind.real import largest
from proofs.binding import Binding, Examined, Reading, examine, wrong
from proofs.uses import files, studies

BOUND = files("proofs.bind")
ASKED = {"C02", "C06", "C07", "C08", "C10", "C11", "C15", "C18", "C21", "C22", "C23", "C25"}
"""Of these claims something can be read from a model."""


def one(measured: float = 1.0) -> Iterator[Reading]:
    yield Reading("a number", measured, "=", 1, 0.5)


GOOD = Binding(id="C03", title="nothing", read=one, twins={"two": wrong("a number", measured=2)})


@cache
def examined(name: str) -> Examined:
    with alone():
        return examine(load_binding(name))


def test_the_claims_about_models_are_bound() -> None:
    assert set(BOUND) >= ASKED


@pytest.mark.parametrize("name", BOUND.values())
def test_it_holds_on_real_modules_and_its_twins_fail(name: str) -> None:
    assert examined(name).faults == ()
    assert len(examined(name).readings) >= 2


@pytest.mark.parametrize("name", BOUND.values())
def test_no_equality_is_idle(name: str) -> None:
    """A twin shows that each can fail; of several bounds of one kind it may show one."""
    equal = {reading.what for reading in examined(name).readings if reading.relation == "="}
    assert equal <= {twin.shows for twin in examined(name).binding.twins.values()}


def test_the_generator_and_the_threads_are_left_as_they_were() -> None:
    torch.manual_seed(1)
    wanted, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(1)
    assert main(["C22", "--bind"]) == 0
    assert torch.rand(1) == wanted
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("relation", "good", "bad"),
    [
        ("=", (0.9, 1.1), (0.7, 1.3)),
        ("<=", (0.2, 1.1), (1.3,)),
        (">=", (0.9, 5), (0.7,)),
        (">", (1.3,), (1.1, 1)),
    ],
)
def test_a_reading_keeps_its_relation(
    relation: Any, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    def ok(x: float) -> bool:
        return Reading("x", x, relation, 1, 0.2).ok

    assert all(map(ok, good))
    assert not any(map(ok, (*bad, math.nan, math.inf, -math.inf)))


def test_no_bound_is_met_by_no_number() -> None:
    assert not Reading("x", 1, "<=", math.inf).ok
    assert not Reading("x", 1, "=", 1, math.nan).ok


def faults(**changes: Any) -> tuple[str, ...]:
    return examine(replace(GOOD, **changes)).faults


def broken(measured: float = 1.0) -> Iterator[Reading]:
    raise ZeroDivisionError("no number")


def test_what_is_wrong_with_a_binding_is_said() -> None:
    assert faults() == ()
    assert faults(read=lambda **_: one(3)) == ("a number: 3, not = 1",)
    assert faults(twins={}) == ("it has no twin",)
    same = faults(twins={"same": wrong("a number")})
    assert same == ("twin 'same': 'a number' does not show it",)
    (other,) = faults(twins={"other": wrong("another number", measured=2)})
    assert other.endswith("does not show it")
    assert "nothing was read" in faults(read=lambda **_: [])
    assert "reading breaks off: ZeroDivisionError: no number" in faults(read=broken)
    (odd,) = faults(twins={"odd": wrong("a number", other=1)})
    assert odd.startswith("twin 'odd': reading breaks off: TypeError")


def test_studies_bear_on_claims_that_there_are() -> None:
    assert set(studies()) <= set(files())
    assert "thesis" in studies()["C08"]


def test_where_a_claim_is_used_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["C08"]) == 0
    (row,) = re.findall(r"\| C08 \| bind/b08_start.py \| (.*) \|", capsys.readouterr().out)
    assert row.split(", ") == studies()["C08"]


# -- the command line


def test_bind_prints_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["c22", "C21", "--bind", "--strict"]) == 0
    said = capsys.readouterr()
    for name in ("b21_parameters", "b22_counts"):
        binding = load_binding(name)
        for reading in binding.read():
            assert f"| {binding.id} | {reading.what} | {reading.measured:,.0f} |" in said.out
        assert "; ".join(binding.twins) in said.out
    assert "2 bindings in" in said.out
    assert said.err == ""


def test_a_binding_that_fails_is_an_error_with_strict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(binding: Binding) -> Examined:
        return examine(replace(GOOD, read=lambda **_: one(3)))

    monkeypatch.setattr("proofs.__main__.examine", wrong)
    assert main(["C21", "--bind"]) == 0
    assert "| 3 | = 1 ± 0.5 | NO |" in capsys.readouterr().out
    assert main(["C21", "--bind", "--strict"]) == 1
    assert capsys.readouterr().err == "C03: a number: 3, not = 1\n"


def test_what_is_no_number_is_a_fault_in_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nan = replace(GOOD, read=lambda **_: one(math.nan))
    monkeypatch.setattr("proofs.__main__.examine", lambda _: examine(nan))
    assert main(["C21", "--bind", "--strict"]) == 1
    assert "| nan | = 1 ± 0.5 | NO |" in capsys.readouterr().out
    assert math.isnan(largest(torch.tensor([0.0]), torch.tensor([math.nan])))


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["C16", "--bind"]) == 2
    assert capsys.readouterr().err.startswith("proofs: unknown claim with a binding 'C16'")
    with pytest.raises(SystemExit):
        main(["C03", "--bind", "--without", "one adapter"])
