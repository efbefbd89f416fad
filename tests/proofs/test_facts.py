"""Published constants: where each is printed, and what rounding allows."""

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest

from proofs import facts
from proofs.facts import Fact


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (facts.texts(), "SemEval"),
        (facts.total_texts(), "Data"),
        (facts.class_weights(), "table 2"),
        (facts.full_scores(), "table 4"),
        (facts.lora_scores(), "table 6"),
        (facts.averaged_scores(), "table 11"),
        *((fact, f"table {8 + i}") for i, fact in enumerate(facts.binary_scores().values())),
        *((fact, f"table {8 + i}") for i, fact in enumerate(facts.binary_seconds().values())),
        (facts.seconds(), "table 4"),
        (facts.seconds(), "table 6"),
        (facts.lora_parameters(), "above table 6"),
        (facts.watson_minutes(), "resources"),
        (facts.watson_memory(), "resources"),
        (facts.watson_time_ratio(), "Conclusions"),
        (facts.gpu_hours(), "table 1"),
        (facts.lecture_size(), "Comparison"),
        (facts.lecture_accuracy(), "Probing"),
        (facts.public_log(), "thread"),
        (facts.distilroberta(), "configuration"),
    ],
)
def test_a_fact_says_where_it_stands(fact: Fact[object], said: str) -> None:
    assert said in fact.source


def test_values_are_those_printed() -> None:
    assert facts.texts().value == {
        **{"chatGPT": 11995, "cohere": 11336},
        **{"davinci": 11999, "human": 11997},
    }
    assert facts.binary_scores()["cohere"].value["human"] == tuple(
        map(Decimal, ("0.853", "0.999", "0.920"))
    )
    assert facts.seconds().value == (Decimal("4041.3188"), Decimal("3210.977"))
    assert facts.lora_parameters().value == (685828, 82807304, Decimal("0.8282"))
    assert facts.lecture_methods()["BitFit"].value == (Decimal("320e3"), Decimal("0.09"))
    assert facts.gpu_hours().value["P-tuning"] == (8, Decimal("0.96"))


def test_public_shapes_have_their_known_sizes() -> None:
    assert facts.distilroberta().value.body_parameters == 81_527_808
    pooler = 768 * 768 + 768
    assert facts.mbert().value.body_parameters + pooler == 177_853_440
    output = 32000 * 3200
    assert facts.open_llama().value.body_parameters + output == 3_426_473_600


def test_rounding() -> None:
    assert facts.bounds(Decimal("0.950")) == (Fraction("0.9495"), Fraction("0.9505"))
    assert facts.bounds(Decimal("6e6")) == (5_500_000, 6_500_000)
    assert facts.share_bounds(Decimal("1.000")) == (Fraction("0.9995"), 1)
    assert facts.rounds_to(15_360, Decimal("15e3"))
    assert not facts.rounds_to(15_501, Decimal("15e3"))
    with pytest.raises(ValueError, match="no number"):
        facts.bounds(Decimal("nan"))


def test_no_torch_is_loaded() -> None:
    code = "import sys, proofs.facts, proofs.audit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
