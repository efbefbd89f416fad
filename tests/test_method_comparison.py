"""The study of all methods: which arms it has, what each depends on, and its tables."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import invented_records
import numpy as np
import pytest
import toy
from invented_records import LABELS, record
from sklearn.metrics import f1_score

import lowrank_da.methods
from experiments import method_comparison, thesis
from lowrank_da import discover
from lowrank_da.campaign import Campaign
from lowrank_da.corpus import ID
from lowrank_da.experiment import Experiment, canonical
from lowrank_da.machine import Machine
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.reference import Centroid, TfIdf, ZeroShot
from lowrank_da.run import TRIAL, Run
from lowrank_da.study import Checkout
from paper import arms as paper_arms
from paper.table import SettingFacts, find, tables
from paper.tables.summary import majority_macro_f1

CHECKOUT = Checkout.here()
METHODS = discover.names(lowrank_da.methods.__name__)
REFERENCES = ["tfidf", "tfidf_cut", "zero_shot", "centroid_1", "centroid_4", "centroid_16"]
FACTS = SettingFacts("outfox", "outfox", "minilm", LABELS)
CAMPAIGN = Campaign(CHECKOUT, "method_comparison", "embedded")


# --- the study ----------------------------------------------------------------------------------


def test_every_method_found_is_an_arm_with_trials_over_its_rates() -> None:
    assert list(CAMPAIGN.untuned_arms()) == [*REFERENCES, *METHODS, "lp_ft"]
    trials = method_comparison.trials(CAMPAIGN.setting)
    assert list(trials) == [*METHODS, "lp_ft"]
    for name, one in method_comparison.methods().items():
        assert tuple(e.learning_rate for e in trials[name]) == one.rates
        assert {e.method for e in trials[name]} == {one}
        assert {e.setting.train_texts for e in trials[name]} == {thesis.TRIAL_TEXTS}


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One more file in the folder of methods."""
    name = "a_method_that_is_new"
    (tmp_path / f"{name}.py").write_text(
        "from dataclasses import dataclass\n"
        "from lowrank_da.methods.linear_probe import LinearProbe\n"
        "@dataclass(frozen=True)\n"
        "class New(LinearProbe):\n"
        "    rates = (0.1, 0.2)\n"
    )
    path = [*lowrank_da.methods.__path__, str(tmp_path)]
    monkeypatch.setattr(lowrank_da.methods, "__path__", path)
    yield name
    sys.modules.pop(f"{lowrank_da.methods.__name__}.{name}", None)


def test_a_new_file_is_one_more_arm(newcomer: str) -> None:
    setting = CAMPAIGN.setting
    trials = method_comparison.trials(setting)
    assert [e.learning_rate for e in trials[newcomer]] == [0.1, 0.2]
    arm = method_comparison.arms(setting, dict.fromkeys(trials, 0.5))[newcomer]
    assert isinstance(arm, Experiment)
    assert arm.method.name == newcomer


def test_a_methods_defaults_are_not_in_its_key() -> None:
    for name, one in method_comparison.methods().items():
        assert canonical(one) == {"is": name}


def test_its_trials_of_full_and_lora_are_those_of_the_thesis() -> None:
    ours, theirs = (study.trials(CAMPAIGN.setting) for study in (method_comparison, thesis))
    for name in ("full", "lora"):
        assert [e.key for e in ours[name]] == [e.key for e in theirs[name]]


def test_lp_ft_takes_its_head_from_the_probe_at_the_probes_rate() -> None:
    needed = CAMPAIGN.dependencies()
    assert needed["lp_ft"] == ("linear_probe", "lp_ft")
    assert all(needed[name] == (name,) for name in METHODS)
    assert all(needed[name] == () for name in REFERENCES)
    rates = dict.fromkeys(needed, 1e-3) | {"linear_probe": 7e-3, "lp_ft": 3e-5}
    arms = method_comparison.arms(CAMPAIGN.setting, rates)
    lp_ft = arms["lp_ft"]
    assert isinstance(lp_ft, Experiment)
    assert (lp_ft.method, lp_ft.learning_rate) == (Full(), 3e-5)
    assert lp_ft.head_from == arms["linear_probe"]
    for trial, rate in zip(CAMPAIGN.trial_cells()["lp_ft"], Full.rates, strict=True):
        assert trial.experiment.learning_rate == rate
        head = trial.experiment.head_from
        assert head is not None
        assert head.method == LinearProbe()
        assert min(LinearProbe.rates) < head.learning_rate < max(LinearProbe.rates)


