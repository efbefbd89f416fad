"""What the texts are like: class weights and mean lengths, from the counts that a record keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lowrank_da.corpus import ID, SELECT, TRAIN
from lowrank_da.metrics import class_weights
from paper import words
from paper.published import published
from paper.rows import published_rows
from paper.table import MISSING, Body, OfThesis, Records, SettingFacts, thousands
from paper.words import Text

Statistics = Mapping[str, Any]
"""A record's `result["corpus"]`: `texts` by role and class, `mean_words` by class."""


@dataclass(frozen=True, kw_only=True)
class CorpusTable(OfThesis):
    """One published column of the corpus beside the same of ours."""

    theirs: Callable[[], Sequence[Any]]
    ours: Callable[[Statistics, Sequence[str]], Sequence[str]]
    column: Text
    note: Text | None = None

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Any run would do, for all read the same texts."""
        return ("full",)

    def body(self, records: Records) -> Body:
        """A row a class."""
        facts, lang, runs = records.facts, records.lang, records.get("full")
        ours: Sequence[str] = (MISSING,) * len(facts.labels)
        if runs:
            ours = self.ours(runs[0].result["corpus"], facts.labels)
        theirs = published_rows(records, [(number,) for number in self.theirs()])
        column = self.column.say(lang)
        rows = tuple((facts.class_name(i, lang), str(theirs[i][0]), ours[i]) for i in facts.classes)
        header = (words.CLASS.say(lang), f"{column}, {words.PUBLISHED.say(lang)}", column)
        return Body(header, (rows,), (self.note.say(lang),) if self.note else ())


def _weights(corpus: Statistics, labels: Sequence[str]) -> list[str]:
    roles = (TRAIN, SELECT, ID)
    counts = {label: sum(corpus["texts"][role][label] for role in roles) for label in labels}
    weights = class_weights(counts)
    return [f"{weights[label]:.4f} (n = {thousands(counts[label])})" for label in labels]


def _words(corpus: Statistics, labels: Sequence[str]) -> list[str]:
    return [f"{corpus['mean_words'][label]:.0f}" for label in labels]


TABLES = (
    CorpusTable(
        id="2",
        title=Text("Weight of each class", "Вес каждого класса"),
        theirs=lambda: published()["thesis"]["class_weights"]["weight"],
        ours=_weights,
        column=Text("weight n / (K n_c)", "вес n / (K n_c), б/р"),
        note=Text(
            "The published weights are cut, not rounded, to three digits.",
            "Веса в работе обрезаны, а не округлены до трёх знаков.",
        ),
    ),
    CorpusTable(
        id="3",
        title=Text("Mean length of a text", "Средняя длина текста"),
        theirs=lambda: published()["thesis"]["mean_words"]["words"],
        ours=_words,
        column=Text("words a text", "длина текста, слова"),
    ),
)
