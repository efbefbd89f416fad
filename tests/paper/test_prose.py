"""What the pages say in sentences stands in the tables that they show.

Findings are sentences, written by hand. Every interval in them must be one of the tables', as it
stands or in points or with its sign turned, and its estimate must be among the numbers before it. A
p-value right behind an interval must be of the interval's row, another one of some table.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from paper import pages

NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
INTERVAL = re.compile(rf"\[({NUMBER}), ({NUMBER})\]")
CELL = re.compile(rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\]")
P_CELL = re.compile(r"(?:\||, p) (?:< )?([01]\.\d{4})(?= \|)")
P_VALUE = re.compile(r"\bp (?P<bound>below |< )?(?:is |from )?(?P<value>[01](?:\.\d+)?)\b")
RIGHT_BEHIND = re.compile(r"[\s,;)]*\(?")
"""What may stand between an interval and its p-value."""


class Said(NamedTuple):
    """A number as written: its value, and half a unit of its last digit."""

    value: float
    tolerance: float

    @classmethod
    def of(cls, text: str) -> "Said":
        digits = len(text.partition(".")[2])
        return cls(float(text.replace(",", "")), 0.5 * 10.0**-digits + 1e-9)

    def is_(self, value: float) -> bool:
        return abs(self.value - value) <= self.tolerance


class Shown(NamedTuple):
    """A row of a table, or a note: estimates with both ends of their intervals, and p-values."""

    cells: list[tuple[float, float, float]]
    p_values: list[float]

    @classmethod
    def of(cls, row: str) -> "Shown":
        cells = []
        for found in CELL.findall(row):
            value, low, high = (Said.of(part).value for part in found)
            for scale in (1, 100):
                cells.append((scale * value, scale * low, scale * high))
                cells.append((-scale * value, -scale * high, -scale * low))
        return cls(cells, [float(p) for p in P_CELL.findall(row)])

    def has(self, estimates: list[Said], low: Said, high: Said) -> bool:
        return any(
            low.is_(cell[1]) and high.is_(cell[2]) and any(said.is_(cell[0]) for said in estimates)
            for cell in self.cells
        )

    def tells(self, p_value: re.Match[str]) -> bool:
        said = Said.of(p_value["value"])
        return any(p <= said.value if p_value["bound"] else said.is_(p) for p in self.p_values)


def tables(text: str) -> str:
    return "".join(found["body"] for found in pages.BLOCK.finditer(text))


def statements(text: str) -> list[str]:
    """Paragraphs and points of a list, without the generated blocks."""
    return re.split(r"\n\n|\n(?=- )", pages.BLOCK.sub("", text))


def unbacked(statement: str, shown: str) -> list[str]:
    """The intervals and p-values of `statement` that the tables `shown` do not have."""
    rows = [Shown.of(line) for line in shown.splitlines()]
    missing, start, of_interval = [], 0, {}
    for found in INTERVAL.finditer(statement):
        before = [Said.of(n) for n in re.findall(NUMBER, statement[start : found.start()])]
        low, high = (Said.of(bound) for bound in found.groups())
        start = found.end()
        own = [row for row in rows if row.has(before, low, high)]
        if not own:
            missing.append(found[0])
        of_interval[RIGHT_BEHIND.match(statement, start).end()] = own
    for found in P_VALUE.finditer(statement):
        if not any(row.tells(found) for row in of_interval.get(found.start(), rows)):
            missing.append(found[0])
    return missing


SHOWN = """
| arm | against | difference | p (Holm) |
| --- | --- | --- | --- |
| lora | full | -0.105 [-0.260, 0.049] ± 0.084 | 0.3461 |
| probe | full | 0.001 [0.000, 0.002] | < 0.0001 |
| tfidf | 0.2 [0.1, 0.3], p 0.0200 |
"""


@pytest.mark.parametrize(
    "statement",
    [
        "it is 10.5 points below [-4.9, 26.0] (p 0.35)",
        "by -0.105 [-0.260, 0.049] (p 0.346)",
        "by 0.1 points [0.0, 0.2] (p below 0.0001)",
        "0.2 [0.1, 0.3] (p < 0.05)",
        "-0.105 [-0.260, 0.049], and of another (p 0.02)",
    ],
)
def test_a_number_of_the_tables_is_found(statement: str) -> None:
    assert unbacked(statement, SHOWN) == []


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("it is 10.5 points below [-4.9, 26.1]", ["[-4.9, 26.1]"]),
        ("it is 10.4 points below [-4.9, 26.0]", ["[-4.9, 26.0]"]),
        ("-0.105 [-0.260, 0.049], then [-0.260, 0.049]", ["[-0.260, 0.049]"]),
        ("-0.105 [-0.260, 0.049] (p 0.34)", ["p 0.34"]),
        ("-0.105 [-0.260, 0.049] (p 0.02)", ["p 0.02"]),
        ("-0.105 [-0.260, 0.049], p below 0.01", ["p below 0.01"]),
        ("something else, p 0.03", ["p 0.03"]),
    ],
)
def test_a_number_of_no_table_is_named(statement: str, missing: list[str]) -> None:
    assert unbacked(statement, SHOWN) == missing


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_the_sentences_of_a_page_have_their_numbers_from_tables(page: Path) -> None:
    shown = "".join(tables(page.read_text()) for page in pages.PAGES)
    missing = {
        statement: found
        for statement in statements(page.read_text())
        if (found := unbacked(statement, shown))
    }
    assert missing == {}
