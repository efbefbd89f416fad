"""The published numbers agree with each other, and disagree where the sources do."""

import tomllib
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import pytest

from lowrank_da.metrics import class_weights
from paper import published as module
from paper.published import published

THESIS = published()["thesis"]
HALF = Decimal("0.0005")


def rows() -> list[tuple[str, list[Decimal]]]:
    """Every published row of precision, recall and F1 of a single task."""
    found = [
        (f"{key} {name}", row)
        for key in ("full", "lora", "full_again")
        for name, row in zip(THESIS["classes"], THESIS[key]["precision_recall_f1"], strict=True)
    ]
    for binary in THESIS["binaries"]:
        found += [
            (f"{binary['machine']} binary, {name}", row)
            for name, row in zip(("machine", "human"), binary["precision_recall_f1"], strict=True)
        ]
    return found


def f1(precision: Decimal, recall: Decimal) -> Decimal:
    return 2 * precision * recall / (precision + recall)


def can_follow(row: list[Decimal]) -> bool:
    """Whether some precision and recall that round to the printed ones give the printed F1."""
    precision, recall, printed = row
    low = f1(precision - HALF, recall - HALF)
    high = f1(min(precision + HALF, Decimal(1)), min(recall + HALF, Decimal(1)))
    return low <= printed + HALF and high >= printed - HALF


def test_every_f1_but_one_follows_from_precision_and_recall() -> None:
    assert [name for name, row in rows() if not can_follow(row)] == ["chatGPT binary, human"]


def test_the_impossible_f1_is_marked() -> None:
    assert ["remark" in binary for binary in THESIS["binaries"]] == [True, False, False]


def test_counts_sum_to_the_printed_total() -> None:
    counts = published()["semeval"]
    assert sum(counts["texts"]) == THESIS["data"]["texts"] == 47327
    assert counts["texts_before"] - sum(counts["texts_left_out"]) == 47327
    for name, total in zip(counts["classes"][:-1], counts["texts"], strict=False):
        assert sum(counts["domains"][name]) == total


def test_weights_are_truncated_not_rounded() -> None:
    counts = published()["semeval"]
    texts = dict(zip(counts["classes"], counts["texts"], strict=False))
    exact = [Decimal(weight) for weight in class_weights(texts).values()]
    step = Decimal("0.001")
    printed = THESIS["class_weights"]["weight"]
    assert [w.quantize(step, ROUND_DOWN) for w in exact] == printed
    assert [w.quantize(step) for w in exact] != printed


@pytest.mark.parametrize("key", ["full", "lora"])
def test_confusion_rows_sum_to_one_and_hold_the_recalls(key: str) -> None:
    for i, row in enumerate(THESIS[key]["confusion"]):
        assert sum(row) == pytest.approx(1, abs=0.0125)  # four cells of two digits
        recall = THESIS[key]["precision_recall_f1"][i][1]
        assert abs(row[i] - recall) < Decimal("0.01")


def test_averages_are_those_of_the_binaries() -> None:
    averaged = THESIS["binaries_averaged"]["precision_recall_f1"]
    binaries = [binary["precision_recall_f1"] for binary in THESIS["binaries"]]
    assert averaged[:3] == [machine for machine, _ in binaries]
    mean = [sum(column) / 3 for column in zip(*(human for _, human in binaries), strict=True)]
    assert [m.quantize(Decimal("0.001")) for m in mean] == averaged[3]


def test_the_repeated_table_repeats() -> None:
    again = THESIS["full_again"]["precision_recall_f1"]
    assert again == THESIS["full"]["precision_recall_f1"]


def test_the_percentage_follows_from_the_counts() -> None:
    line = THESIS["lora_parameters"]
    percent = Decimal(100 * line["trainable"]) / line["all"]
    assert percent.quantize(Decimal("0.0001")) == line["percent"]


def test_mean_words_by_class_agree_with_the_mean_over_all() -> None:
    words, counts = THESIS["mean_words"]["words"], published()["semeval"]["texts"]
    mean = sum(w * n for w, n in zip(words, counts, strict=True)) / sum(counts)
    assert round(mean, -1) == THESIS["data"]["mean_words"]


def test_every_section_with_a_number_names_its_source() -> None:
    text = (Path(module.__file__).parent / "published.toml").read_text()

    def without(section: Any, path: str) -> list[str]:
        if isinstance(section, list):
            return [x for i, part in enumerate(section) for x in without(part, f"{path}[{i}]")]
        if not isinstance(section, dict):
            return []
        own = [] if section.get("source") else [path]
        return own + [x for key, part in section.items() for x in without(part, f"{path}.{key}")]

    data = tomllib.loads(text)
    assert [x for key, section in data.items() for x in without(section, key)] == []


def test_the_lectures_counts_and_percentages_agree_but_for_the_prompt() -> None:
    lecture = published()["lecture"]
    size = lecture["model"]["parameters"]

    def agree(row: dict[str, Any]) -> bool:
        """Whether one count rounds to the printed one and its share to the printed percentage."""
        count, percent = row["parameters"], Decimal(row["percent"])
        half = Decimal((0, (5,), count.as_tuple().exponent - 1))
        low, high = (100 * (count + sign * half) / size for sign in (-1, 1))
        return bool(low.quantize(percent) <= percent <= high.quantize(percent))

    assert [row["method"] for row in lecture["methods"] if not agree(row)] == ["prompt tuning"]


def test_the_lectures_numbers_that_do_not_follow_are_marked() -> None:
    marked = [row["method"] for row in published()["lecture"]["methods"] if "remark" in row]
    assert marked == ["prompt tuning", "BitFit"]
