"""What a sweep prints: its trials, what they cost together, and the winner as Python."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

import optuna
from optuna.trial import TrialState

from lowrank_da.experiment import Setting
from lowrank_da.sweep import Sweep, counts


def as_python(value: Any) -> str:
    """An experiment as Python to paste into a study: fields at their default are left out."""
    if isinstance(value, Setting):
        return "setting"
    if hasattr(value, "__dataclass_fields__"):
        said = [
            f"{own.name}={as_python(getattr(value, own.name))}"
            for own in fields(value)
            if own.default is MISSING or getattr(value, own.name) != own.default
        ]
        return f"{type(value).__name__}({', '.join(said)})"
    if isinstance(value, tuple):
        inside = ", ".join(map(as_python, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def report(sweep: Sweep, study: optuna.Study) -> Iterator[str]:
    """The trials in lines of a table, what they cost together, and the winner as Python."""
    trials = sweep.finished(study)
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    header = [*parameters, "macro-F1 on select", "seeds", "adapter parameters", "seconds a seed"]
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for trial in trials:
        own = [_shown(trial.params.get(name, "")) for name in parameters]
        f1, told = trial.user_attrs["macro_f1_by_seed"], trial.user_attrs
        spread = f" ({min(f1):.3f} to {max(f1):.3f})" if len(f1) > 1 else ""
        numbers = [f"{told['macro_f1']:.4f}{spread}", str(len(f1))]
        numbers += [f"{told['adapter_parameters']:,.0f}", f"{told['seconds']:.1f}"]
        yield f"| {' | '.join(own + numbers)} |"
    yield ""
    yield _cost(sweep, study)
    if len(sweep.objectives) > 1:
        front = ", ".join(f"#{trial.number}" for trial in study.best_trials)
        yield f"Not beaten in all of {', '.join(sweep.objectives)}: trials {front}."
    best = sweep.best(study)
    yield f"The best on select is trial #{best.number}: {best.params}. As Python:"
    yield f"    {as_python(sweep.experiment(best))}"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cost(sweep: Sweep, study: optuna.Study) -> str:
    """What the finished trials took, against each of them alone."""
    done = [trial.user_attrs for trial in sweep.finished(study)]
    above = sum(told["seconds"] * len(told["macro_f1_by_seed"]) for told in done)
    trunk: dict[int, float] = {}
    for told in done:
        layers = told["frozen_layers"]
        trunk[layers] = max(trunk.get(layers, 0.0), told["trunk_seconds"])
    took = above + sum(told["trunk_seconds"] for told in done)
    alone = above + sum(trunk[told["frozen_layers"]] for told in done)
    return (
        f"{len(done)} trials trained for {took:.0f} s; each alone, its frozen layers computed"
        f" anew: {alone:.0f} s. {counts(study)[TrialState.PRUNED]} were cut short."
    )
