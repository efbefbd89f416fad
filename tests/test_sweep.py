"""Sweeps on the toy corpus: nothing lost, nothing doubled, nothing seen that is not to be seen."""

import itertools
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest
import sqlalchemy.exc
import toy
from matplotlib import pyplot as plt
from optuna.trial import TrialState

from experiments import lora_search, rank_sweep
from lowrank_da import cli, corpus, sweep_storage, train
from lowrank_da import sweep as sweeps
from lowrank_da.campaign import Campaign
from lowrank_da.corpus import ID, SELECT, TRAIN, SealedError
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.machine import Machine
from lowrank_da.methods.lora import LoRA
from lowrank_da.prepared import prepare
from lowrank_da.run import WINNER, Run, load_all
from lowrank_da.study import Checkout
from lowrank_da.sweep import Sweep
from lowrank_da.sweep_figures import draw
from lowrank_da.sweep_report import as_python, report

MACHINE = Machine.choose("cpu", "fp32")
SETTINGS = "import toy\nroom = toy.setting(epochs=2)\n"
GRID = """
from lowrank_da.experiment import Experiment
from lowrank_da.methods.lora import LoRA

SEEDS = {"room": (0, 1)}
THEORY = ()


def grid(setting):
    return {"rank": (1, 2), "alpha": (4.0, 8.0)}


def propose(trial, setting):
    rank = trial.suggest_categorical("rank", (1, 2))
    alpha = trial.suggest_categorical("alpha", (4.0, 8.0))
    method = LoRA(rank=rank, alpha=alpha, top_layers=1)
    return Experiment(setting=setting, method=method, learning_rate=0.02)
"""
SEARCH = """
import optuna
from lowrank_da.experiment import Experiment
from lowrank_da.methods.lora import LoRA

SEEDS = {"room": (0,)}
THEORY = ()
TRIALS = 3
OBJECTIVES = ("macro_f1",)
LIMITS = {"adapter_parameters": 900}


def sampler(seed):
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=2)


def propose(trial, setting):
    method = LoRA(rank=trial.suggest_int("rank", 1, 4))
    rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
    return Experiment(setting=setting, method=method, learning_rate=rate)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name, text in (("settings", SETTINGS), ("ranks", GRID), ("search", SEARCH)):
        (folder / f"{name}.py").write_text(text)
    package = ModuleType(f"toy_sweeps_{tmp_path.name}")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    here = Checkout(package)
    monkeypatch.setattr(Checkout, "here", lambda: here)
    return here


def sweep(checkout: Checkout, name: str = "ranks") -> Sweep:
    return Sweep(checkout, name, "room")


def trained(checkout: Checkout, name: str) -> dict[str, list[Run]]:
    return load_all(checkout.runs, name, "room")


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def test_a_grid_is_done_once_and_continued(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep(checkout)
    assert len(one.finished(one.run(MACHINE, trials=1))) == 1
    study = one.run(MACHINE)
    asked = {(trial.params["rank"], trial.params["alpha"]) for trial in study.trials}
    assert asked == {(rank, alpha) for rank in (1, 2) for alpha in (4.0, 8.0)}
    assert states(study) == [TrialState.COMPLETE] * 4
    monkeypatch.setattr(train, "run", None)
    assert len(one.run(MACHINE).trials) == 4


def test_what_trials_tell_is_that_of_their_records(checkout: Checkout) -> None:
    one = sweep(checkout)
    study = one.run(MACHINE)
    records = trained(checkout, "ranks")
    for trial in study.trials:
        told = trial.user_attrs
        runs = records[told["name"]]
        f1 = [run.result["splits"][SELECT]["macro_f1"] for run in runs]
        assert told["macro_f1_by_seed"] == f1
        assert trial.values == [pytest.approx(sum(f1) / 2)]
        assert {run.key for run in runs} == {told["key"]} == {one.experiment(trial).key}
        assert told["adapter_parameters"] == runs[0].result["parameters"]["adapter"]
        assert set(runs[0].result["splits"]) == {SELECT}
        assert len(runs[0].result["singular_values"]) == 6
    best = one.best(study)
    assert best.values[0] == max(trial.values[0] for trial in study.trials)


def test_the_winner_is_judged_on_id_once(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep(checkout)
    study = one.run(MACHINE)
    runs = one.evaluate(one.best(study), MACHINE)
    assert [run.seed for run in runs] == [0, 1]
    assert {run.key for run in runs} == {one.best(study).user_attrs["key"]}
    assert all(ID in run.result["splits"] for run in runs)
    monkeypatch.setattr(train, "_train", None)
    again = one.evaluate(one.best(study), MACHINE)
    assert [run.result for run in again] == [run.result for run in runs]
    assert WINNER in trained(checkout, "ranks")


def test_the_report_prints_the_winner_as_python(checkout: Checkout) -> None:
    one = sweep(checkout)
    study = one.run(MACHINE)
    lines = list(report(one, study))
    assert (
        len([line for line in lines if line.startswith("| 1 |") or line.startswith("| 2 |")]) == 4
    )
    namespace = {"Experiment": Experiment, "LoRA": LoRA, "setting": one.setting}
    made = eval(lines[-1], namespace)
    assert made == one.experiment(one.best(study))
    assert "4 trials trained for" in " ".join(lines)


def test_python_leaves_defaults_out() -> None:
    method = LoRA(rank=3, targets=("query",), start="data")
    one = toy.experiment(method=method, learning_rate=0.5)
    said = as_python(one)
    assert "LoRA(rank=3, targets=('query',), start='data')" in said
    assert eval(said, {"Experiment": Experiment, "LoRA": LoRA, "setting": one.setting}) == one


# -- what a trial may see


@pytest.mark.parametrize("role", [ID, toy.OOD])
def test_other_texts_are_sealed(role: str) -> None:
    whole = toy.Toy().load()
    sealed = whole.sealed()
    assert sealed[TRAIN] == whole[TRAIN]
    assert sealed.fingerprint == whole.fingerprint
    assert sealed.evaluated == (SELECT,)
    with pytest.raises(SealedError, match=f"the texts of {role} are sealed"):
        sealed[role]
    with pytest.raises(SealedError):
        sealed.counts(role)


def test_a_trial_that_reads_id_breaks(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor that wants all roles is stopped, and the trial fails."""
    monkeypatch.setattr(corpus.Splits, "evaluated", (SELECT, ID))
    monkeypatch.setattr(train, "SELECT", ID)
    with pytest.raises(SealedError):
        sweep(checkout).run(MACHINE)