@pytest.mark.parametrize("name", list(CHECKOUT.settings()))
def test_all_arms_are_cut_alike_and_leave_room_for_virtual_tokens(name: str) -> None:
    setting = CHECKOUT.setting(name)
    rates = dict.fromkeys(method_comparison.trials(setting), 1e-3)
    arms = method_comparison.arms(setting, rates)
    (same,) = {arm.setting for arm in arms.values()}
    most = max(m.virtual_tokens for m in method_comparison.methods().values())
    assert most > 0
    assert same.max_tokens == min(setting.max_tokens, setting.backbone.max_tokens - most)
    assert replace(same, max_tokens=setting.max_tokens) == setting


def test_the_references_and_their_shots() -> None:
    arms = CAMPAIGN.untuned_arms()
    kinds = {name: type(arms[name]) for name in REFERENCES}
    assert list(kinds.values()) == [TfIdf, TfIdf, ZeroShot, Centroid, Centroid, Centroid]
    shots = [arm.shots for arm in arms.values() if isinstance(arm, Centroid)]
    assert tuple(shots) == method_comparison.SHOTS == (1, 4, 16)
    bare = toy.setting()
    rates = dict.fromkeys(method_comparison.trials(bare), 1e-3)
    assert "zero_shot" not in method_comparison.arms(bare, rates)


