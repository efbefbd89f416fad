"""A study is one file of `experiments/`; this module runs it and keeps its records.

The file is a module with

- a docstring: question, command, cost;
- `SEEDS`: seeds by setting name;
- `THEORY`: the ids of the claims it bears on;
- `trials(setting)`: learning-rate trials, by arm; they are judged on *select* alone;
- `arms(setting, rate)`: the compared experiments by name, given each tuned arm's best rate;
- `combinations(setting)`: by rule, the names of the arms that are combined into one classifier.

Records of a study in a setting lie in `<folder>/<study>/<setting>/`: fresh ones below `runs/`, kept
ones below `experiments/results/`. A trial is called `grid/<arm>--lr<rate>`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from lowrank_da import coupling, discover, reference, train
from lowrank_da.corpus import ID, SELECT
from lowrank_da.errors import UserError, unknown
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.reference import TfIdf
from lowrank_da.run import Run, load_all, record_path
from lowrank_da.train import Cell, Machine

Arm = Experiment | TfIdf


class Study(Protocol):
    """What a file of `experiments/` holds."""

    SEEDS: Mapping[str, tuple[int, ...]]
    THEORY: tuple[str, ...]

    def trials(self, setting: Setting) -> dict[str, tuple[Experiment, ...]]:
        """Learning-rate trials by arm."""

    def arms(self, setting: Setting, rate: Mapping[str, float]) -> dict[str, Arm]:
        """The compared experiments by name."""

    def combinations(self, setting: Setting) -> dict[coupling.Rule, tuple[str, ...]]:
        """Classifiers made from several arms, by rule: the arms' names."""


class Checkout:
    """The folders that a study lives in: the code's, the fresh runs' and the kept records'."""

    def __init__(self, package: ModuleType) -> None:
        """`package` is the imported `experiments`."""
        self.package = package.__name__
        self.root = Path(package.__path__[0]).parent
        self.runs = self.root / "runs"
        self.results = self.root / "experiments" / "results"

    def studies(self) -> list[str]:
        """The names of the files of `experiments/` that are studies."""
        return [name for name in discover.names(self.package) if name != "settings"]

    def study(self, name: str) -> Study:
        """The study of that name; `UserError` names the nearest one."""
        if name not in self.studies():
            raise unknown("study", name, self.studies())
        return cast(Study, discover.find(self.package, name, "study"))

    def settings(self, study: str | None = None) -> dict[str, Setting]:
        """Every setting of `settings.py` by name, and those that the study itself defines."""
        modules: list[Any] = [discover.find(self.package, "settings", "module")]
        modules += [self.study(study)] if study else []
        return {name: s for m in modules for name, s in vars(m).items() if isinstance(s, Setting)}

    def setting(self, name: str, study: str | None = None) -> Setting:
        """The setting of that name; `UserError` names the nearest one."""
        known = self.settings(study)
        if name not in known:
            raise unknown("setting", name, known)
        return known[name]


def trial_name(arm: str, rate: float) -> str:
    """The name of a learning-rate trial's record."""
    return f"grid/{arm}--lr{rate:.1e}"


