"""What training costs: seconds published and ours, each as a ratio to full fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lowrank_da.run import Run
from paper import words
from paper.published import published
from paper.rows import mean_seconds, share_of_limit
from paper.table import MISSING, Body, OfThesis, Records, Row, SettingFacts
from paper.words import Text

ARM = Text("arm", "модель")
RATIO = Text("ratio to full", "отношение к full")
TOKENS = Text("tokens/s", "токенов/с")
SHARE = Text("share of the peak", "доля предела")
MEMORY = Text("peak memory, GiB", "пик памяти, ГиБ")
TOGETHER = Text("all binaries together", "все бинарные вместе")
NOTE = Text(
    "Seconds of different machines, corpora and lengths cannot be compared; ratios can, as far as"
    " all arms ran on one machine. The published LoRA stands beside both of ours.",
    "Секунды разных машин, корпусов и длин не сравнимы; отношения сравнимы, если все модели"
    " обучены на одной машине. LoRA из работы стоит рядом с обеими нашими.",
)


def published_seconds(facts: SettingFacts) -> dict[str, Decimal]:
    """The published training time that stands beside each of our arms."""
    thesis: dict[str, Any] = published()["thesis"]
    seconds = {
        "full": thesis["full"]["seconds"],
        "lora_published": thesis["lora"]["seconds"],
        "lora": thesis["lora"]["seconds"],
    }
    times = [binary["seconds"] for binary in thesis["binaries"]]
    return seconds | dict(zip(facts.binaries, times, strict=False))


@dataclass(frozen=True, kw_only=True)
class Cost(OfThesis):
    """One row an arm, the binaries also together."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Every trained arm."""
        return ("full", "lora_published", "lora", *facts.binaries)

    def body(self, records: Records) -> Body:
        """The multi-class arms, then the binaries and their sum."""
        lang, binaries = records.lang, records.facts.binaries
        theirs = published_seconds(records.facts)
        ours = {name: mean_seconds(records.get(name)) for name in self.needs(records.facts)}

        def row(name: str) -> Row:
            return (
                name,
                str(theirs[name]) if name in theirs else MISSING,
                _ratio(theirs.get(name), theirs["full"]),
                _seconds(ours[name]),
                _ratio(ours[name], ours["full"]),
                *_measured(records.get(name)),
            )

        parts = [ours[name] for name in binaries]
        their_sum = sum((theirs[name] for name in binaries if name in theirs), Decimal(0))
        our_sum = None if None in parts or not parts else sum(p for p in parts if p is not None)
        together = (
            TOGETHER.say(lang),
            str(their_sum),
            _ratio(their_sum, theirs["full"]),
            _seconds(our_sum),
            _ratio(our_sum, ours["full"]),
            "",
            "",
            "",
        )
        first = tuple(row(name) for name in ("full", "lora_published", "lora"))
        second = (*(row(name) for name in binaries), together)
        seconds, ratio, published_word = (
            word.say(lang) for word in (words.SECONDS, RATIO, words.PUBLISHED)
        )
        header = (
            ARM.say(lang),
            f"{seconds}, {published_word}",
            f"{ratio}, {published_word}",
            seconds,
            ratio,
            *(column.say(lang) for column in (TOKENS, SHARE, MEMORY)),
        )
        return Body(header, (first, second), (NOTE.say(lang),))


def _seconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def _ratio(part: float | Decimal | None, whole: float | Decimal | None) -> str:
    return f"{float(part) / float(whole):.2f}" if part is not None and whole else MISSING


def _measured(runs: Sequence[Run]) -> Row:
    """Tokens a second, share of the machine's peak, memory: means; blank where not measured."""
    if not runs:
        return (MISSING,) * 3

    def mean(what: str, unit: float, decimals: int) -> str:
        found = [run.measured.get(what) for run in runs]
        values = [value / unit for value in found if value is not None]
        return f"{sum(values) / len(values):,.{decimals}f}" if len(values) == len(runs) else ""

    return (
        mean("tokens_per_second", 1, 0),
        share_of_limit(runs),
        mean("peak_memory_bytes", 2**30, 2),
    )


TABLES = (Cost(id="cost", title=Text("Cost of training", "Стоимость обучения")),)
