"""A study in a setting: its rates, its records, what is kept of them."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import toy
import toy_checkout
from invented_records import record

from lowrank_da import reference, train
from lowrank_da.campaign import Campaign
from lowrank_da.corpus import CACHE_VARIABLE, ID, SELECT
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.machine import Machine
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.run import Run, load_all, score
from lowrank_da.study import Arm, Checkout
from lowrank_da.train import Cell

CPU = Machine.choose("cpu", "fp32")


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


def rate(arms: dict[str, Any]) -> float:
    return float(arms["full"].learning_rate)


def refuse_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(train, "_train", refuse)


def rewrite(folder: Path, name: str, **changes: Any) -> Run:
    """A record below `folder` saved with other contents."""
    run = dataclasses.replace(load_all(folder, "play", "room")[name][0], **changes)
    run.save(folder)
    return run


# --- what is to run ------------------------------------------------------------------------------


def test_arms_and_trials_are_known_before_anything_runs(campaign: Campaign) -> None:
    assert list(campaign.untuned_arms()) == toy_checkout.ARMS
    assert campaign.known_rates() == {}
    assert campaign.dependencies() == {
        name: (() if name == "tfidf" else ("full",)) for name in toy_checkout.ARMS
    }
    assert campaign.seeds == (0, 1)
    cells = campaign.trial_cells()["full"]
    assert [cell.name for cell in cells] == toy_checkout.TRIALS
    assert all(cell.select_only and cell.seed == 0 for cell in cells)


# --- learning rates -----------------------------------------------------------------------------


def test_the_rate_that_is_best_on_select_is_taken(campaign: Campaign) -> None:
    assert rate(campaign.tuned_arms(CPU)) == 0.02
    assert campaign.known_rates() == {"full": 0.02}
    found = load_all(campaign.checkout.runs, "play", "room")
    f1 = [found[name][0].result["splits"][SELECT]["macro_f1"] for name in toy_checkout.TRIALS]
    assert f1[0] < f1[1]


def test_kept_trials_are_read_and_not_run(done: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    done.checkout.results.parent.mkdir(exist_ok=True)
    done.checkout.runs.rename(done.checkout.results)
    refuse_training(monkeypatch)
    assert rate(done.tuned_arms(CPU)) == 0.02
    assert records(done.checkout.runs) == [(name, 0) for name in toy_checkout.TRIALS]


def test_trials_are_kept_all_or_run_anew(done: Campaign) -> None:
    results = done.checkout.results
    done.checkout.runs.rename(results)
    rewrite(results, toy_checkout.TRIALS[1], key="0123456789abcdef")
    assert rate(done.tuned_arms(CPU)) == 0.02
    found = load_all(done.checkout.runs, "play", "room")
    for name in toy_checkout.TRIALS:
        assert found[name][0].made_by["commit"] is None, "made here, outside any repository"


@pytest.fixture
def three(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """A grid of three rates, whose best stands at an end."""
    small = dataclasses.replace(campaign.setting, train_texts=8)
    rates = (1e-3, 2e-3, 4e-3)
    grid = {"full": tuple(toy.experiment(setting=small, learning_rate=rate) for rate in rates)}
    monkeypatch.setattr(campaign.study, "trials", lambda setting: grid)
    return campaign


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (2e-3, (1e-3, 2e-3, 4e-3)),
        (1.6e-2, (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)),
        (5e-4, (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)),
        (1.0, (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)),
    ],
)
def test_a_grid_goes_on_beyond_the_end_where_its_best_rate_stands(
    three: Campaign, peak: float, tried: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step after the other, until the best is inside, or four are added."""
    trained: list[float] = []

    def fake(cells: list[Cell], folder: Path, *_: object) -> list[Run]:
        runs = [peaked(cell, peak) for cell in cells]
        trained.extend(run.experiment["learning_rate"] for run in runs if not there(run, folder))
        for run in runs:
            run.save(folder)
        return runs

    monkeypatch.setattr(train, "run", fake)
    best = min(tried, key=lambda rate: abs(np.log(rate / peak)))
    assert rate(three.tuned_arms(CPU)) == best
    assert sorted(trained) == pytest.approx(tried)
    assert [one.experiment.learning_rate for one in three.asked_trials()["full"]] == sorted(trained)
    assert three.known_rates() == {"full": best}
    assert rate(three.tuned_arms(CPU)) == best
    assert len(trained) == len(tried), "what is there is not trained again"
    names = [name for name, _, _ in three.expected() if "/" in name]
    assert names == [f"grid/full--lr{rate:.1e}" for rate in tried]
    three.checkout.runs.rename(three.checkout.results)
    assert rate(three.tuned_arms(CPU)) == best
    assert len(trained) == len(tried), "nor what is kept"
    assert len(records(three.checkout.runs)) == len(tried)


def there(run: Run, folder: Path) -> bool:
    return run.path(folder).exists()


