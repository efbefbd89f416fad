"""Sweeps: Optuna proposes experiments; they are trained, and judged on *select* alone.

A sweep is a file of `experiments/` with

- a docstring: question, command, cost;
- `SEEDS`: seeds by setting name; a trial trains under all of them and is judged by their mean;
- `THEORY`: the ids of the claims it bears on;
- `propose(trial, setting)`: the experiment that an `optuna.Trial` asks for;
- either `grid(setting)`: the values of every parameter, all combinations of which are tried,
- or `sampler(seed)` and `TRIALS`: an Optuna sampler, and how many trials it gets;
- perhaps `OBJECTIVES`, names of those below; by default macro-F1 alone;
- perhaps `LIMITS`: by name the most that a trial may have of it, which a sampler keeps to.

The trials lie in an Optuna storage, which several workers, hosts and a script of one's own share:

    storage = sweep_storage.storage(url)
    study = optuna.load_study(study_name="rank_sweep/embedded", storage=storage)
    study.optimize(objective("rank_sweep", "embedded"), n_trials=3)

A worker that is killed loses one trial, which another one does again; a trial that broke off with
an error is done again by the next call. The texts of *id* and of other domains cannot be read by a
trial: they raise. Hosts that share a storage share `runs/` too: the records lie there.
"""

import itertools
import os
import re
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from lowrank_da import sweep_storage, train
from lowrank_da.campaign import keep_records
from lowrank_da.corpus import SELECT
from lowrank_da.errors import UserError, unknown
from lowrank_da.experiment import Experiment
from lowrank_da.machine import Machine
from lowrank_da.prepared import prepare
from lowrank_da.run import TRIAL, WINNER, Run
from lowrank_da.study import Checkout
from lowrank_da.train import Cell

SEED_STEP = 7919
"""By how much a sampler's seed moves with each trial that is there: it never starts anew."""

QUEUED, SURPLUS = "queued", "surplus"
"""Attributes: what a grid's trial was queued with; that a trial is another one's double."""
Value = int | float | str


@dataclass(frozen=True)
class Objective:
    """What a trial is judged by, of its runs under all seeds."""

    direction: Literal["maximize", "minimize"]
    of: Callable[[Sequence[Run]], float]


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _seconds(run: Run) -> float:
    """Without the frozen layers' pass, which the first trial pays for those that come later."""
    return float(run.measured["train_seconds"] + run.measured.get("head_seconds", 0.0))


OBJECTIVES = {
    "macro_f1": Objective(
        "maximize", lambda runs: _mean([r.result["splits"][SELECT]["macro_f1"] for r in runs])
    ),
    "adapter_parameters": Objective(
        "minimize", lambda runs: float(runs[0].result["parameters"]["adapter"])
    ),
    "seconds": Objective("minimize", lambda runs: _mean([_seconds(run) for run in runs])),
    "peak_memory_bytes": Objective(
        "minimize", lambda runs: max(float(run.measured["peak_memory_bytes"]) for run in runs)
    ),
}
"""Macro-F1 is that on *select*; seconds are of one seed's training above the frozen layers."""


