"""A study is one file of `experiments/`; here is what it holds, and where it lives.

The file is a module with

- a docstring: question, command, cost;
- `SEEDS`: seeds by setting name;
- `THEORY`: the ids of the claims it bears on;
- `trials(setting)`: learning-rate trials, by arm; they are judged on *select* alone;
- `arms(setting, rate)`: the compared experiments by name, given each tuned arm's best rate;
- perhaps `combinations(setting)`: by rule, the names of the arms that are combined into one
  classifier.

Records of a study in a setting lie in `<folder>/<study>/<setting>/`: fresh ones below `runs/`, kept
ones below `experiments/results/`. A trial is called `grid/<arm>--lr<rate>`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from lowrank_da import discover
from lowrank_da.coupling import Rule
from lowrank_da.errors import UserError, unknown
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.method import Method
from lowrank_da.reference import Reference
from lowrank_da.run import TRIAL

Arm = Experiment | Reference


class Study(Protocol):
    """What a file of `experiments/` holds."""

    SEEDS: Mapping[str, tuple[int, ...]]
    THEORY: tuple[str, ...]

    def trials(self, setting: Setting) -> dict[str, tuple[Experiment, ...]]:
        """Learning-rate trials by arm; a campaign goes on beyond an end where the best stands."""

    def arms(self, setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
        """The compared experiments by name."""


def combinations(study: Study, setting: Setting) -> dict[Rule, tuple[str, ...]]:
    """Classifiers that a study makes from several arms, by rule: the arms' names."""
    own = getattr(study, "combinations", None)
    return {} if own is None else own(setting)


def rate_trials(
    setting: Setting, methods: Mapping[str, Method], texts: int
) -> dict[str, tuple[Experiment, ...]]:
    """Every method over its rates, on at most so many training texts a class."""
    small = replace(setting, train_texts=min(texts, setting.train_texts or texts))
    return {
        name: tuple(Experiment(setting=small, method=one, learning_rate=rate) for rate in one.rates)
        for name, one in methods.items()
    }


def at_rates(
    setting: Setting, methods: Mapping[str, Method], rate: Mapping[str, float]
) -> dict[str, Experiment]:
    """Every method with its own rate."""
    return {
        name: Experiment(setting=setting, method=one, learning_rate=rate[name])
        for name, one in methods.items()
    }


class Checkout:
    """The folders that a study lives in: the code's, the fresh runs' and the kept records'."""

    def __init__(self, package: ModuleType) -> None:
        """`package` is the imported `experiments`."""
        self.package = package.__name__
        self.root = Path(package.__path__[0]).parent
        self.runs = self.root / "runs"
        self.results = self.root / "experiments" / "results"

    @classmethod
    def here(cls) -> "Checkout":
        """The one that `experiments` is imported from; `UserError` when there is none."""
        try:
            import experiments
        except ImportError as error:
            raise UserError(
                "this command needs a checkout of the project; run pip install -e . in one"
            ) from error
        return cls(experiments)

    def studies(self) -> list[str]:
        """The names of the files of `experiments/` that are studies, sweeps among them."""
        return [name for name in discover.names(self.package) if name != "settings"]

    def study(self, name: str) -> Study:
        """The study of that name; `UserError` names the nearest one."""
        if name not in self.studies():
            raise unknown("study", name, self.studies())
        return cast(Study, discover.find(self.package, name, "study"))

    def is_sweep(self, name: str) -> bool:
        """Whether that file is a sweep (see `sweep.py`); `UserError` for an unknown name."""
        return hasattr(self.study(name), "propose")

    def settings(self, study: str | None = None) -> dict[str, Setting]:
        """Every setting of `settings.py` by name, and those that the study itself defines."""
        modules: list[Any] = [discover.find(self.package, "settings", "module")]
        modules += [self.study(study)] if study else []
        return {name: s for m in modules for name, s in vars(m).items() if isinstance(s, Setting)}

    def settings_in(self, folder: Path, study: str) -> list[str]:
        """Those in which the study has records below `folder`, in the order of their definition."""
        return [name for name in self.settings(study) if (folder / study / name).is_dir()]

    def setting(self, name: str, study: str | None = None) -> Setting:
        """The setting of that name; `UserError` names the nearest one."""
        known = self.settings(study)
        if name not in known:
            raise unknown("setting", name, known)
        return known[name]


def trial_name(arm: str, rate: float) -> str:
    """The name of a learning-rate trial's record."""
    return f"{TRIAL}{arm}--lr{rate:.1e}"