def peaked(cell: Cell, peak: float) -> Run:
    """A trial's record, with an error more for every doubling between its rate and the peak."""
    found = cell.experiment.learning_rate
    one = record("full", roles=(SELECT,))
    said = one.predictions[SELECT]
    answers = said.label.copy()
    answers[: round(abs(np.log2(found / peak)))] += 1
    probabilities = np.eye(len(one.labels), dtype=np.float16)[answers % len(one.labels)]
    own = dataclasses.replace(said, probabilities=probabilities)
    return dataclasses.replace(
        one,
        study=cell.study,
        setting=cell.setting,
        name=cell.name,
        key=cell.experiment.key,
        experiment=one.experiment | {"learning_rate": found},
        result=one.result | {"splits": {SELECT: score(own, one.labels, one.corpus_labels)}},
        predictions={SELECT: own},
    )


@pytest.fixture
def two(
    campaign: Campaign,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Campaign:
    """A study with two rates, and an arm that is trained with both: LP-FT."""
    rates = {"probe": (1e-9, 0.05), "full": (1e-9, 0.02)}
    tried = {"probe": LinearProbe(), "full": Full()}

    def one(setting: Setting, name: str, rate: float) -> Experiment:
        return toy.experiment(setting=setting, method=tried[name], learning_rate=rate)

    def trials(setting: Setting) -> dict[str, tuple[Experiment, ...]]:
        small = dataclasses.replace(setting, train_texts=8)
        return {name: tuple(one(small, name, r) for r in rates[name]) for name in rates}

    def arms(setting: Setting, rate: dict[str, float]) -> dict[str, Arm]:
        probe, full = (one(setting, name, rate[name]) for name in rates)
        both = dataclasses.replace(full, head_from=probe)
        centroid = reference.Centroid(setting)
        return {"probe": probe, "full": full, "lp_ft": both, "centroid": centroid}

    monkeypatch.setattr(campaign.study, "trials", trials)
    monkeypatch.setattr(campaign.study, "arms", arms)
    monkeypatch.setattr(campaign.study, "combinations", lambda setting: {})
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
    return campaign


def test_one_arm_alone_needs_its_own_trials_and_no_other(two: Campaign) -> None:
    needed = {"probe": ("probe",), "full": ("full",), "lp_ft": ("probe", "full"), "centroid": ()}
    assert two.dependencies() == needed
    two.tuned_arm("centroid", CPU)
    assert records(two.checkout.runs) == []
    arm = two.tuned_arm("probe", CPU)
    assert isinstance(arm, Experiment)
    assert arm.learning_rate == two.known_rates()["probe"]
    probes = [("grid/probe--lr1.0e-09", 0), ("grid/probe--lr5.0e-02", 0)]
    assert records(two.checkout.runs) == probes
    arm = two.tuned_arm("lp_ft", CPU)
    assert isinstance(arm, Experiment)
    assert arm == two.tuned_arms(CPU)["lp_ft"]
    fulls = [("grid/full--lr1.0e-09", 0), ("grid/full--lr2.0e-02", 0)]
    assert records(two.checkout.runs) == [*fulls, *probes]


def test_an_arm_that_was_tuned_alone_is_known_and_kept(two: Campaign) -> None:
    toy_checkout.commit(two.checkout.root)
    two.run_arm("probe", two.tuned_arm("probe", CPU), 0, CPU)
    keys = {(name, seed): key for name, seed, key in two.expected()}
    assert keys["probe", 0] == load_all(two.checkout.runs, "play", "room")["probe"][0].key
    assert keys["lp_ft", 0] is None
    copied, left = two.keep()
    assert len(copied) == 3
    assert left == []


def test_a_reference_with_chance_runs_under_every_seed(two: Campaign) -> None:
    expected = [(name, seed) for name, seed, _ in two.expected() if "/" not in name]
    assert [seed for name, seed in expected if name == "centroid"] == [0, 1]
    two.run(CPU)
    found = load_all(two.checkout.runs, "play", "room")
    first, second = found["centroid"]
    assert (first.seed, second.seed) == (0, 1)
    assert first.key == second.key
    said = (run.predictions[ID].probabilities for run in (first, second))
    assert not np.array_equal(*said)
    assert [run.seed for run in found["lp_ft"]] == [0, 1]


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


def test_two_workers_leave_the_same_records(campaign: Campaign, whole: Path) -> None:
    campaign.run(dataclasses.replace(CPU, workers=2))
    alone, by_two = (load_all(folder, "play", "room") for folder in (whole, campaign.checkout.runs))
    assert alone.keys() == by_two.keys()
    for name, runs in alone.items():
        assert [run.result for run in by_two[name]] == [run.result for run in runs], name
    assert by_two["full"][0].made_by["workers"] == 2
    assert by_two["full"][0].measured["energy_joules"] is None


def test_running_it_again_trains_nothing(done: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    before = records(done.checkout.runs)
    refuse_training(monkeypatch)
    done.run(CPU)
    assert records(done.checkout.runs) == before


def test_other_seeds_may_be_asked_for(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def remember(self: Campaign, name: str, arm: object, seed: int, machine: object) -> object:
        asked.append((name, seed))
        return SimpleNamespace

    monkeypatch.setattr(Campaign, "_job", remember)
    arms = campaign.study.arms(campaign.setting, {"full": 0.02})
    monkeypatch.setattr(Campaign, "tuned_arms", lambda *_: arms)
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
    assert campaign.run_arm("tfidf", arm, 0, CPU).measured == run.measured


# --- keeping ------------------------------------------------------------------------------------


def test_keep_copies_clean_records_whole(done: Campaign) -> None:
    runs, results = done.checkout.runs, done.checkout.results
    copied, left = done.keep()
    assert left == []
    assert records(results) == records(runs)
    assert len(copied) == len(records(runs))
    for path in copied:
        source = runs / path.relative_to(results)
        for suffix in (".json", ".npz"):
            assert path.with_suffix(suffix).read_bytes() == source.with_suffix(suffix).read_bytes()
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds == {".json", ".npz"}, "weights stay where they are"


def test_keeping_again_changes_nothing(done: Campaign) -> None:
    done.keep()
    before = {p: p.read_bytes() for p in done.checkout.results.rglob("*") if p.is_file()}
    later = load_all(done.checkout.runs, "play", "room")["full"][0].made_by | {"date": "later"}
    rewrite(done.checkout.runs, "full", made_by=later)
    assert done.keep() == ([], [])
    assert all(path.read_bytes() == content for path, content in before.items())


def test_seeds_beyond_the_studys_are_kept_too(
    done: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(done.study, "SEEDS", {"room": (0,)})
    _, left = done.keep()
    assert left == []
    assert ("full", 1) in records(done.checkout.results)


def test_keep_leaves_records_of_a_changed_tree_or_another_experiment(done: Campaign) -> None:
    dirty = load_all(done.checkout.runs, "play", "room")["full"][0].made_by | {"dirty": True}
    rewrite(done.checkout.runs, "full", made_by=dirty)
    rewrite(done.checkout.runs, "owl_vs_human", key="0123456789abcdef")
    _, left = done.keep()
    assert left == [
        "full (seed 0): made from a changed tree",
        "owl_vs_human (seed 0): of another experiment",
    ]
    kept = records(done.checkout.results)
    assert ("full", 0) not in kept
    assert ("owl_vs_human", 0) not in kept
    assert {("full", 1), ("tfidf", 0), ("binaries_coupled", 0)} <= set(kept)


def test_keep_refuses_where_nothing_is_clean(done: Campaign) -> None:
    for name, runs in load_all(done.checkout.runs, "play", "room").items():
        for run in runs:
            dirty = dataclasses.replace(run, made_by=run.made_by | {"dirty": True})
            dirty.save(done.checkout.runs)
            assert name == run.name
    with pytest.raises(UserError, match=r"made from a changed tree\); commit") as caught:
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
    clean = campaign.run_arm("tfidf", arm, 0, CPU)
    assert clean.made_by["dirty"] is False
    clean.path(campaign.checkout.runs).unlink()
    (tmp_path / "change").touch()
    assert campaign.run_arm("tfidf", arm, 0, CPU).made_by["dirty"] is True


def test_keep_without_records_says_to_run_first(campaign: Campaign) -> None:
    with pytest.raises(
        UserError, match=r"nothing of play in room to keep below .*commit, and run it"
    ):
        campaign.keep()


# --- differences from what is kept --------------------------------------------------------------


def line(campaign: Campaign, name: str) -> str:
    return next(x for x in campaign.difference() if x.startswith(f"{name} (seed 0)"))


def test_the_difference_from_kept_records_is_told(done: Campaign) -> None:
    assert "there is none" in line(done, "full")
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


def test_a_setting_without_seeds_is_told(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.study, "SEEDS", {})
    with pytest.raises(UserError, match="names no seeds for setting room; add it to SEEDS"):
        _ = campaign.seeds


def test_status_tells_kept_fresh_foreign_and_missing(done: Campaign) -> None:
    lines = done.status()
    assert len(lines) == 2 + 1 + 4 * 2
    assert "full (seed 1): fresh" in lines
    done.keep()
    rewrite(done.checkout.runs, "tfidf", key="0123456789abcdef")
    done.checkout.results.joinpath("play/room/full--seed1.json").unlink()
    done.checkout.runs.joinpath("play/room/full--seed1.json").unlink()
    lines = done.status()
    assert "full (seed 0): kept; fresh" in lines
    assert "full (seed 1): missing" in lines
    assert "tfidf (seed 0): kept; fresh, but of another experiment" in lines