def test_learning_rate_trials_are_sealed_too() -> None:
    setting = toy.setting()
    assert set(prepare(setting, for_trial=True).ids) == {TRAIN, SELECT}
    assert set(prepare(setting).ids) == {TRAIN, SELECT, ID, toy.OOD}


# -- samplers, limits, pruning


def test_a_sampler_gets_its_trials_and_keeps_to_limits(checkout: Checkout) -> None:
    one = sweep(checkout, "search")
    study = one.run(MACHINE)
    assert len(study.trials) == 3
    assert len(one.run(MACHINE, trials=4).trials) == 4
    for trial in one.finished(study):
        over = trial.user_attrs["adapter_parameters"] - 900
        assert trial.constraints == {"adapter_parameters": over}
    within = [t for t in one.finished(study) if t.user_attrs["adapter_parameters"] <= 900]
    assert 0 < len(within) < len(one.finished(study))
    assert one.best(study).number == max(within, key=lambda t: t.user_attrs["macro_f1"]).number


def test_a_bad_trial_is_cut_short(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sweep(checkout, "search")
    assert one.prunes
    assert not sweep(checkout).prunes
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    study = one.run(MACHINE)
    assert states(study).count(TrialState.PRUNED) == 1
    assert study.trials[1].intermediate_values.keys() == {1}
    assert not list(checkout.runs.rglob("*.resume"))
    assert "1 were cut short" in " ".join(report(one, study))


def test_two_objectives_have_a_front(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sweep(checkout)
    monkeypatch.setattr(one, "objectives", ("macro_f1", "adapter_parameters"))
    study = one.run(MACHINE)
    assert not one.prunes
    assert study.best_trials
    assert study.metric_names == ["macro_f1", "adapter_parameters"]
    assert "Not beaten in all of macro_f1, adapter_parameters" in " ".join(report(one, study))


# -- several workers, and workers that are lost


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("training", [False, True])
def test_a_lost_trial_is_done_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    """Its worker was killed before it began to train, or then, before Optuna's thread said more."""
    monkeypatch.setattr(sweep_storage, "HEARTBEAT", 1)
    monkeypatch.setattr(sweep_storage, "GRACE", 1)
    one = sweep(checkout)
    opened = one.open()
    one.queue(opened)
    trial = opened.ask()
    if training:
        with monkeypatch.context() as patch:
            patch.setattr(train, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                one.objective(MACHINE)(trial)
    time.sleep(2.1)  # the storage counts whole seconds
    study = one.run(MACHINE, timeout=60)
    assert study.trials[trial.number].state is TrialState.FAIL
    assert states(study).count(TrialState.COMPLETE) == 4
    assert len({str(t.params) for t in one.finished(study)}) == 4
    assert one.remaining(study) == 0


def test_a_trial_that_nobody_asked_for_is_not_done(checkout: Checkout) -> None:
    """A script that goes on without end stops when the grid is done."""
    one = sweep(checkout)
    study = one.run(MACHINE)
    study.optimize(one.objective(MACHINE))
    assert states(study) == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]
    assert len(one.finished(study)) == 4
    assert one.remaining(study) == 0
    assert "0 were cut short" in " ".join(report(one, study))


def test_a_grid_queued_twice_is_done_once(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep(checkout)
    study = one.open()
    one.queue(study)
    for trial in study.get_trials():
        study.enqueue_trial(trial.user_attrs["queued"], trial.user_attrs)
    assert len(one.run(MACHINE).trials) == 8
    assert states(study) == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED] * 4
    assert len(one.finished(study)) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, ZeroDivisionError])
