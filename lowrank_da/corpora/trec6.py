"""TREC-6: questions in six classes by the kind of their answer (Li & Roth 2002).

The official 5,452 questions to train on and 500 to report on. Nothing is human or machine here: it
is a classification task of many small classes, the kind on which prompts are said to be unstable.

- Questions that are in both parts, up to case and white space, are left out of *train*.
- A tenth of each class' questions to train on, those with the smallest SHA-256, is *select*.
  Repeated questions share a split.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lowrank_da.corpora import _jsonl
from lowrank_da.corpus import (
    ID,
    SELECT,
    TRAIN,
    Corpus,
    Example,
    Splits,
    cache_home,
    data_home,
    normalised,
)
from lowrank_da.errors import UserError
from lowrank_da.fetch import Source, fetch_all

PARTS = ("train", "test")
SELECTED = 0.1
"""Share of each class' questions to train on that is chosen on instead."""
CODES = ("DESC", "ENTY", "ABBR", "HUM", "LOC", "NUM")
"""By the number before each question in the published files."""

_REPOSITORY = "github:harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296"
SOURCES = tuple(Source(f"TREC.{part}.all", f"{_REPOSITORY}/data/TREC.{part}.all") for part in PARTS)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trec6(Corpus):
    """See the module: 6 classes, 5,941 questions."""

    labels = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    description = "questions by the kind of their answer; nothing is human or machine here"
    descriptions: ClassVar[Mapping[str, str]] = {
        "ABBR": "A question about what an abbreviation stands for.",
        "DESC": "A question that asks for a definition, a reason or a way to do something.",
        "ENTY": "A question about a thing: an animal, a colour, a food, a game, a word.",
        "HUM": "A question about a person or a group of people.",
        "LOC": "A question about a place: a city, a country, a mountain.",
        "NUM": "A question about a number: a date, a distance, a price, a count.",
    }
    licence = "none stated for the questions (research use); the repository's code is MIT"
    citation = "Li, Roth: Learning Question Classifiers. COLING 2002"
    sources = ("github",)

    @property
    def folder(self) -> Path:
        return data_home() / "suite" / self.name

    def load(self) -> Splits:
        """The questions by role; `UserError` when a file is missing or damaged, or a row is bad."""
        rows = {
            part: list(_jsonl.read(self.folder / f"{part}.jsonl.gz", self.name)) for part in PARTS
        }
        reported = {_group(row) for row in rows["test"]}
        kept = [row for row in rows["train"] if _group(row) not in reported]
        left_out = len(rows["train"]) - len(kept)
        log.info("%s: %d questions of train are in test too, and left out", self.name, left_out)
        roles: dict[str, list[Example]] = {TRAIN: [], SELECT: [], ID: []}
        chosen = self._chosen(kept)
        for row in kept:
            roles[SELECT if _group(row) in chosen else TRAIN].append(self._example("train", row))
        roles[ID] = [self._example("test", row) for row in rows["test"]]
        return Splits(self.name, self.labels, {name: tuple(e) for name, e in roles.items()})

    def _chosen(self, rows: list[_jsonl.Row]) -> set[str]:
        """Of each class the share of its different questions that have the smallest hashes."""
        by_label: dict[str, set[str]] = {}
        for row in rows:
            by_label.setdefault(row.string("label"), set()).add(_group(row))
        return {
            group
            for groups in by_label.values()
            for group in sorted(groups)[: math.ceil(SELECTED * len(groups))]
        }

    def _example(self, part: str, row: _jsonl.Row) -> Example:
        label = row.string("label")
        if label not in self.labels:
            raise UserError(
                f"{row.where}: unknown label {label!r} (known: {', '.join(self.labels)})"
            )
        return Example(
            uid=f"{part}-{row.number}",
            text=row.string("text"),
            label=label,
            group=_group(row),
            domain="questions",
        )

    def get(self, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        """Fetch the published files and write {train,test}.jsonl.gz from them.

        They carry no public hash, so that theirs must be accepted.
        """
        downloads = cache_home() / "downloads" / self.name
        fetch_all(SOURCES, downloads, accept_sha256=accept_sha256)
        for part in PARTS:
            _jsonl.write_gzip(folder / f"{part}.jsonl.gz", _rows(downloads / f"TREC.{part}.all"))


def _group(row: _jsonl.Row) -> str:
    return hashlib.sha256(normalised(row.string("text")).encode()).hexdigest()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Of a published file, where each line is a number and a question."""
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
        code, _, text = line.strip().partition(" ")
        if not code.isdigit() or int(code) >= len(CODES) or not text:
            raise UserError(f"{path}, line {number}: no class and question; delete it, fetch again")
        yield {"text": text, "label": CODES[int(code)]}