class Campaign:
    """One study in one setting, on one machine."""

    def __init__(self, checkout: Checkout, study: str, setting: str) -> None:
        self.checkout, self.study_name, self.setting_name = checkout, study, setting
        self.study, self.setting = checkout.study(study), checkout.setting(setting, study)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of this setting."""
        return tuple(self.study.SEEDS[self.setting_name])

    def arm_names(self) -> list[str]:
        """The names of the arms, known before any rate is."""
        return list(self.study.arms(self.setting, dict.fromkeys(self.trial_cells(), 1.0)))

    def trial_cells(self) -> dict[str, list[Cell]]:
        """The learning-rate trials by arm, all under seed 0."""
        return {
            arm: [
                Cell(
                    self.study_name,
                    self.setting_name,
                    trial_name(arm, e.learning_rate),
                    e,
                    seed=0,
                    select_only=True,
                )
                for e in experiments
            ]
            for arm, experiments in self.study.trials(self.setting).items()
        }

    def kept_trial(self, cell: Cell) -> Run | None:
        """A trial's kept record, if it is of the same experiment.

        Its texts may be another version of the corpus: a rate may be read across versions, a
        quality may not.
        """
        path = record_path(self.checkout.results, cell.study, cell.setting, cell.name, cell.seed)
        run = Run.load(path) if path.exists() else None
        return run if run is not None and run.key == cell.experiment.key else None

    def rates(self, machine: Machine) -> dict[str, float]:
        """Each tuned arm's best learning rate on *select*.

        Kept trials are copied to `runs/`; the others are run into it on `machine`.
        """
        best: dict[str, float] = {}
        for arm, cells in self.trial_cells().items():
            scores: dict[float, float] = {}
            for cell in cells:
                run = self.kept_trial(cell)
                if run is not None:
                    run.save(self.checkout.runs)
                else:
                    (run,) = train.run([cell], self.checkout.runs, self.checkout.root, machine)
                rate = cell.experiment.learning_rate
                scores[rate] = run.result["splits"][SELECT]["macro_f1"]
            best[arm] = max(scores, key=lambda rate: scores[rate])
        return best

    def run_arm(self, name: str, arm: Arm, seed: int, machine: Machine) -> Run:
        """One arm under one seed: its finished record, or a fresh one."""
        if isinstance(arm, TfIdf):
            return reference.run(
                arm,
                self.study_name,
                self.setting_name,
                name,
                self.checkout.runs,
                self.checkout.root,
            )
        cell = Cell(self.study_name, self.setting_name, name, arm, seed)
        (run,) = train.run([cell], self.checkout.runs, self.checkout.root, machine)
        return run

    def run(self, machine: Machine, seeds: tuple[int, ...] | None = None) -> None:
        """Everything: trials that are not kept, all arms under all seeds, the combinations."""
        arms = self.study.arms(self.setting, self.rates(machine))
        for seed in self.seeds if seeds is None else seeds:
            done = {
                name: self.run_arm(name, arm, seed, machine)
                for name, arm in arms.items()
                if isinstance(arm, Experiment) or seed == 0
            }
            for rule, parts in self.study.combinations(self.setting).items():
                coupling.combine([done[p] for p in parts], rule).save(self.checkout.runs)

    def keep(self) -> list[Path]:
        """Copy the clean records from `runs/` to `experiments/results/`; the copied paths.

        Raises `UserError` when there is none, or when one was made from a changed tree.
        """
        found = load_all(self.checkout.runs, self.study_name, self.setting_name)
        runs = [run for several in found.values() for run in several]
        if not runs:
            raise UserError(
                f"no record of {self.study_name} in {self.setting_name} below"
                f" {self.checkout.runs}; run it first"
            )
        dirty = [run.name for run in runs if run.made_by["dirty"]]
        if dirty:
            raise UserError(
                f"{len(dirty)} records ({dirty[0]}, ...) were made from a changed tree;"
                " commit, delete them below runs/ and run them again"
            )
        copied = []
        for run in runs:
            source, target = run.path(self.checkout.runs), run.path(self.checkout.results)
            target.parent.mkdir(parents=True, exist_ok=True)
            for suffix in (".npz", ".json"):
                shutil.copyfile(source.with_suffix(suffix), target.with_suffix(suffix))
            copied.append(target)
        return copied

    def difference(self) -> list[str]:
        """How the fresh records' macro-F1 on *id* differs from the kept ones', a line an arm."""
        fresh = load_all(self.checkout.runs, self.study_name, self.setting_name)
        kept = load_all(self.checkout.results, self.study_name, self.setting_name)
        lines = []
        for name, runs in fresh.items():
            for run in runs:
                twin = next((k for k in kept.get(name, []) if k.seed == run.seed), None)
                if ID not in run.result["splits"]:
                    continue
                lines.append(f"{name} (seed {run.seed}): {_compare(run, twin)}")
        return lines


def _compare(run: Run, twin: Run | None) -> str:
    if twin is None:
        return "no kept record"
    if run.fingerprint != twin.fingerprint:
        return "the kept record read other texts (the corpus' sources have other versions)"
    if run.result == twin.result:
        return "the same result as the kept record"
    ours, theirs = (r.result["splits"][ID]["macro_f1"] for r in (run, twin))
    return f"macro-F1 {ours:.4f}, kept {theirs:.4f}, difference {ours - theirs:+.4f}"
