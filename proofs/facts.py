"""Published constants, exact and each with the table it stands in; no torch is loaded.

Every accessor gives one `Fact`. Numbers keep the digits of the print, so that `bounds` knows what
they were before they were rounded. They are read from `paper/published.toml`; the shapes of public
models that no source prints are `lowrank_da.backbone`'s, or stand here with their origin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

from lowrank_da.backbone import DISTILROBERTA, Backbone
from paper.published import published

T = TypeVar("T")
HUMAN = "human"


@dataclass(frozen=True)
class Fact(Generic[T]):
    """A value and where it is printed."""

    value: T
    source: str


class Scores(NamedTuple):
    """Of one class, as printed."""

    precision: Decimal
    recall: Decimal
    f1: Decimal


class Pair(NamedTuple):
    """A cost of full fine-tuning, and of LoRA."""

    full: Decimal
    lora: Decimal


class Trained(NamedTuple):
    """The line of parameters above the thesis' table 6."""

    trainable: int
    all: int
    percent: Decimal


class Counted(NamedTuple):
    """A row of the lecture's table."""

    parameters: Decimal
    percent: Decimal


# Arithmetic of printed numbers


def bounds(printed: Decimal) -> tuple[Fraction, Fraction]:
    """The least and the greatest number that round to the digits printed."""
    exponent = printed.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{printed} is no number")
    half = Fraction(10) ** exponent / 2
    return Fraction(printed) - half, Fraction(printed) + half


def share_bounds(printed: Decimal) -> tuple[Fraction, Fraction]:
    """The same for a share of a whole, which is at most 1."""
    low, high = bounds(printed)
    return low, min(high, Fraction(1))


def rounds_to(exact: Fraction | int, printed: Decimal) -> bool:
    """Whether the exact number can have been printed like this."""
    low, high = bounds(printed)
    return low <= exact <= high


# The thesis and its corpus


def _thesis(part: str) -> Mapping[str, Any]:
    section: Mapping[str, Any] = published()["thesis"][part]
    return section


def _by_class(rows: Any) -> dict[str, Any]:
    return dict(zip(published()["thesis"]["classes"], rows, strict=True))


def _scores(part: str) -> Fact[dict[str, Scores]]:
    section = _thesis(part)
    rows = {c: Scores(*row) for c, row in _by_class(section["precision_recall_f1"]).items()}
    return Fact(rows, section["source"])


def texts() -> Fact[dict[str, int]]:
    """Texts by class: the corpus' own counts, which sum to the thesis' total."""
    corpus = published()["semeval"]
    return Fact(dict(zip(corpus["classes"], corpus["texts"], strict=True)), corpus["source"])


def total_texts() -> Fact[int]:
    """All texts, as the thesis prints them."""
    return Fact(_thesis("data")["texts"], _thesis("data")["source"])


def class_weights() -> Fact[dict[str, Decimal]]:
    """Table 2."""
    section = _thesis("class_weights")
    return Fact(_by_class(section["weight"]), section["source"])


def full_scores() -> Fact[dict[str, Scores]]:
    """Table 4, printed again as table 12: full fine-tuning on four classes."""
    return _scores("full")


def lora_scores() -> Fact[dict[str, Scores]]:
    """Table 6: LoRA on four classes."""
    return _scores("lora")


def averaged_scores() -> Fact[dict[str, Scores]]:
    """Table 11: the binary models' scores, averaged."""
    return _scores("binaries_averaged")


def binary_scores() -> dict[str, Fact[dict[str, Scores]]]:
    """Tables 8 to 10, by machine class: its scores and those of human."""
    return {
        b["machine"]: Fact(
            {
                name: Scores(*row)
                for name, row in zip((b["machine"], HUMAN), b["precision_recall_f1"], strict=True)
            },
            b["source"],
        )
        for b in published()["thesis"]["binaries"]
    }


