"""A campaign runs one study in one setting on one machine, and keeps its records."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from lowrank_da import coupling, processes, reference, train
from lowrank_da.corpus import ID, SELECT
from lowrank_da.errors import UserError
from lowrank_da.machine import Machine
from lowrank_da.reference import Reference
from lowrank_da.run import HEAD, TRIAL, Run, load_all, record_path
from lowrank_da.study import Arm, Checkout, combinations, trial_name
from lowrank_da.train import Cell

BEYOND = 4
"""How many trials an arm's grid of rates is extended by at most."""


class Campaign:
    """One study in one setting: its cells, its records below `runs/` and the kept ones."""

    def __init__(self, checkout: Checkout, study: str, setting: str) -> None:
        self.checkout, self.study_name, self.setting_name = checkout, study, setting
        self.study, self.setting = checkout.study(study), checkout.setting(setting, study)
        if checkout.is_sweep(study):
            raise UserError(f"{study} is a sweep, not a study; run `lowrank-da sweep {study}`")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of this setting; `UserError` when the study names none."""
        if self.setting_name not in self.study.SEEDS:
            raise UserError(
                f"study {self.study_name} names no seeds for setting {self.setting_name};"
                f" add it to SEEDS in experiments/{self.study_name}.py"
            )
        return tuple(self.study.SEEDS[self.setting_name])

    def trial_cells(self) -> dict[str, list[Cell]]:
        """The learning-rate trials by arm, all under seed 0."""
        names = (self.study_name, self.setting_name)
        return {
            arm: [
                Cell(*names, trial_name(arm, e.learning_rate), e, seed=0, select_only=True)
                for e in experiments
            ]
            for arm, experiments in self.study.trials(self.setting).items()
        }

    def asked_trials(self) -> dict[str, list[Cell]]:
        """The trials by arm, with those beyond a grid's end that records ask for, kept or fresh."""
        return {
            arm: self._grid(cells, self._where_kept(cells) or self.checkout.runs)
            for arm, cells in self.trial_cells().items()
        }

    def _where_kept(self, cells: list[Cell]) -> Path | None:
        """The folder of the kept records, where all of an arm's trials are among them."""
        kept = self.checkout.results
        return kept if self.trials_in(kept, self._grid(cells, kept)) else None

    def _grid(self, cells: list[Cell], folder: Path) -> list[Cell]:
        """An arm's trials and, as far as the records below `folder` tell, those beyond its end.

        While the best rate stands at an end the next one beyond it is asked for, in the same step,
        `BEYOND` of them at most. Two rates and fewer have no inside, and are all there is.
        """
        asked = sorted(cells, key=_rate)
        for _ in range(BEYOND if len(cells) > 2 else 0):
            runs = self.trials_in(folder, asked)
            cell = runs and _beyond(asked, _best(runs))
            if not cell:
                break
            asked = sorted([*asked, cell], key=_rate)
        return asked

    def untuned_arms(self) -> dict[str, Arm]:
        """The arms before any rate is known: their names, and the references among them."""
        return self.study.arms(self.setting, dict.fromkeys(self.trial_cells(), 1.0))

    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """By arm, the tuned arms whose rate it is trained with: another rate gives another key."""
        tuned = list(self.trial_cells())
        keys = {name: arm.key for name, arm in self.untuned_arms().items()}
        found: dict[str, tuple[str, ...]] = dict.fromkeys(keys, ())
        for one in tuned:
            others = self.study.arms(self.setting, dict.fromkeys(tuned, 1.0) | {one: 2.0})
            for name, arm in others.items():
                if arm.key != keys[name]:
                    found[name] += (one,)
        return found

    def record(self, folder: Path, name: str, seed: int, key: str) -> Run | None:
        """The record below `folder`, if it is there and of the experiment with this key."""
        return _record(folder, (self.study_name, self.setting_name, name), seed, key)

    def trials_in(self, folder: Path, cells: list[Cell]) -> list[Run] | None:
        """The records of an arm's trials below `folder`; None when one is missing.

        Their texts may be another version of the corpus: a rate may be read across versions, a
        quality may not.
        """
        found = [self.record(folder, c.name, c.seed, c.experiment.key) for c in cells]
        return [run for run in found if run is not None] if all(found) else None

    def known_rates(self) -> dict[str, float]:
        """The best rate of each tuned arm that has all its trials, kept or fresh."""
        best: dict[str, float] = {}
        for arm, cells in self.asked_trials().items():
            kept = self.trials_in(self.checkout.results, cells)
            runs = kept or self.trials_in(self.checkout.runs, cells)
            if runs is not None:
                best[arm] = _best(runs)
        return best

    def tuned_arms(self, machine: Machine) -> dict[str, Arm]:
        """The arms with each one's best rate on *select*."""
        return self.study.arms(self.setting, self._tuned(self.trial_cells(), machine))

    def tuned_arm(self, name: str, machine: Machine) -> Arm:
        """One arm with the best rates on *select*; only trials that it depends on are run."""
        cells = self.trial_cells()
        own = self._tuned({arm: cells[arm] for arm in self.dependencies()[name]}, machine)
        return self.study.arms(self.setting, dict.fromkeys(cells, 1.0) | own)[name]

    def _tuned(self, trials: Mapping[str, list[Cell]], machine: Machine) -> dict[str, float]:
        """The best rate of each arm's trials.

        Where all of an arm's are kept, they are copied to `runs/` and believed; else they are run
        into it on `machine`, and those beyond the end where the best of them stands.
        """
        fresh, kept = self.checkout.runs, []
        for cells in filter(self._where_kept, trials.values()):
            kept += self._grid(cells, self.checkout.results)
        for run in self.trials_in(self.checkout.results, kept) or []:
            run.save(fresh)
        done: list[Cell] = []
        while (asked := [c for cells in trials.values() for c in self._grid(cells, fresh)]) != done:
            jobs = [partial(_train, c, fresh, self.checkout.root, machine) for c in asked]
            processes.each([job for job in jobs if job.args[0] not in kept], machine.workers)
            done = asked
        runs = {arm: self.trials_in(fresh, self._grid(c, fresh)) for arm, c in trials.items()}
        return {arm: _best(own) for arm, own in runs.items() if own}

    def run_arm(self, name: str, arm: Arm, seed: int, machine: Machine) -> Run:
        """One arm under one seed: its finished record, or a fresh one."""
        return self._job(name, arm, seed, machine)()

    def _job(self, name: str, arm: Arm, seed: int, machine: Machine) -> Callable[[], Run]:
        """What does it, in this process or in another one."""
        names = (self.study_name, self.setting_name, name)
        folders = (self.checkout.runs, self.checkout.root)
        if isinstance(arm, Reference):
            return partial(reference.run, arm, *names, seed, *folders, machine)
        return partial(_train, Cell(*names, arm, seed), *folders, machine)

    def run(self, machine: Machine, seeds: tuple[int, ...] | None = None) -> None:
        """Everything: trials that are not kept, all arms under all seeds, the combinations.

        The machine's workers are at it at a time. Raises `UserError` when one of them is killed.
        """
        asked = self.seeds if seeds is None else seeds
        jobs = {
            (name, seed): self._job(name, arm, seed, machine)
            for name, arm in self.tuned_arms(machine).items()
            for seed in seeds_of(arm, asked)
        }
        made = dict(zip(jobs, processes.each(list(jobs.values()), machine.workers), strict=True))
        for seed in asked:
            for rule, parts in combinations(self.study, self.setting).items():
                own = [made[part, seed] for part in parts]
                coupling.combine(own, rule).save(self.checkout.runs)

    def expected(self) -> Iterator[tuple[str, int, str | None]]:
        """Yield (name, seed, key) of every record there should be, combinations apart.

        The key of an arm is None as long as a learning rate that it needs is not known.
        """
        for cells in self.asked_trials().values():
            for cell in cells:
                yield cell.name, cell.seed, cell.experiment.key
        rates, needed = self.known_rates(), self.dependencies()
        arms = self.study.arms(self.setting, dict.fromkeys(self.trial_cells(), 1.0) | rates)
        for name, arm in arms.items():
            known = rates.keys() >= set(needed[name])
            for seed in seeds_of(arm, self.seeds):
                yield name, seed, arm.key if known else None

    def status(self) -> list[str]:
        """A line a record: kept, fresh, of another experiment, or missing."""
        places = (("kept", self.checkout.results), ("fresh", self.checkout.runs))
        lines = []
        for name, seed, key in self.expected():
            words = []
            for word, folder in places:
                path = record_path(folder, self.study_name, self.setting_name, name, seed)
                if path.exists():
                    other = key is not None and Run.load(path).key != key
                    words.append(f"{word}, but of another experiment" if other else word)
            lines.append(f"{name} (seed {seed}): {'; '.join(words) or 'missing'}")
        return lines

    def keep(self) -> tuple[list[Path], list[str]]:
        """Copy clean records from `runs/` to `experiments/results/`: the copies, and what was left.

        A record that is kept already with the same result on the same texts stays as it is. Left
        are, each with its reason, records from a changed tree or of another experiment. Raises
        `UserError` when there is none to keep.
        """
        keys = {name: key for name, _, key in self.expected()}
        return keep_records(self.checkout, self.study_name, self.setting_name, keys)

    def difference(self) -> list[str]:
        """How the fresh records' macro-F1 on *id* differs from the kept ones', a line an arm."""
        fresh = load_all(self.checkout.runs, self.study_name, self.setting_name)
        return [
            f"{name} (seed {run.seed}): {self.against_kept(run)}"
            for name, runs in fresh.items()
            for run in runs
            if ID in run.result["splits"]
        ]

    def against_kept(self, run: Run) -> str:
        """How a fresh record stands to the kept one of its name and seed, in words."""
        path = run.path(self.checkout.results)
        return _compare(run, Run.load(path) if path.exists() else None)