def test_a_trial_that_broke_off_is_done_by_the_next_call(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    one, real = sweep(checkout), train.run

    def fails(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(train, "run", real)
        raise error("no more")

    monkeypatch.setattr(train, "run", fails)
    with pytest.raises(error):
        one.run(MACHINE)
    assert one.remaining(one.open()) == 4
    study = one.run(MACHINE)
    assert states(study).count(TrialState.COMPLETE) == 4
    assert one.remaining(study) == 0


def test_workers_are_started_with_their_part(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], cwd: Path) -> None:
            started.append(command)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(sweeps.subprocess, "Popen", Process)
    monkeypatch.setattr(train.torch, "get_num_threads", lambda: 6)
    machine = Machine.choose("cpu", "fp32", workers=3)
    sweep(checkout).run(machine, timeout=9, seed=2)
    options = [dict(itertools.pairwise(command)) for command in started]
    assert [own["--threads"] for own in options] == ["2"] * 3
    assert [own["--workers"] for own in options] == ["3"] * 3
    assert [own["--seed"] for own in options] == ["6", "7", "8"]
    assert all("--quiet" in command and "ranks" in command for command in started)


@pytest.mark.parametrize(
    ("said", "opens"), [("table studies already exists", True), ("no such host", False)]
)
def test_a_storage_in_the_making_is_opened_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, said: str, opens: bool
) -> None:
    real, refusals = sweep_storage.RDBStorage, [said, said]

    def making(*given: Any, **options: Any) -> Any:
        if refusals:
            raise sqlalchemy.exc.OperationalError("CREATE", {}, Exception(refusals.pop()))
        return real(*given, **options)

    monkeypatch.setattr(sweep_storage, "RDBStorage", making)
    monkeypatch.setattr(sweep_storage.time, "sleep", lambda seconds: None)
    with nullcontext() if opens else pytest.raises(UserError, match="no such host"):
        assert sweep(checkout).open().trials == []
    assert len(refusals) == (0 if opens else 1)