@pytest.mark.parametrize("name", ["lp_ft", "both", "centroid_4"])
def test_an_arm_runs_on_another_corpus(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = toy.setting(epochs=1)
    rates = dict.fromkeys(method_comparison.trials(setting), 1e-3)
    arm = method_comparison.arms(setting, rates)[name]
    here = Campaign(CHECKOUT, "method_comparison", "tiny")
    monkeypatch.setattr(here.checkout, "runs", tmp_path)
    monkeypatch.setenv("LOWRANK_DA_CACHE", str(tmp_path / "cache"))
    run = here.run_arm(name, arm, 0, Machine.choose("cpu", "fp32"))
    assert run.key == arm.key
    assert run.labels == toy.Toy.labels


# --- its tables ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    """Some arms, a training that another started from, a trial, and one binary."""
    made = {
        "full": [record("full", seed, skill=3.0) for seed in (0, 1)],
        "adapter": [record("adapter", seed, skill=2.0) for seed in (0, 1)],
        "centroid_1": [record("centroid_1", skill=0.1)],
        "lp_ft": [record("lp_ft", skill=3.5)],
        "lp_ft.head": [record("lp_ft.head", roles=("select",))],
        "davinci_vs_human": [record("davinci_vs_human", labels=("davinci", "human"))],
    }
    for name in ("grid/lp_ft--lr1.0e-04", "grid/lp_ft--lr2.0e-04"):
        for ending in ("", ".head"):
            rate = float(name.partition("--lr")[2])
            run = record(name + ending, roles=("select",), learning_rate=rate)
            made[name + ending] = [run]
    return made


def cells(id: str, runs: dict[str, list[Run]]) -> list[dict[str, str]]:
    """The rows of a table, each by column."""
    body = find(id).build(runs, FACTS, "en").body
    rows = [row for group in body.groups for row in group]
    return [dict(zip(body.header, row, strict=True)) for row in rows]


def test_arms_are_found_without_trials_and_heads(runs: dict[str, list[Run]]) -> None:
    assert paper_arms.found(runs) == ("adapter", "centroid_1", "davinci_vs_human", "full", "lp_ft")
    names = [cell.name for several in CAMPAIGN.trial_cells().values() for cell in several]
    assert all(name.startswith(TRIAL) for name in names)


def test_the_thesis_and_other_studies_have_tables_of_their_own(runs: dict[str, list[Run]]) -> None:
    ours, theirs = {"arms", "against_full"}, {"summary", "comparisons"}
    own = ours | theirs
    assert {t.id for t in tables() if t.id in own and t.applies(runs)} == ours
    records = invented_records.study(seeds=(0,))
    assert {t.id for t in tables() if t.id in own and t.applies(records)} == theirs


def test_every_arm_is_a_row_the_best_first_binaries_below(runs: dict[str, list[Run]]) -> None:
    rows = cells("arms", runs)
    expected = ["lp_ft", "full", "adapter", "centroid_1", "davinci_vs_human"]
    assert [row["arm"] for row in rows] == expected
    assert "±" in rows[1]["macro-F1"]
    assert "±" not in rows[0]["macro-F1"]
    assert rows[3]["above chance (1/k)"] == "no (0.250)"
    assert rows[4]["classes"] == "2"


def test_a_column_is_there_when_a_record_fills_it(runs: dict[str, list[Run]]) -> None:
    (row,) = (row for row in cells("arms", runs) if row["arm"] == "adapter")
    assert not {"share of the limit", "peak memory, GiB", "checkpoint, MB"} & row.keys()
    measured = {
        "share_of_peak": 0.625,
        "peak_memory_bytes": 3 * 2**29,
        "checkpoint_bytes": 12_345_678,
    }
    more = [replace(run, measured=run.measured | measured) for run in runs["adapter"]]
    by_name = {row["arm"]: row for row in cells("arms", runs | {"adapter": more})}
    row = by_name["adapter"]
    assert row["share of the limit"] == "0.62"
    assert row["peak memory, GiB"] == "1.50"
    assert row["checkpoint, MB"] == "12.3"
    assert by_name["full"]["checkpoint, MB"] == ""
    shared = [replace(run, made_by=run.made_by | {"threads": 1}) for run in more]
    rows = cells("arms", runs | {"adapter": shared, "full": more})
    assert {row["arm"]: row["share of the limit"] for row in rows}["adapter"] == ""


def test_the_majority_classifiers_f1_is_scikit_learns(runs: dict[str, list[Run]]) -> None:
    run = runs["full"][0]
    counts = [40, 5, 12, 3]
    confusion = np.diag(counts).tolist()
    splits = {ID: run.result["splits"][ID] | {"confusion_matrix": confusion}}
    uneven = replace(run, result=run.result | {"splits": splits})
    true = np.repeat(range(4), counts)
    theirs = f1_score(true, np.zeros_like(true), average="macro", zero_division=0.0)
    assert majority_macro_f1(uneven) == pytest.approx(theirs)
    by_name = {row["arm"]: row["above the majority class"] for row in cells("arms", runs)}
    assert by_name["full"] == "yes (0.100)"
    assert by_name["davinci_vs_human"] == "yes (0.333)"


def test_an_arm_that_always_names_one_class_is_not_above_it(runs: dict[str, list[Run]]) -> None:
    run = record("adapter")
    said = {role: p.probabilities * 0 for role, p in run.predictions.items()}
    for probabilities in said.values():
        probabilities[:, 0] = 1
    same = {r: replace(p, probabilities=said[r]) for r, p in run.predictions.items()}
    n = len(same[ID].uid) // len(LABELS)
    confusion = [[n, 0, 0, 0] for _ in LABELS]
    splits = {ID: run.result["splits"][ID] | {"confusion_matrix": confusion}}
    constant = replace(run, predictions=same, result=run.result | {"splits": splits})
    by_name = {row["arm"]: row for row in cells("arms", runs | {"adapter": [constant]})}
    assert by_name["adapter"]["above the majority class"] == "no (0.100)"


def test_every_arm_of_all_classes_is_held_against_full(runs: dict[str, list[Run]]) -> None:
    rows = cells("against_full", runs)
    compared = [(row["arm"], row["against"]) for row in rows]
    assert compared == [(name, "full") for name in ("adapter", "centroid_1", "lp_ft")]
    assert rows[1]["difference in macro-F1"].startswith("-")
    fewer = {name: several for name, several in runs.items() if name != "full"}
    assert not find("against_full").applies(fewer)


def test_trials_tell_their_rates_and_heads_are_no_trials(runs: dict[str, list[Run]]) -> None:
    rows = cells("learning_rates", runs)
    assert [row["learning rate"] for row in rows] == ["0.0001", "0.0002"]
