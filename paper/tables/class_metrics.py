"""Precision, recall and F1 of each class, published and ours, with the training time."""

from dataclasses import dataclass
from typing import Any

from lowrank_da.corpus import Corpus
from paper import rows
from paper.parameters import parameter_notes
from paper.published import published
from paper.table import Body, OfThesis, Records, SettingFacts
from paper.words import Text


@dataclass(frozen=True, kw_only=True)
class ClassMetrics(OfThesis):
    """A classifier of all classes; `runs` are our models beside the one published."""

    published_as: str
    """The key below `thesis` in the published numbers."""
    runs: tuple[str, ...]
    parameters: bool = False
    """Whether the line of trained parameters stands below."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Our models."""
        return self.runs

    def body(self, records: Records) -> Body:
        """A group a class."""
        theirs: dict[str, Any] = published()["thesis"][self.published_as]
        groups = rows.beside_published(
            records,
            records.facts.classes,
            rows.published_rows(records, theirs["precision_recall_f1"]),
            {name: rows.metrics_by_class(records.get(name)) for name in self.runs},
        )
        notes = [rows.seconds_note(records, theirs["seconds"], self.runs)]
        if self.parameters:
            notes += parameter_notes(records, self.runs)
        return Body(rows.header(records), groups, tuple(notes))


@dataclass(frozen=True, kw_only=True)
class BinaryMetrics(OfThesis):
    """One machine class against human."""

    position: int
    """Of the machine class, in the corpus' labels and in the published order."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The binary of this position, if the corpus has so many machine classes."""
        return facts.binaries[self.position : self.position + 1]

    def body(self, records: Records) -> Body:
        """Two groups: the machine class, and human."""
        theirs = published()["thesis"]["binaries"][self.position]
        names = self.needs(records.facts)
        positions = [self.position, records.facts.labels.index(Corpus.human)] if names else []
        groups = rows.beside_published(
            records,
            positions,
            theirs["precision_recall_f1"][: len(positions)],
            {name: rows.metrics_by_class(records.get(name)) for name in names},
        )
        notes = [rows.seconds_note(records, theirs["seconds"], names)]
        if "remark" in theirs:
            notes.append(IMPOSSIBLE.say(records.lang))
        return Body(rows.header(records), groups, tuple(notes))


IMPOSSIBLE = Text(
    "The published F1 of human does not follow from its precision and recall.",
    "Опубликованная F1-мера human не следует из точности и полноты.",
)


def _binary(id: str, position: int, machine: str) -> BinaryMetrics:
    return BinaryMetrics(
        id=id,
        position=position,
        title=Text(
            f"Binary LoRA classifier, {machine} vs human in the thesis",
            f"Метрики качества LoRA, бинарная классификация, в работе {machine} vs Human",
        ),
    )


TABLES = (
    ClassMetrics(
        id="4",
        title=Text(
            "Full fine-tuning, all classes",
            "Метрики качества полного дообучения, мультиклассовая классификация",
        ),
        published_as="full",
        runs=("full",),
    ),
    ClassMetrics(
        id="6",
        title=Text("LoRA, all classes", "Метрики качества LoRA, мультиклассовая классификация"),
        published_as="lora",
        runs=("lora_published", "lora"),
        parameters=True,
    ),
    _binary("8", 0, "chatGPT"),
    _binary("9", 1, "Cohere"),
    _binary("10", 2, "Davinci"),
)
