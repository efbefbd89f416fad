"""Confusion matrices as heat maps in grey, the published one on the left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from paper import estimate, words
from paper.figure import Figure
from paper.published import published
from paper.table import MISSING, Records, SettingFacts
from paper.words import Text

TRUE, PREDICTED = words.TRUE_CLASS, Text("predicted class", "предсказанный класс")
DARK = 0.5
"""Above this share the number is written in white."""


@dataclass(frozen=True, kw_only=True)
class ConfusionMap(Figure):
    """Shares of each true class, one panel a model."""

    published_as: str
    """The key below `thesis` in the published numbers."""
    runs: tuple[str, ...]

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Our models."""
        return self.runs

    def draw(self, records: Records) -> Drawing:
        """The published matrix with its own class names, then ours with ours."""
        thesis, lang = published()["thesis"], records.lang
        printed = [[str(share) for share in row] for row in thesis[self.published_as]["confusion"]]
        theirs = np.array(printed, dtype=float)
        panels = [Panel(words.PUBLISHED.say(lang), thesis["classes"], theirs, printed)]
        for name in self.runs:
            runs, labels = records.get(name), records.facts.labels
            shares = np.zeros((len(labels), len(labels)))
            texts = [[MISSING] * len(labels)] * len(labels)
            if runs:
                shares = estimate.of_confusion(runs, estimate.normalised_rows).value
                texts = [[f"{share:.3f}" for share in row] for row in shares]
            panels.append(Panel(f"{name} ({records.facts.corpus})", labels, shares, texts))
        # Inches: what four classes of the thesis need, and room for the numbers of more.
        side = max(3.4, 1.0 + 0.6 * max(len(panel.labels) for panel in panels))
        drawing = Drawing(figsize=(side * len(panels), side), layout="constrained")
        for axes, panel in zip(
            np.atleast_1d(drawing.subplots(1, len(panels))), panels, strict=True
        ):
            panel.draw(axes)
            axes.set_xlabel(PREDICTED.say(lang))
            axes.set_ylabel(TRUE.say(lang))
        return drawing


@dataclass(frozen=True)
class Panel:
    """One matrix."""

    title: str
    labels: Sequence[str]
    shares: NDArray[np.float64]
    """(k, k), true classes in rows."""
    texts: Sequence[Sequence[str]]
    """What is written in the cells."""

    def draw(self, axes: Axes) -> None:
        """Grey cells, their numbers, thin lines between."""
        k = len(self.labels)
        axes.set_title(self.title)
        axes.imshow(self.shares, cmap="Greys", vmin=0, vmax=1)
        axes.set_xticks(range(k), self.labels, rotation=30, ha="right")
        axes.set_yticks(range(k), self.labels)
        axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="0.8", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
        axes.spines[:].set_visible(True)
        for (i, j), share in np.ndenumerate(self.shares):
            colour = "white" if share > DARK else "black"
            axes.text(j, i, self.texts[i][j], ha="center", va="center", color=colour)


FIGURES = (
    ConfusionMap(
        id="confusion_full",
        caption=Text(
            "Full fine-tuning: shares of each true class, published and ours",
            "Полное дообучение: доли каждого истинного класса, в работе и у нас",
        ),
        published_as="full",
        runs=("full",),
    ),
    ConfusionMap(
        id="confusion_lora",
        caption=Text(
            "LoRA: shares of each true class, published and ours",
            "LoRA: доли каждого истинного класса, в работе и у нас",
        ),
        published_as="lora",
        runs=("lora_published", "lora"),
    ),
)