class Sweep:
    """One sweep in one setting: its trials, wherever they are done, and their records."""

    def __init__(self, checkout: Checkout, name: str, setting: str, url: str | None = None) -> None:
        """`url`: the storage, such as `postgresql://host/base`; by default SQLite in `runs/`.

        Raises `UserError` for an unknown sweep or setting, one without seeds, and for a file that
        lacks a part or names an unknown objective.
        """
        self.checkout, self.name, self.setting_name = checkout, name, setting
        self.definition: Any = checkout.study(name)
        if not checkout.is_sweep(name):
            raise UserError(f"{name} is a study, not a sweep; run `lowrank-da reproduce {name}`")
        self.setting = checkout.setting(setting, name)
        if setting not in getattr(self.definition, "SEEDS", {}):
            raise UserError(
                f"sweep {name} names no seeds for setting {setting};"
                f" add it to SEEDS in experiments/{name}.py"
            )
        if not hasattr(self.definition, "grid"):
            for part in ("sampler", "TRIALS"):
                if not hasattr(self.definition, part):
                    raise UserError(f"experiments/{name}.py has neither a grid nor {part}")
        self.seeds: tuple[int, ...] = tuple(self.definition.SEEDS[setting])
        self.objectives: tuple[str, ...] = getattr(self.definition, "OBJECTIVES", ("macro_f1",))
        self.limits: Mapping[str, float] = getattr(self.definition, "LIMITS", {})
        for one in (*self.objectives, *self.limits):
            if one not in OBJECTIVES:
                raise unknown(f"objective in experiments/{name}.py", one, OBJECTIVES)
        self._url = sweep_storage.absolute(url) if url else None

    @property
    def study_name(self) -> str:
        """Of the Optuna study."""
        return f"{self.name}/{self.setting_name}"

    @property
    def folder(self) -> Path:
        """Where its records lie."""
        return self.checkout.runs / self.name / self.setting_name

    def url(self) -> str:
        """Of the storage."""
        if self._url:
            return self._url
        self.folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{self.folder / 'sweep.db'}"

    def grid(self) -> dict[str, Sequence[Value]] | None:
        """The values of each parameter where all combinations are tried; None with a sampler."""
        own = getattr(self.definition, "grid", None)
        return None if own is None else dict(own(self.setting))

    def open(self, seed: int = 0) -> optuna.Study:
        """The Optuna study, made when it is not there.

        Raises `UserError` when the storage cannot be opened, and when it holds trials on other
        texts, for other objectives, or of other experiments than the file now proposes.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Signs of life are called experimental; there is nothing that users could do about it.
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        directions = [OBJECTIVES[name].direction for name in self.objectives]
        study = optuna.create_study(
            study_name=self.study_name,
            storage=sweep_storage.storage(self.url()),
            directions=directions,
            pruner=optuna.pruners.MedianPruner() if self.prunes else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        if self.grid() is None:
            study.sampler = self.definition.sampler(seed + SEED_STEP * len(study.trials))
        self._refuse_other_texts(study)
        theirs = [direction.name.lower() for direction in study.directions]
        if theirs != directions or study.metric_names not in (None, list(self.objectives)):
            raise UserError(f"{self._place()} is for other objectives; {APART}")
        if study.metric_names is None:
            study.set_metric_names(list(self.objectives))
        for trial in self.finished(study):
            self.experiment(trial)
        return study

    def queue(self, study: optuna.Study) -> None:
        """Queue what of a grid is neither queued, nor being done, nor done.

        Two that queue at once may queue a trial twice; the second is then seen to be surplus.
        """
        grid = self.grid()
        if grid is None:
            return
        alive = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
        there = [t.user_attrs.get(QUEUED) for t in study.get_trials(states=alive)]
        for values in itertools.product(*grid.values()):
            asked = dict(zip(grid, values, strict=True))
            if asked not in there:
                study.enqueue_trial(asked, {QUEUED: asked})

    def _place(self) -> str:
        return f"{self.study_name} in {sweep_storage.shown(self.url())}"

    @property
    def prunes(self) -> bool:
        """Trials are cut short where there is one objective and one seed, of a sampler's."""
        return len(self.objectives) == 1 and len(self.seeds) == 1 and self.grid() is None

    def _refuse_other_texts(self, study: optuna.Study) -> None:
        own = prepare(self.setting, for_trial=True).splits.fingerprint
        known = study.user_attrs.get("fingerprint")
        if known is None:
            study.set_user_attr("fingerprint", own)
        elif known != own:
            raise UserError(
                f"the trials of {self._place()} are on other texts (the corpus' sources have other"
                f" versions); {APART}"
            )

    def objective(self, machine: Machine) -> Callable[[Trial], tuple[float, ...]]:
        """The function that Optuna optimises: train what a trial proposes, under all seeds.

        The trial's attributes are told the experiment's key, the worker, parameters, seconds and
        memory, and each seed's macro-F1.
        """

        def objective(trial: Trial) -> tuple[float, ...]:
            if self.grid() is not None and QUEUED not in trial.user_attrs:
                trial.study.stop()
                raise _surplus(trial, "nothing of the grid is left to be done")
            experiment = self.definition.propose(trial, self.setting)
            if self._begun_before(trial, experiment):
                raise _surplus(trial, "another worker is at it, or has done it")
            # A sign of life first, for Optuna's may be late: what has a key is Optuna's to miss.
            getattr(trial.storage, "record_heartbeat", lambda _: None)(trial._trial_id)
            trial.set_user_attr("key", experiment.key)
            trial.set_user_attr("name", self.trial_name(trial.params, experiment))
            trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
            frozen = experiment.method.frozen_layers(self.setting.backbone)
            trial.set_user_attr("frozen_layers", frozen)
            runs = self._train(trial, experiment, machine)
            values = {name: of.of(runs) for name, of in OBJECTIVES.items()}
            for name, value in values.items():
                trial.set_user_attr(name, value)
            f1 = [run.result["splits"][SELECT]["macro_f1"] for run in runs]
            trial.set_user_attr("macro_f1_by_seed", f1)
            trial.set_user_attr("trunk_seconds", sum(r.measured["trunk_seconds"] for r in runs))
            for name, most in self.limits.items():
                trial.set_constraint(name, values[name] - most)
            return tuple(values[name] for name in self.objectives)

        return objective

    def _begun_before(self, trial: Trial, experiment: Experiment) -> bool:
        """Whether a trial with a lower number trains the same; of a grid, or has trained it.

        What a grid's trial was queued with is known before its worker has said its key.
        """
        if self.grid() is None:
            states, mark, own = {TrialState.RUNNING}, "key", experiment.key
        else:
            states = {TrialState.RUNNING, TrialState.COMPLETE}
            mark, own = QUEUED, trial.user_attrs[QUEUED]
        return any(
            other.state in states
            and other.number < trial.number
            and other.user_attrs.get(mark) == own
            for other in trial.study.get_trials(deepcopy=False)
        )

    def _train(self, trial: Trial, experiment: Experiment, machine: Machine) -> list[Run]:
        name = self.trial_name(trial.params, experiment)
        names = (self.name, self.setting_name, name)
        cells = [Cell(*names, experiment, seed, select_only=True) for seed in self.seeds]

        def watch(epoch: int, macro_f1: float) -> None:
            trial.report(macro_f1, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"below the median after {epoch} passes")

        watcher, runs = watch if self.prunes else None, self.checkout.runs
        try:
            return train.run(cells, runs, self.checkout.root, machine, watch=watcher)
        except optuna.TrialPruned:
            train.resume_path(cells, runs, machine).unlink(missing_ok=True)
            raise

    def trial_name(self, parameters: Mapping[str, Any], experiment: Experiment) -> str:
        """Of its records: of a grid by its parameters where they make a short name, else by key."""
        said = "-".join(f"{name}_{value}" for name, value in parameters.items())
        short = self.grid() is not None and re.fullmatch(r"[\w.-]{1,60}", said)
        return TRIAL + (said if short else experiment.key)

    def run(
        self,
        machine: Machine,
        trials: int | None = None,
        timeout: float | None = None,
        seed: int = 0,
        ray_address: str | None = None,
        one_worker: bool = False,
    ) -> optuna.Study:
        """Do trials until all of a grid's are done, or `trials` of them, or the time is over.

        `trials` counts those that are finished already; without it a sampler gets `TRIALS`. With
        several workers of the machine each is a process with its threads, and the seed of its
        sampler; with `ray_address` they are spread over the nodes of that cluster, and share its
        processors. With `one_worker` this process is one of the machine's, and starts no others.
        A trial that has been begun when the time is over is finished.
        """
        if trials is not None and trials < 1:
            raise UserError(f"--trials {trials}: at least one is needed")
        if timeout is not None and timeout <= 0:
            raise UserError(f"--timeout {timeout:g}: a positive number of seconds is needed")
        if ray_address and self.url().startswith("sqlite"):
            raise UserError("--ray wants a --storage that several hosts can share: PostgreSQL")
        if one_worker and ray_address:
            raise UserError("--quiet: this is one worker, and --ray starts several")
        study = self.open(seed)
        self.queue(study)
        if (machine.workers > 1 and not one_worker) or ray_address:
            commands = self._commands(machine, trials, timeout, seed)
            if ray_address:
                from lowrank_da import ray_workers

                device = machine.device.type
                codes = ray_workers.run(commands, self.checkout.root, device, ray_address)
            else:
                shares = ["--threads", str(machine.threads), "--workers", str(machine.workers)]
                codes = self._spawn([[*own, *shares] for own in commands])
            if any(code > 0 for code in codes) or all(code < 0 for code in codes):
                raise UserError(
                    f"{sum(map(bool, codes))} of {machine.workers} workers failed; see above"
                )
        else:
            self.work(study, machine, trials, timeout)
        return study

    def remaining(self, study: optuna.Study) -> int:
        """How many trials of the whole sweep are not done yet."""
        grid = self.grid()
        if grid is None:
            states = counts(study)
            done = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
            return max(0, int(self.definition.TRIALS) - done)
        complete = study.get_trials(states=(TrialState.COMPLETE,))
        done_of = [trial.user_attrs.get(QUEUED) for trial in complete]
        every = [dict(zip(grid, v, strict=True)) for v in itertools.product(*grid.values())]
        return sum(asked not in done_of for asked in every)

    def work(
        self, study: optuna.Study, machine: Machine, trials: int | None, timeout: float | None
    ) -> None:
        """One worker's part: trial after trial while any is to be done.

        It waits for trials that other workers have begun, for it may have to do them again.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        if trials is None and self.grid() is None:
            trials = int(self.definition.TRIALS)
        objective, said = self.objective(machine), False
        while time.monotonic() < end:
            fail_stale_trials(study)
            self._give_up_unbegun(study)
            states = counts(study)
            queued, running = states[TrialState.WAITING], states[TrialState.RUNNING]
            done = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
            wanted = queued if self.grid() is not None else max(0, (trials or 0) - done - running)
            if trials is not None:
                wanted = min(wanted, max(0, trials - done - running))
            if wanted:
                study.optimize(objective, n_trials=1)
            elif running and (trials is None or done < trials):
                if not said:
                    print("waiting for trials that other workers have begun", file=sys.stderr)
                    said = True
                time.sleep(min(sweep_storage.HEARTBEAT / 4, max(0.0, end - time.monotonic())))
            else:
                break

    def _give_up_unbegun(self, study: optuna.Study) -> None:
        """What Optuna cannot see: trials whose worker was lost before its first sign of life."""
        late = datetime.now() - timedelta(seconds=sweep_storage.GRACE)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            began = trial.datetime_start
            if "key" not in trial.user_attrs and began and began < late:
                study.tell(trial.number, state=TrialState.FAIL)
                self.queue(study)

    def _commands(
        self, machine: Machine, trials: int | None, timeout: float | None, seed: int
    ) -> list[list[str]]:
        """What starts each worker, whose sampler has a seed of its own."""
        command = [sys.executable, "-m", "lowrank_da.cli", "sweep", self.name]
        command += ["--setting", self.setting_name, "--storage", self.url()]
        command += ["--device", machine.device.type, "--quiet"]
        command += ["--precision", "bf16" if machine.precision == "bf16-mixed" else "fp32"]
        command += [] if trials is None else ["--trials", str(trials)]
        command += [] if timeout is None else ["--timeout", str(timeout)]
        seeds = range(seed * machine.workers, (seed + 1) * machine.workers)
        return [[*command, "--seed", str(own)] for own in seeds]

    def _spawn(self, commands: Sequence[list[str]]) -> list[int]:
        """Processes on this machine, waited for; their exit codes, below zero for a killed one."""
        started = [subprocess.Popen(one, cwd=self.checkout.root) for one in commands]
        return [process.wait() for process in started]

    def finished(self, study: optuna.Study) -> list[FrozenTrial]:
        """The complete trials, the best macro-F1 first, one for each experiment."""
        complete = study.get_trials(states=(TrialState.COMPLETE,))
        by_key = {trial.user_attrs["key"]: trial for trial in complete}
        return sorted(by_key.values(), key=lambda trial: -trial.user_attrs["macro_f1"])

    def best(self, study: optuna.Study) -> FrozenTrial:
        """The trial with the best macro-F1 on *select* within the limits.

        Raises `UserError` when there is none.
        """
        for trial in self.finished(study):
            if all(over <= 0 for over in trial.constraints.values()):
                return trial
        within = " within the limits" if self.limits else ""
        raise UserError(f"no trial of {self.study_name} is finished{within}; run it again")

    def experiment(self, trial: FrozenTrial) -> Experiment:
        """What a finished trial proposed; `UserError` where the file now proposes another one."""
        fixed: Any = optuna.trial.FixedTrial(trial.params)
        try:
            proposed: Experiment = self.definition.propose(fixed, self.setting)
        except ValueError as error:
            raise UserError(
                f"experiments/{self.name}.py no longer takes {trial.params} ({error}); {APART}"
            ) from error
        if proposed.key != trial.user_attrs["key"]:
            raise UserError(
                f"experiments/{self.name}.py proposes another experiment for {trial.params} than"
                f" when the trial ran; {APART}"
            )
        return proposed

    def evaluate(self, trial: FrozenTrial, machine: Machine) -> list[Run]:
        """Train the winner anew and judge it on *id* and elsewhere: once, for its records stay."""
        names = (self.name, self.setting_name, WINNER)
        cells = [Cell(*names, self.experiment(trial), seed) for seed in self.seeds]
        return train.run(cells, self.checkout.runs, self.checkout.root, machine)

    def cut(self, study: optuna.Study, machine: Machine) -> list[Run]:
        """Of a sweep over `rank`: the widest trial cut to every rank, saved as records.

        Nothing for another sweep. Raises `UserError` when the trial's weights are gone.
        """
        from lowrank_da import truncate

        by_rank = {t.params["rank"]: t for t in self.finished(study) if set(t.params) == {"rank"}}
        if len(by_rank) < 2:
            return []
        widest = by_rank[max(by_rank)]
        experiment = self.experiment(widest)
        names = (self.name, self.setting_name, widest.user_attrs["name"])
        cells = [Cell(*names, experiment, seed, select_only=True) for seed in self.seeds]
        folder, root = self.checkout.runs, self.checkout.root
        made: list[Run] = []
        for run in train.run(cells, folder, root, machine):
            made += truncate.curve(run, experiment, folder, root, sorted(by_rank), machine)
        for run in made:
            run.save(folder)
        return made

    def keep(self, study: optuna.Study) -> tuple[list[Path], list[str]]:
        """Copy clean records to `experiments/results/`, as `Campaign.keep`."""
        keys = {t.user_attrs["name"]: t.user_attrs["key"] for t in self.finished(study)}
        keys[WINNER] = self.best(study).user_attrs["key"]
        return keep_records(self.checkout, self.name, self.setting_name, keys)


APART = "give a --storage of its own, or delete the old one"


def _surplus(trial: Trial, why: str) -> optuna.TrialPruned:
    """To be raised: the trial is marked, and counted nowhere."""
    trial.set_user_attr(SURPLUS, True)
    return optuna.TrialPruned(why)


def counts(study: optuna.Study) -> dict[TrialState, int]:
    """Trials by state, surplus ones left out."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials if SURPLUS not in trial.user_attrs]
    return {state: states.count(state) for state in TrialState}


def objective(
    name: str, setting: str, machine: Machine | None = None
) -> Callable[[Trial], tuple[float, ...]]:
    """A sweep's objective for an Optuna script of one's own, in the checkout it is imported from.

    Raises `UserError` as `Sweep`, and where there is no checkout.
    """
    return Sweep(Checkout.here(), name, setting).objective(machine or Machine.choose())
