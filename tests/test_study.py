"""A study in a setting: its rates, its records, what is kept of them."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy_checkout

from lowrank_da import reference, train
from lowrank_da.corpus import ID, SELECT
from lowrank_da.errors import UserError
from lowrank_da.run import Run, load_all
from lowrank_da.study import Campaign, Checkout

CPU = train.machine("cpu", "fp32")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return toy_checkout.make(tmp_path, monkeypatch)


@pytest.fixture
def campaign(checkout: Checkout) -> Campaign:
    return Campaign(checkout, "play", "room")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the whole study, made once in a clean repository."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        checkout = toy_checkout.make(root, patch)
        toy_checkout.commit(root)
        Campaign(checkout, "play", "room").run(CPU)
    return checkout.runs


@pytest.fixture
def done(campaign: Campaign, whole: Path) -> Campaign:
    """The study with all its runs."""
    shutil.copytree(whole, campaign.checkout.runs)
    return campaign


def records(folder: Path) -> list[tuple[str, int]]:
    found = load_all(folder, "play", "room")
    return sorted((run.name, run.seed) for runs in found.values() for run in runs)


def refuse_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(train, "_train", refuse)


def rewrite(folder: Path, name: str, **changes: Any) -> Run:
    """A record below `folder` saved with other contents."""
    run = dataclasses.replace(load_all(folder, "play", "room")[name][0], **changes)
    run.save(folder)
    return run


# --- what is found ------------------------------------------------------------------------------


def test_studies_and_settings_are_found_by_looking(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.studies() == ["play"]
    assert list(checkout.settings()) == ["room"]
    assert checkout.root == tmp_path
    assert checkout.runs == tmp_path / "runs"
    assert checkout.results == tmp_path / "experiments" / "results"
    (tmp_path / "experiments" / "another.py").touch()
    assert checkout.studies() == ["another", "play"]


@pytest.mark.parametrize(
    ("study", "setting", "message"),
    [
        ("plya", "room", "unknown study 'plya'; did you mean 'play'"),
        ("settings", "room", "unknown study 'settings'"),
        ("play", "rooom", "unknown setting 'rooom'; did you mean 'room'"),
    ],
)
def test_unknown_names_are_refused(
    study: str, setting: str, message: str, checkout: Checkout
) -> None:
    with pytest.raises(UserError, match=message):
        Campaign(checkout, study, setting)


def test_arms_and_trials_are_known_before_anything_runs(campaign: Campaign) -> None:
    assert campaign.arm_names() == toy_checkout.ARMS
    assert campaign.seeds == (0, 1)
    cells = campaign.trial_cells()["full"]
    assert [cell.name for cell in cells] == toy_checkout.TRIALS
    assert all(cell.select_only and cell.seed == 0 for cell in cells)


# --- learning rates -----------------------------------------------------------------------------


def test_the_rate_that_is_best_on_select_is_taken(campaign: Campaign) -> None:
    assert campaign.rates(CPU) == {"full": 0.02}
    found = load_all(campaign.checkout.runs, "play", "room")
    f1 = [found[name][0].result["splits"][SELECT]["macro_f1"] for name in toy_checkout.TRIALS]
    assert f1[0] < f1[1]


def test_kept_trials_are_read_and_not_run(done: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    done.checkout.results.parent.mkdir(exist_ok=True)
    done.checkout.runs.rename(done.checkout.results)
    refuse_training(monkeypatch)
    assert done.rates(CPU) == {"full": 0.02}
    assert records(done.checkout.runs) == [(name, 0) for name in toy_checkout.TRIALS]


def test_a_kept_trial_of_another_experiment_is_not_believed(done: Campaign) -> None:
    results = done.checkout.results
    done.checkout.runs.rename(results)
    rewrite(results, toy_checkout.TRIALS[1], key="0123456789abcdef")
    assert done.rates(CPU) == {"full": 0.02}
    found = load_all(done.checkout.runs, "play", "room")
    kept, run_again = (found[name][0] for name in toy_checkout.TRIALS)
    assert kept.made_by["commit"] is not None
    assert run_again.made_by["commit"] is None, "made here, outside any repository"


# --- all of it ----------------------------------------------------------------------------------


def test_a_study_leaves_the_records_of_all_arms_seeds_and_combinations(done: Campaign) -> None:
    trained = [(name, seed) for name in toy_checkout.ARMS[1:] for seed in (0, 1)]
    combined = [("binaries_coupled", seed) for seed in (0, 1)]
    trials = [(name, 0) for name in toy_checkout.TRIALS]
    expected = sorted([("tfidf", 0), *trained, *combined, *trials])
    assert records(done.checkout.runs) == expected
    found = load_all(done.checkout.runs, "play", "room")
    assert {run.setting for runs in found.values() for run in runs} == {"room"}
    assert len({run.fingerprint for n, runs in found.items() if "/" not in n for run in runs}) == 1
    assert found["full"][0].experiment["learning_rate"] == 0.02
    assert set(found[toy_checkout.TRIALS[0]][0].result["splits"]) == {SELECT}


def test_running_it_again_trains_nothing(done: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    before = records(done.checkout.runs)
    refuse_training(monkeypatch)
    done.run(CPU)
    assert records(done.checkout.runs) == before


def test_other_seeds_may_be_asked_for(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def remember(self: Campaign, name: str, arm: object, seed: int, machine: object) -> object:
        asked.append((name, seed))
        return SimpleNamespace()

    monkeypatch.setattr(Campaign, "run_arm", remember)
    monkeypatch.setattr(Campaign, "rates", lambda *_: {"full": 0.02})
    monkeypatch.setattr(campaign.study, "combinations", lambda setting: {})
    campaign.run(CPU, seeds=(0, 1, 2))
    assert asked.count(("tfidf", 0)) == 1
    assert [seed for name, seed in asked if name == "full"] == [0, 1, 2]


def test_a_reference_is_run_without_training(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_training(monkeypatch)
    arm = reference.TfIdf(campaign.setting)
    run = campaign.run_arm("tfidf", arm, 0, CPU)
    assert run.path(campaign.checkout.runs).exists()


# --- keeping ------------------------------------------------------------------------------------


def test_keep_copies_clean_records_whole(done: Campaign) -> None:
    runs, results = done.checkout.runs, done.checkout.results
    copied = done.keep()
    assert records(results) == records(runs)
    assert len(copied) == len(records(runs))
    for path in copied:
        source = runs / path.relative_to(results)
        for suffix in (".json", ".npz"):
            assert path.with_suffix(suffix).read_bytes() == source.with_suffix(suffix).read_bytes()
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds == {".json", ".npz"}, "weights stay where they are"


def test_keep_refuses_records_of_a_changed_tree(done: Campaign) -> None:
    dirty = load_all(done.checkout.runs, "play", "room")["full"][0].made_by | {"dirty": True}
    rewrite(done.checkout.runs, "full", made_by=dirty)
    with pytest.raises(UserError, match=r"1 .*full.* made from a changed tree; commit") as caught:
        done.keep()
    assert "\n" not in str(caught.value)
    assert not done.checkout.results.exists()


def test_records_made_in_a_changed_repository_are_dirty(campaign: Campaign, tmp_path: Path) -> None:
    toy_checkout.commit(tmp_path)
    arm = reference.TfIdf(campaign.setting)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "note").touch()
    campaign.checkout.results.mkdir()
    (campaign.checkout.results / "note").touch()
    assert campaign.run_arm("tfidf", arm, 0, CPU).made_by["dirty"] is False
    (tmp_path / "change").touch()
    assert campaign.run_arm("tfidf", arm, 0, CPU).made_by["dirty"] is True


def test_keep_without_records_says_to_run_first(campaign: Campaign) -> None:
    with pytest.raises(UserError, match=r"no record of play in room below .*; run it first"):
        campaign.keep()


# --- differences from what is kept --------------------------------------------------------------


def line(campaign: Campaign, name: str) -> str:
    return next(x for x in campaign.difference() if x.startswith(f"{name} (seed 0)"))


def test_the_difference_from_kept_records_is_told(done: Campaign) -> None:
    assert "no kept record" in line(done, "full")
    done.keep()
    results = done.checkout.results
    assert "the same result as the kept record" in line(done, "full")
    assert not any(x.startswith("grid/") for x in done.difference())

    found = load_all(results, "play", "room")
    ours, other = found["full"][0], found["tfidf"][0]
    rewrite(results, "full", result=other.result, predictions=other.predictions)
    fresh, kept = (r.result["splits"][ID]["macro_f1"] for r in (ours, other))
    assert f"macro-F1 {fresh:.4f}, kept {kept:.4f}, difference {fresh - kept:+.4f}" in line(
        done, "full"
    )
    rewrite(results, "full", made_by=other.made_by | {"fingerprint": "another"})
    assert "the kept record read other texts" in line(done, "full")