def seconds() -> Fact[Pair]:
    """Training times on four classes: above tables 4 and 6."""
    full, lora = _thesis("full"), _thesis("lora")
    return Fact(Pair(full["seconds"], lora["seconds"]), f"{full['source']}; {lora['source']}")


def binary_seconds() -> dict[str, Fact[Decimal]]:
    """Training times above tables 8 to 10, by machine class."""
    binaries = published()["thesis"]["binaries"]
    return {b["machine"]: Fact(b["seconds"], b["source"]) for b in binaries}


def lora_parameters() -> Fact[Trained]:
    """The line above table 6."""
    line = _thesis("lora_parameters")
    return Fact(Trained(line["trainable"], line["all"], line["percent"]), line["source"])


# The other sources


def watson_minutes() -> Fact[Pair]:
    """Minutes an epoch of full fine-tuning and of LoRA, multilingual inference."""
    return _watson("minutes_an_epoch")


def watson_memory() -> Fact[Pair]:
    """Gigabytes of full fine-tuning and of LoRA, multilingual inference."""
    return _watson("memory_gb")


def _watson(name: str) -> Fact[Pair]:
    full, lora = published()["watson"]["full"], published()["watson"]["lora"]
    return Fact(Pair(Decimal(full[name]), Decimal(lora[name])), lora["source"])


def watson_rank() -> Fact[int]:
    """The rank of that LoRA, on query and value."""
    lora = published()["watson"]["lora"]
    return Fact(lora["rank"], lora["source"])


def watson_time_ratio() -> Fact[int]:
    """How many times faster its conclusions call LoRA."""
    claims = published()["watson"]["claims"]
    return Fact(claims["time_ratio"], claims["source"])


def gpu_hours() -> Fact[dict[str, tuple[int, Decimal]]]:
    """Cards and hours by method, P-tuning & bias."""
    cost = published()["p_tuning_bias"]["cost"]
    rows = zip(cost["gpus"], cost["hours_high_resource"], strict=True)
    return Fact(dict(zip(cost["methods"], rows, strict=True)), cost["source"])


def lecture_size() -> Fact[tuple[int, int]]:
    """Parameters and layers of the lecture's model; its width is not printed."""
    model = published()["lecture"]["model"]
    return Fact((int(model["parameters"]), model["layers"]), model["source"])


def lecture_methods() -> dict[str, Fact[Counted]]:
    """The lecture's table, by method."""
    return {
        row["method"]: Fact(Counted(row["parameters"], Decimal(row["percent"])), row["source"])
        for row in published()["lecture"]["methods"]
    }


def lecture_accuracy() -> Fact[dict[str, tuple[Decimal, Decimal]]]:
    """Percent in and out of distribution, by way of training."""
    table = published()["lecture"]["accuracy_percent"]
    pairs = zip(table["id"], table["ood"], strict=True)
    return Fact(dict(zip(table["columns"], pairs, strict=True)), table["source"])


def public_log() -> Fact[tuple[int, int]]:
    """Trained and all parameters that peft printed: roberta-base, 2 classes, prompt of 20."""
    log = published()["peft_log"]
    return Fact((log["trained"], log["all"]), log["source"])


# Shapes of public models


def distilroberta() -> Fact[Backbone]:
    """The thesis' backbone."""
    return Fact(DISTILROBERTA, "the configuration of distilroberta-base")


def mbert() -> Fact[Backbone]:
    """The backbone of the multilingual inference; its pooler is not counted."""
    shape = Backbone("mbert", "bert", 12, 768, 12, 3072, 119547, 512, 2, "first")
    return Fact(shape, "the configuration of bert-base-multilingual-cased")


def open_llama() -> Fact[Backbone]:
    """The backbone of P-tuning & bias; its output map is not counted."""
    shape = Backbone("open_llama_3b", "llama", 26, 3200, 32, 8640, 32000, 2048, 0, "last")
    return Fact(shape, "the configuration of open_llama_3b")
