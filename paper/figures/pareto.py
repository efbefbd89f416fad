"""Quality against what it costs: a point an arm, and the front that no other arm beats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lowrank_da import metrics
from lowrank_da.run import Run
from paper import estimate, words
from paper.figure import MARKERS, OfArms
from paper.rows import mean_seconds
from paper.table import Records, Runs
from paper.words import Text

PARAMETERS = Text("trained parameters", "обучаемых параметров")
Point = tuple[str, float, estimate.Estimate]


def front(points: Sequence[Point]) -> list[Point]:
    """Those of which no other is both cheaper and better, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p[1], -p[2].value)):
        if not best or point[2].value > best[-1][2].value:
            best.append(point)
    return best


def trained_parameters(runs: Sequence[Run]) -> float | None:
    """Of the encoder and the head; None for a reference, which trains nothing by gradients."""
    parameters = runs[0].result.get("parameters")
    return None if parameters is None else float(parameters["trained"])


@dataclass(frozen=True, kw_only=True)
class Pareto(OfArms):
    """Macro-F1 on *id* with its interval, against trained parameters and against seconds."""

    def shown(self, runs: Runs) -> tuple[str, ...]:
        """What was trained by gradients and timed."""
        names = super().shown(runs)
        return tuple(n for n in names if trained_parameters(runs[n]) and mean_seconds(runs[n]))

    def applies(self, runs: Runs) -> bool:
        """Where there are two arms to hold against each other, and a marker for each."""
        return super().applies(runs) and 1 < len(self.shown(runs)) <= len(MARKERS)

    def draw(self, records: Records) -> Drawing:
        """Two panels; the front is a line, and each arm has one marker in both."""
        lang, names = records.lang, self.shown(records.runs)
        f1 = {n: estimate.of_confusion(records.get(n), metrics.macro_f1)[()] for n in names}
        markers = dict(zip(names, MARKERS, strict=False))
        drawing = Drawing(figsize=(7.4, 3.8), layout="constrained")
        panels = drawing.subplots(1, 2, sharey=True)
        costs = (trained_parameters, PARAMETERS), (mean_seconds, words.SECONDS)
        for axes, (cost, label) in zip(panels, costs, strict=True):
            points = [(n, float(cost(records.get(n)) or 0), f1[n]) for n in names]
            _panel(axes, points, markers)
            axes.set_xlabel(label.say(lang))
        panels[0].set_ylabel(words.MACRO_F1.say(lang))
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
        return drawing


def _panel(axes: Axes, points: Sequence[Point], markers: dict[str, str]) -> None:
    line = front(points)
    axes.plot([p[1] for p in line], [p[2].value for p in line], color="0.7", zorder=0)
    for name, x, y in points:
        ends = [[max(0.0, y.value - y.low)], [max(0.0, y.high - y.value)]]
        style = {"color": "black", "markerfacecolor": "0.8", "elinewidth": 0.7, "markersize": 6}
        axes.errorbar(x, y.value, ends, fmt=markers[name], label=name, **style)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if _decades(points) < 2 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines["right"].set_visible(False)


def _decades(points: Sequence[Point]) -> float:
    costs = [x for _, x, _ in points]
    return math.log10(max(costs) / min(costs))


FIGURES = (
    Pareto(
        id="pareto",
        caption=Text(
            "Macro-F1 with its 95 % interval against trained parameters (head included) and"
            " training seconds; the line joins the arms that no other beats in both",
            "Macro-F1 с 95 %-м интервалом против числа обучаемых параметров (с головой) и секунд"
            " обучения; линия соединяет модели, которых ни одна не превосходит в обоих",
        ),
    ),
)
