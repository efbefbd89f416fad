"""The parameter line, from the configuration alone."""

from invented_records import LABELS, record

from paper.parameters import THESIS_LORA, parameter_notes
from paper.table import Records, SettingFacts

FACTS = SettingFacts("outfox", "outfox", "minilm", LABELS)


def test_both_accountings_are_computed_not_copied() -> None:
    published, peft, ours = parameter_notes(Records({}, FACTS, "en"), ())
    line = "685,828 of 82,807,304 (0.8282 %)"
    assert line.replace(" of", " trained of") in published
    assert line in peft
    assert "685,828 of 82,213,636 (0.8342 %)" in ours
    assert "body 81,527,808 + head 593,668 + adapter 92,160" in ours


def test_the_thesis_adapts_query_and_value() -> None:
    assert THESIS_LORA.targets == ("query", "value")


def test_a_runs_own_line_counts_head_and_adapter_apart() -> None:
    records = Records({"lora": [record("lora")]}, FACTS, "en")
    *_, of_run, missing = parameter_notes(records, ("lora", "full"))
    assert of_run == (
        "lora here: 1,300 trained of 21,300 (6.1033 %): head 1,000, adapter 300"
        " (1.41 % of the total)."
    )
    assert missing == "full here: -."
