"""At home and out of distribution: a row a split, a marker an arm."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from lowrank_da import metrics
from lowrank_da.corpus import ID, OOD, SELECT
from lowrank_da.run import Run, one_fingerprint
from paper import estimate
from paper.arms import found
from paper.estimate import Estimate
from paper.figure import MARKERS, OfArms
from paper.table import Records, Runs
from paper.tables.out_of_domain import ood_roles, ranked
from paper.words import Text

HOME = Text("at home", "дома")
ACCURACY = Text("balanced accuracy", "balanced accuracy")
FPR = Text("FPR at the home threshold", "FPR при домашнем пороге")
HOME_FPR = 0.05
"""What the threshold was set to on *select*."""
FACES = ("white", "0.6", "black")
ROW = 0.085
"""Inches of an arm in a row."""


def splits(runs: Runs) -> list[str]:
    """Of a setting: home first, then every other one that some arm was judged on."""
    return [ID, *ood_roles(runs)]


def judged(every: Sequence[Runs]) -> list[str]:
    """The arms that were judged on all splits of all these settings."""

    def whole(name: str, runs: Runs) -> bool:
        own = runs.get(name, ())
        return bool(own) and all(role in r.result["splits"] for r in own for role in splits(runs))

    return [name for name in found(every[0]) if all(whole(name, runs) for runs in every)]


def possible(every: Sequence[Runs]) -> bool:
    """Whether all these settings have splits elsewhere, and share arms with a marker for each."""
    return all(map(ood_roles, every)) and 0 < len(judged(every)) <= len(MARKERS)


def drawn(every: Sequence[Records]) -> Drawing:
    """Whiskers are 95 % intervals; a line parts the settings, a dashed one is what was promised.

    Raises `UserError` where the arms of a setting read different texts.
    """
    names = judged([records.runs for records in every])
    for records in every:
        one_fingerprint([run for name in names for run in records.get(name)])
    shown = [(records, role) for records in every for role in splits(records.runs)]
    several, lang = len(every) > 1, every[0].lang
    both = all(_ranked(records.get(n), role) for records, role in shown for n in names)
    height = 0.9 + len(shown) * (ROW * len(names) + 0.1)
    drawing = Drawing(figsize=(7.4, height), layout="constrained")
    panels = drawing.subplots(1, 1 + both, sharey=True, squeeze=False)[0]
    for axes, measure, label in zip(panels, (_accuracy, _fpr), (ACCURACY, FPR), strict=False):
        for number, name in enumerate(names):
            shift = 0.7 * ((number + 0.5) / len(names) - 0.5)
            points = [measure(records.get(name), role) for records, role in shown]
            _plot(axes, points, shift, name, number)
        for place in range(1, len(shown)):
            parted = shown[place][0] is not shown[place - 1][0]
            axes.axhline(place - 0.5, color="0.3" if parted else "0.85", linewidth=0.6)
        axes.set_xlabel(label.say(lang))
        axes.spines["right"].set_visible(False)
    if both:
        panels[1].axvline(HOME_FPR, color="0.4", linestyle="dashed", linewidth=0.8, zorder=0)
    panels[0].set_yticks(range(len(shown)), [_label(*row, several) for row in shown])
    panels[0].set_ylim(len(shown) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    return drawing


def _plot(axes: Axes, points: Sequence[Estimate], shift: float, name: str, number: int) -> None:
    low = [max(0.0, x.value - x.low) for x in points]
    high = [max(0.0, x.high - x.value) for x in points]
    axes.errorbar(
        [x.value for x in points],
        [place + shift for place in range(len(points))],
        xerr=[low, high],
        fmt=MARKERS[number],
        color="black",
        markerfacecolor=FACES[number % len(FACES)],
        markersize=4.5,
        markeredgewidth=0.7,
        elinewidth=0.7,
        label=name,
    )


def _label(records: Records, role: str, several: bool) -> str:
    if role != ID:
        return role.removeprefix(OOD)
    home = HOME.say(records.lang)
    return f"{records.facts.setting}: {home}" if several else home


def _ranked(runs: Sequence[Run], role: str) -> bool:
    return all(ranked(run, one) for run in runs for one in (role, SELECT))


def _accuracy(runs: Sequence[Run], role: str) -> Estimate:
    return estimate.of_confusion(runs, metrics.balanced_accuracy, role)[()]


def _fpr(runs: Sequence[Run], role: str) -> Estimate:
    return estimate.of(estimate.at_home_threshold(runs, role, HOME_FPR))[0]


@dataclass(frozen=True, kw_only=True)
class Elsewhere(OfArms):
    """Two panels: how good an arm is, and whom its home threshold blames."""

    def applies(self, runs: Runs) -> bool:
        """Where there are such splits, and a marker for each arm."""
        return super().applies(runs) and possible([runs])

    def draw(self, records: Records) -> Drawing:
        """Of one setting, the arms that were judged on all of its splits."""
        return drawn([records])


FIGURES = (
    Elsewhere(
        id="elsewhere",
        caption=Text(
            "At home and out of distribution: balanced accuracy, and the share of human texts that"
            " a threshold blames which blames 5 % of them on select, with 95 % intervals",
            "В распределении и вне его: balanced accuracy и доля человеческих текстов, которую"
            " обвиняет порог, обвиняющий 5 % из них на select, с 95 %-ми интервалами",
        ),
    ),
)
