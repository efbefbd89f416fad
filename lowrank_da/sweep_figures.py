"""A search in pictures: how it went, which parameter mattered, and what is not beaten.

They are Optuna's own, drawn from the trials and laid beside them; quality by rank, with seeds and
intervals, is drawn from the records by `paper`.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.axes import Axes
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as drawn

from lowrank_da.files import atomic
from lowrank_da.sweep import Sweep

JUDGED = "macro_f1"
"""What history and importances are drawn of: the quality, whatever else was an objective."""
FEWEST = 3
"""Trials below which no picture says anything."""
FORMATS, DPI = ("png", "pdf"), 150


def draw(sweep: Sweep, study: optuna.Study, folder: Path) -> list[Path]:
    """Write `history`, `importances` and a `front_...` for each further objective to `folder`.

    Importances need two parameters; they are fANOVA's, of a forest that predicts macro-F1: how much
    of its variance over the search space a parameter alone explains, scaled to sum to 1. A front
    needs a second objective; marked on it is what no trial beats in all objectives, be there more
    than the two shown. Nothing is drawn below three trials, or when all have the same macro-F1.
    """
    trials = sweep.finished(study)
    if len(trials) < FEWEST or len({_told(JUDGED)(trial) for trial in trials}) == 1:
        return []
    written: list[Path] = []
    with style.context("default"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        for name, axes in _pictures(sweep, study, len(trials[0].params)):
            figure: Any = axes.figure
            figure.set_size_inches(6.4, 4.0)
            for kind in FORMATS:
                written.append(folder / f"{name}.{kind}")
                with atomic(written[-1]) as temporary:
                    figure.savefig(temporary, format=kind, dpi=DPI, bbox_inches="tight")
            plt.close(figure)
    return written


def _told(name: str) -> Callable[[FrozenTrial], float]:
    """What a finished trial says of one objective."""
    return lambda trial: float(trial.user_attrs[name])


def _both(first: str, second: str) -> Callable[[FrozenTrial], tuple[float, float]]:
    """What a finished trial says of two objectives."""
    return lambda trial: (_told(first)(trial), _told(second)(trial))


def _pictures(sweep: Sweep, study: optuna.Study, parameters: int) -> Iterator[tuple[str, Axes]]:
    f1 = _told(JUDGED)
    # Optuna draws the best so far where it is told of no target.
    history = None if sweep.objectives == (JUDGED,) else f1
    yield "history", drawn.plot_optimization_history(study, target=history, target_name=JUDGED)
    if parameters > 1:
        yield (
            "importances",
            drawn.plot_param_importances(
                study,
                evaluator=FanovaImportanceEvaluator(seed=0),
                target=f1,
                target_name=JUDGED,
            ),
        )
    for name in sweep.objectives:
        if name != JUDGED and JUDGED in sweep.objectives:
            axes = drawn.plot_pareto_front(
                study, targets=_both(name, JUDGED), target_names=[name, JUDGED]
            )
            yield f"front_{name}", axes