def _train(cell: Cell, folder: Path, root: Path, machine: Machine) -> Run:
    (run,) = train.run([cell], folder, root, machine)
    return run


def _record(folder: Path, names: tuple[str, str, str], seed: int, key: str) -> Run | None:
    path = record_path(folder, *names, seed)
    run = Run.load(path) if path.exists() else None
    return run if run is not None and run.key == key else None


def keep_records(
    checkout: Checkout, study: str, setting: str, keys: Mapping[str, str | None]
) -> tuple[list[Path], list[str]]:
    """Copy clean records of experiments with these keys, by name: see `Campaign.keep`."""
    copied: list[Path] = []
    left: list[str] = []
    kept = 0
    found = load_all(checkout.runs, study, setting)
    for run in (run for runs in found.values() for run in runs):
        if run.name.endswith(HEAD):
            continue  # the record that started from it tells of it
        parts = run.made_by.get("made_from", [{"name": run.name, "key": run.key}])
        twin = _record(checkout.results, (study, setting, run.name), run.seed, run.key)
        if run.made_by["dirty"]:
            left.append(f"{run.name} (seed {run.seed}): made from a changed tree")
        elif any(keys.get(part["name"]) != part["key"] for part in parts):
            left.append(f"{run.name} (seed {run.seed}): of another experiment")
        elif twin and (twin.fingerprint, twin.result) == (run.fingerprint, run.result):
            kept += 1
        else:
            copied.append(run.save(checkout.results))
    if not copied and not kept:
        why = f" ({left[0]})" if left else ""
        raise UserError(
            f"nothing of {study} in {setting} to keep below {checkout.runs}{why};"
            " commit, and run it"
        )
    return copied, left


