"""LoRA by place and start: macro-F1 of every arm."""

from dataclasses import dataclass

from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from lowrank_da import metrics
from paper import estimate, words
from paper.figure import OfArms
from paper.table import Records, Runs
from paper.tables.main_effects import FACTORS, placed
from paper.words import Text

LAYERS = {
    "all": Text("all layers", "все слои"),
    "half": Text("top half", "верхняя половина"),
    "two": Text("top two", "два верхних"),
}
MARKERS = {"kaiming": ("o", "white"), "gaussian": ("s", "0.3")}


@dataclass(frozen=True, kw_only=True)
class Places(OfArms):
    """A panel a range of layers; the starts stand beside each other over each choice of maps."""

    def shown(self, runs: Runs) -> tuple[str, ...]:
        """The arms that are named by their place."""
        return tuple(placed(runs))

    def draw(self, records: Records) -> Drawing:
        """Whiskers are 95 % intervals."""
        arms = placed(records.runs)
        layers = [one for one in LAYERS if any(own["layers"] == one for own in arms.values())]
        targets = [t for t in FACTORS["targets"] if any(o["targets"] == t for o in arms.values())]
        drawing = Drawing(figsize=(7.4, 3.2), layout="constrained")
        panels = drawing.subplots(1, len(layers), sharey=True, squeeze=False)[0]
        for axes, layer in zip(panels, layers, strict=True):
            for shift, (start, (marker, face)) in zip((-0.1, 0.1), MARKERS.items(), strict=True):
                for place, target in enumerate(targets):
                    name = f"{target}_{layer}_{start}"
                    if name not in arms:
                        continue
                    y = estimate.of_confusion(records.get(name), metrics.macro_f1)[()]
                    axes.errorbar(
                        place + shift,
                        y.value,
                        [[max(0.0, y.value - y.low)], [max(0.0, y.high - y.value)]],
                        fmt=marker,
                        color="black",
                        markerfacecolor=face,
                        elinewidth=0.7,
                    )
            axes.set_xticks(range(len(targets)), targets)
            axes.set_xlim(-0.5, len(targets) - 0.5)
            axes.set_title(LAYERS[layer].say(records.lang), fontsize=9)
            axes.spines["right"].set_visible(False)
        panels[0].set_ylabel(words.MACRO_F1.say(records.lang))
        marks = [
            Line2D([], [], color="black", marker=marker, markerfacecolor=face, linestyle="none")
            for marker, face in MARKERS.values()
        ]
        panels[-1].legend(marks, list(MARKERS), frameon=False, fontsize=8)
        return drawing


FIGURES = (
    Places(
        id="places",
        caption=Text(
            "Macro-F1 of LoRA by adapted maps, layers and start, with 95 % intervals",
            "macro-F1 LoRA по матрицам, слоям и началу, с 95 %-ми интервалами",
        ),
    ),
)
