"""A sweep over one parameter: quality by its value, and the rank that the updates use."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Drawing

from lowrank_da import metrics
from lowrank_da.corpus import SELECT
from lowrank_da.run import Run
from paper import estimate
from paper.figure import Figure
from paper.table import Records, Runs
from paper.tables.sweep import CUT_TO, EFFECTIVE, ON_SELECT, cut, mean_rank, parameter, swept
from paper.words import Text

ALLOWED = Text("allowed", "допустимый")


@dataclass(frozen=True, kw_only=True)
class SweepCurve(Figure):
    """Macro-F1 on *select* with its interval and every seed; beside it the effective rank."""

    def applies(self, runs: Runs) -> bool:
        """Where a sweep's trials are."""
        return bool(swept(runs))

    def uses(self, records: Records) -> list[Run]:
        """Every trial at hand."""
        return [run for runs in swept(records.runs).values() for run in runs]

    def draw(self, records: Records) -> Drawing:
        """Two panels over the same values, equally spaced."""
        by_value, lang = swept(records.runs), records.lang
        places = np.arange(len(by_value))
        drawing = Drawing(figsize=(7.4, 3.2), layout="constrained")
        left, right = drawing.subplots(1, 2)
        f1 = [
            estimate.of_confusion(runs, metrics.macro_f1, SELECT)[()] for runs in by_value.values()
        ]
        middle = np.array([one.value for one in f1])
        ends = np.array([[one.value - one.low, one.high - one.value] for one in f1]).T.clip(0)
        left.errorbar(places, middle, ends, fmt="-", color="0.5", elinewidth=0.8, zorder=0)
        for place, runs in zip(places, by_value.values(), strict=True):
            own = [float(metrics.macro_f1(run.confusion(SELECT))) for run in runs]
            left.plot([place] * len(own), own, "o", color="black", markerfacecolor="white")
        cuts = [cut(records.runs, value) for value in by_value]
        if all(cuts):
            lost = [
                estimate.of_confusion(runs, metrics.macro_f1, SELECT)[()].value for runs in cuts
            ]
            left.plot(places, lost, "s--", color="0.4", markersize=4, label=CUT_TO.say(lang))
            left.legend(frameon=False, fontsize=8, loc="lower right")
        left.set_ylabel(ON_SELECT.say(lang))
        ranks = [[mean_rank(run) or np.nan for run in runs] for runs in by_value.values()]
        for place, own in zip(places, ranks, strict=True):
            right.plot([place] * len(own), own, "o", color="black", markerfacecolor="white")
        right.plot(places, [float(np.mean(own)) for own in ranks], color="0.5", zorder=0)
        if parameter(records.runs) == "rank":
            right.plot(places, list(by_value), color="0.5", linestyle="--", label=ALLOWED.say(lang))
            right.set_yscale("log", base=2)
            right.legend(frameon=False)
        right.set_ylabel(EFFECTIVE.say(lang))
        for axes in (left, right):
            axes.set_xticks(places, [str(value) for value in by_value])
            axes.set_xlabel(parameter(records.runs))
            axes.spines["right"].set_visible(False)
        return drawing


FIGURES = (
    SweepCurve(
        id="sweep",
        caption=Text(
            "The sweep: macro-F1 on select with its 95 % interval and every seed, and the effective"
            " rank of the trained updates",
            "Перебор: macro-F1 на выборке для отбора с 95 %-м интервалом и каждым начальным числом"
            " и эффективный ранг обученных обновлений",
        ),
    ),
)