def test_two_that_read_at_once_do_not_take_the_same_trial(checkout: Checkout) -> None:
    """A transaction on SQLite holds the lock from its beginning, not from its first write."""
    url = sweep(checkout).url()
    first, second = sweep_storage.storage(url), sweep_storage.storage(url)
    with first.engine.begin() as holding:
        holding.exec_driver_sql("SELECT 1")
        waiting = second.engine.execution_options()
        with waiting.connect() as other:
            other.connection.dbapi_connection.execute("PRAGMA busy_timeout = 1")
            with pytest.raises(sqlalchemy.exc.OperationalError, match="locked"):
                other.exec_driver_sql("SELECT 1")


# -- an Optuna script of one's own


def test_a_script_works_on_the_same_study(checkout: Checkout) -> None:
    one = sweep(checkout)
    one.queue(one.open())
    study = optuna.load_study(study_name=one.study_name, storage=sweep_storage.storage(one.url()))
    study.optimize(sweeps.objective("ranks", "room", MACHINE), n_trials=2)
    assert states(one.run(MACHINE)) == [TrialState.COMPLETE] * 4


# -- mistakes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: Sweep(c, "ranx", "room"), "did you mean 'ranks'"),
        (lambda c: Sweep(c, "ranks", "rom"), "did you mean 'room'"),
        (lambda c: Campaign(c, "ranks", "room"), "ranks is a sweep, not a study"),
        (lambda c: Sweep(c, "ranks", "room", "postgres:x").open(), "--storage postgres:x cannot"),
        (lambda c: Sweep(c, "ranks", "room", "sqlite:////no/x.db").open(), "cannot be opened"),
        (lambda c: sweep(c).run(MACHINE, trials=0), "--trials 0"),
        (lambda c: sweep(c).run(MACHINE, timeout=0), "--timeout 0"),
        (
            lambda c: Sweep(c, "ranks", "room", "postgresql://x").run(
                MACHINE, ray_address="auto", one_worker=True
            ),
            "--quiet: this is one worker",
        ),
        (
            lambda c: sweep(c).run(MACHINE, ray_address="auto"),
            "--ray wants a --storage",
        ),
        (lambda c: sweep(c).best(sweep(c).open()), "no trial of ranks/room is finished"),
    ],
)
def test_a_mistake_gets_one_line(
    checkout: Checkout, make: Callable[[Checkout], object], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        make(checkout)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trials_on_other_texts_are_refused(checkout: Checkout) -> None:
    study = sweep(checkout).open()
    study.set_user_attr("fingerprint", "another")
    with pytest.raises(UserError, match="are on other texts"):
        sweep(checkout).open()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("learning_rate=0.02", "learning_rate=0.03", "proposes another experiment for {"),
        ("(4.0, 8.0)", "(8.0, 16.0)", "no longer takes {"),
        ("THEORY = ()", "THEORY = ()\nOBJECTIVES = ('seconds',)", "is for other objectives"),
    ],
)
def test_another_definition_is_refused(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    one = sweep(checkout)
    one.run(MACHINE, trials=1)
    text = GRID.replace(old, new)
    assert text != GRID
    changed = ModuleType("changed")
    exec(text, changed.__dict__)
    monkeypatch.setattr(checkout, "study", lambda name: changed)
    with pytest.raises(UserError) as caught:
        sweep(checkout).open()
    assert said in str(caught.value)
    assert "give a --storage of its own" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TRIALS = 3", "", "neither a grid nor TRIALS"),
        ("def sampler", "def sampel", "neither a grid nor sampler"),
        ('("macro_f1",)', '("macro_f",)', "did you mean 'macro_f1'"),
        ('"adapter_parameters": 900', '"adapter": 900', "unknown objective in experiments/search"),
    ],
)
def test_a_file_that_lacks_something_is_refused(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    changed = ModuleType("changed")
    exec(SEARCH.replace(old, new), changed.__dict__)
    monkeypatch.setattr(checkout, "study", lambda name: changed)
    with pytest.raises(UserError, match=re.escape(said)):
        sweep(checkout, "search")


def test_no_password_is_printed(checkout: Checkout) -> None:
    one = Sweep(checkout, "ranks", "room", "nonsense://me:secret@host/base")
    with pytest.raises(UserError) as caught:
        one.open()
    assert "secret" not in str(caught.value)


def test_a_continued_sampler_draws_anew(checkout: Checkout) -> None:
    one = sweep(checkout, "search")
    one.run(MACHINE, trials=1)
    study = one.run(MACHINE, trials=2)
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 2


# -- pictures of a search


def test_a_search_is_drawn(checkout: Checkout, tmp_path: Path) -> None:
    one = sweep(checkout, "search")
    study = one.run(MACHINE, trials=2)
    assert draw(one, study, tmp_path) == []
    study = one.run(MACHINE, trials=4)
    written = draw(one, study, tmp_path / "figures")
    assert {path.name for path in written} == {
        f"{name}.{kind}" for name in ("history", "importances") for kind in ("png", "pdf")
    }
    assert all(path.stat().st_size > 4000 for path in written)
    assert not plt.get_fignums()


def test_each_further_objective_has_a_front(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sweep(checkout)
    monkeypatch.setattr(one, "objectives", ("macro_f1", "adapter_parameters"))
    study = one.run(MACHINE)
    names = {path.name for path in draw(one, study, tmp_path)}
    assert "front_adapter_parameters.png" in names


# -- the command, and the sweeps that there are


def test_the_command(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "ranks", "--setting", "room", "--device", "cpu", "--precision", "fp32"]
    assert cli.main([*command, "--quiet", "--trials", "1", "--workers", "2"]) == 0
    assert "macro-F1 on select" not in capsys.readouterr().out
    (first,) = trained(checkout, "ranks").values()
    assert {run.made_by["workers"] for run in first} == {2}, "one of two, and started none"
    assert cli.main([*command, "--trials", "2"]) == 0
    assert "2 trials remain; the winner is judged when all are done." in capsys.readouterr().out
    assert WINNER not in trained(checkout, "ranks")
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "The best on select is trial" in said
    assert said.count("on id: macro-F1") == 2
    assert cli.main(["reproduce", "ranks", "--setting", "room"]) == 2
    assert "run `lowrank-da sweep ranks`" in capsys.readouterr().err


def test_the_kept_rates_are_those_of_the_kept_trials() -> None:
    here = Checkout.here()
    for corpus_name, setting in (("docstrings", "embedded"), ("outfox", "outfox")):
        assert Campaign(here, "thesis", setting).known_rates()["lora"] == pytest.approx(
            rank_sweep.RATES[corpus_name]
        )


def test_sweeps_are_listed_apart(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "sweeps"]) == 0
    assert capsys.readouterr().out == "sweeps: ranks, search\n"


def test_the_sweeps_of_the_project_propose() -> None:
    here = Checkout.here()
    setting = here.setting("tiny", "rank_sweep")
    for rank in rank_sweep.RANKS:
        made = rank_sweep.propose(optuna.trial.FixedTrial({"rank": rank}), setting)
        assert isinstance(made.method, LoRA)
        assert made.method.scale == pytest.approx(16 / rank)
    study = optuna.create_study(sampler=lora_search.sampler(0))
    one = lora_search.propose(study.ask(), setting)
    assert isinstance(one.method, LoRA)
    assert 0.5 <= one.method.scale <= 8


def test_the_trials_lie_in_runs_or_where_asked(checkout: Checkout) -> None:
    assert sweep(checkout).url().startswith("sqlite:///")
    assert os.path.exists(checkout.runs / "ranks" / "room")
    relative = Sweep(checkout, "ranks", "room", "sqlite:///x.db").url()
    assert relative == f"sqlite:///{Path.cwd() / 'x.db'}"
    assert Sweep(checkout, "ranks", "room", relative).url() == relative