def seeds_of(arm: Arm, asked: tuple[int, ...]) -> tuple[int, ...]:
    """Those of `asked` that an arm runs under; seed 0 for a reference without chance."""
    return arm.seeds(asked) if isinstance(arm, Reference) else asked


def _rate(cell: Cell) -> float:
    return cell.experiment.learning_rate


def _beyond(cells: list[Cell], best: float) -> Cell | None:
    """The trial one step beyond the end of a rising grid where its best rate stands, if it does."""
    if best == _rate(cells[0]):
        end, inner = cells[:2]
    elif best == _rate(cells[-1]):
        inner, end = cells[-2:]
    else:
        return None
    rate = float(f"{_rate(end) ** 2 / _rate(inner):.3g}")
    arm, _, _ = end.name.removeprefix(TRIAL).rpartition("--lr")
    experiment = replace(end.experiment, learning_rate=rate)
    return replace(end, name=trial_name(arm, rate), experiment=experiment)


def _best(trials: list[Run]) -> float:
    """The learning rate of the trial with the best macro-F1 on *select*, the first of equals."""
    best = max(trials, key=lambda run: run.result["splits"][SELECT]["macro_f1"])
    return float(best.experiment["learning_rate"])


def _compare(run: Run, twin: Run | None) -> str:
    if twin is None:
        return "there is none"
    if run.fingerprint != twin.fingerprint:
        return "the kept record read other texts (the corpus' sources have other versions)"
    if run.result == twin.result:
        return "the same result as the kept record"
    role = ID if ID in run.result["splits"] else SELECT
    ours, theirs = (r.result["splits"][role]["macro_f1"] for r in (run, twin))
    return f"macro-F1 {ours:.4f}, kept {theirs:.4f}, difference {ours - theirs:+.4f}"
