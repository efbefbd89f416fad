"""A figure: what it needs, how it is drawn, and how it is written with the same bytes each time.

Every file of `paper/figures` is a kind, found by looking like the tables: a subclass of `Figure`,
and its figures as values in `FIGURES`.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure
import matplotlib.style

from lowrank_da import discover
from lowrank_da.files import atomic
from lowrank_da.run import Run, one_fingerprint
from paper.arms import beyond_thesis, found
from paper.table import Records, Runs, SettingFacts
from paper.words import Text

PACKAGE = "paper.figures"
STYLE: list[str | Path | dict[str, Any]] = [
    "default",
    {"font.size": 9, "pdf.fonttype": 42, "axes.spines.top": False},
]
"""Type 42 keeps the letters in the PDF as letters, Cyrillic too."""
NO_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
SVG = {"svg.fonttype": "none", "svg.hashsalt": "lowrank_da", "font.family": "sans-serif"}
"""Letters stay letters, and identifiers do not depend on chance."""
DPI = 200
MARKERS = "osD^v<>pPX*hd8"
"""Of arms: told apart in grey, too."""


def save(draw: Callable[[], matplotlib.figure.Figure], *paths: Path) -> None:
    """Draw in the one style and write, by atomic rename, each path in the format of its ending."""
    with matplotlib.style.context([*STYLE, SVG]):
        drawing = draw()
        for path in paths:
            kind = path.suffix.removeprefix(".")
            with atomic(path) as temporary:
                drawing.savefig(temporary, format=kind, dpi=DPI, metadata=NO_METADATA[kind])


@dataclass(frozen=True, kw_only=True)
class Figure(ABC):
    """One figure; a subclass is a kind."""

    id: str
    """The file's name without its ending."""
    caption: Text

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The names of the runs it shows: none, where all found is shown."""
        return ()

    def applies(self, runs: Runs) -> bool:
        """Whether there is anything to show; a figure of the thesis has its arms alone."""
        return not beyond_thesis(runs)

    def uses(self, records: Records) -> list[Run]:
        """The records at hand that it shows; all must come from the same texts."""
        return [run for name in self.needs(records.facts) for run in records.get(name)]

    @abstractmethod
    def draw(self, records: Records) -> matplotlib.figure.Figure:
        """The drawing; a run that is missing is left out."""

    def drawing(self, records: Records) -> matplotlib.figure.Figure:
        """What is drawn; raises `UserError` when the runs it compares read different texts."""
        used = self.uses(records)
        if used:
            one_fingerprint(used)
        return self.draw(records)

    def write(self, records: Records, folder: Path) -> list[Path]:
        """`<folder>/<id>.png` and `.pdf`, as `save` and `drawing` say."""
        paths = [folder / f"{self.id}.{kind}" for kind in ("png", "pdf")]
        save(lambda: self.drawing(records), *paths)
        return paths


@dataclass(frozen=True, kw_only=True)
class OfArms(Figure):
    """A figure of whatever arms a study beyond the thesis has."""

    def shown(self, runs: Runs) -> tuple[str, ...]:
        """The arms that it shows: here all."""
        return found(runs)

    def applies(self, runs: Runs) -> bool:
        """Where there are arms to show that the thesis does not have."""
        return beyond_thesis(runs) and bool(self.shown(runs))

    def uses(self, records: Records) -> list[Run]:
        """All of them."""
        return [run for name in self.shown(records.runs) for run in records.get(name)]


def figures(package: str = PACKAGE) -> list[Figure]:
    """The figures of every kind in `package`, by id."""
    found: list[Figure] = []
    for name in discover.names(package):
        module: Any = importlib.import_module(f"{package}.{name}")
        found += module.FIGURES
    return sorted(found, key=lambda figure: figure.id)
