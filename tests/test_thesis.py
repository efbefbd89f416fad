"""The study of the thesis: its arms, its grid, and the records kept of it."""

from dataclasses import replace

import pytest

from experiments import outfox_gap, settings, thesis
from lowrank_da.backbone import DISTILROBERTA, MINILM
from lowrank_da.campaign import Campaign
from lowrank_da.corpus import SELECT
from lowrank_da.experiment import Experiment
from lowrank_da.run import Run, load_all
from lowrank_da.study import Checkout, trial_name
from paper.parameters import THESIS_LORA
from paper.published import published

CHECKOUT = Checkout.here()
KEPT = sorted(p.name for p in (CHECKOUT.results / "thesis").glob("*") if p.is_dir())


def kept_trials(setting: str) -> dict[str, dict[float, Run]]:
    """The kept trials of a setting, by arm and learning rate."""
    campaign = Campaign(CHECKOUT, "thesis", setting)
    return {
        arm: {
            run.experiment["learning_rate"]: run
            for run in campaign.trials_in(CHECKOUT.results, cells) or ()
        }
        for arm, cells in campaign.trial_cells().items()
    }


def test_the_embedded_default_has_its_rates() -> None:
    trials = kept_trials("embedded")
    assert {arm: tuple(runs) for arm, runs in trials.items()} == thesis.RATES


@pytest.mark.parametrize("setting", KEPT)
def test_both_arms_were_tried_equally_often_and_no_best_rate_is_at_the_end(setting: str) -> None:
    trials = kept_trials(setting)
    assert len({len(runs) for runs in trials.values()}) == 1
    for arm, runs in trials.items():
        best = max(runs, key=lambda rate: runs[rate].result["splits"][SELECT]["macro_f1"])
        assert min(runs) < best < max(runs), f"{arm} in {setting}: {best} is at the grid's end"


@pytest.mark.parametrize("setting", KEPT)
def test_kept_records_are_clean_and_trials_hold_select_alone(setting: str) -> None:
    kept = load_all(CHECKOUT.results, "thesis", setting)
    runs = [run for several in kept.values() for run in several]
    assert runs
    for run in runs:
        assert run.made_by["dirty"] is False
        assert len(run.made_by["commit"]) == 40
        if run.name.startswith("grid/"):
            assert set(run.result["splits"]) == {SELECT}


@pytest.mark.parametrize("name", ["embedded", "outfox", "thesis", "tiny"])
def test_the_same_arms_stand_in_every_setting(name: str) -> None:
    setting = CHECKOUT.setting(name)
    arms = thesis.arms(setting, {"full": 1e-4, "lora": 1e-3})
    machines = [label for label in setting.corpus.labels if label != setting.corpus.human]
    expected = ["tfidf", "full", "lora_published", "lora"]
    assert list(arms) == expected + [f"{label.lower()}_vs_human" for label in machines]
    assert thesis.combinations(setting).keys() == {"average", "coupled"}
    full, published_lora, lora = (arms[n] for n in expected[1:])
    assert isinstance(full, Experiment)
    assert isinstance(published_lora, Experiment)
    assert isinstance(lora, Experiment)
    assert published_lora.learning_rate == full.learning_rate
    for label in machines:
        binary = arms[f"{label.lower()}_vs_human"]
        assert isinstance(binary, Experiment)
        assert binary.classes == (label, setting.corpus.human)
        assert replace(binary, labels=()) == lora


def test_the_published_arm_is_what_the_parameter_count_gives_away() -> None:
    counted = published()["thesis"]["lora_parameters"]["trainable"]
    head = DISTILROBERTA.head_parameters(4)
    for lora in (thesis.PUBLISHED, THESIS_LORA):
        assert lora.added_parameters(DISTILROBERTA) + head == counted


@pytest.mark.parametrize("backbone", [DISTILROBERTA, MINILM])
def test_tuned_lora_adds_under_one_and_a_half_per_cent(backbone) -> None:  # type: ignore[no-untyped-def]
    assert thesis.TUNED.rank <= 8
    assert thesis.TUNED.added_parameters(backbone) < 0.015 * backbone.body_parameters


def test_trial_names_tell_the_rate() -> None:
    assert trial_name("full", 2e-4) == "grid/full--lr2.0e-04"
    assert settings.tiny.train_texts is not None
    trials = thesis.trials(settings.tiny)
    assert all(e.setting.train_texts == 40 for several in trials.values() for e in several)


def test_the_gap_on_outfox_is_measured_at_the_rate_that_was_found() -> None:
    found = Campaign(CHECKOUT, "thesis", "outfox").known_rates()
    assert found is not None
    assert found["full"] == outfox_gap.RATE
