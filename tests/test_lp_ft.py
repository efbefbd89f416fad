"""The study of probing before fine-tuning: what its arms share, and in what they differ."""

from dataclasses import replace

import pytest

from experiments import lp_ft
from lowrank_da.campaign import Campaign
from lowrank_da.experiment import Experiment
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.study import Checkout

RATE = {"full": 1e-4, "linear_probe": 4e-3, "lora": 2e-3, "lp_ft": 5e-5, "lp_lora": 1e-3}


@pytest.fixture(scope="module")
def arms() -> dict[str, Experiment]:
    setting = Checkout.here().setting("tiny")
    found = lp_ft.arms(setting, RATE)
    assert all(isinstance(arm, Experiment) for arm in found.values())
    return {name: arm for name, arm in found.items() if isinstance(arm, Experiment)}


def test_those_from_a_probe_differ_from_the_others_in_the_head_and_the_rate(
    arms: dict[str, Experiment],
) -> None:
    for alone, headed in (("full", "lp_ft"), ("lora", "lp_lora")):
        assert arms[headed].head_from == arms["linear_probe"]
        same = replace(arms[headed], head_from=None, learning_rate=arms[alone].learning_rate)
        assert same == arms[alone]
        assert arms[headed].learning_rate == RATE[headed]


def test_the_control_differs_from_lp_ft_in_the_head_alone(arms: dict[str, Experiment]) -> None:
    assert replace(arms["lp_ft"], head_from=None) == arms["full_as_lp_ft"]
    assert arms["full_as_lp_ft"] == replace(arms["full"], learning_rate=RATE["lp_ft"])


def test_trials_take_their_heads_from_a_probe_on_the_same_texts() -> None:
    campaign = Campaign(Checkout.here(), "lp_ft", "tiny")
    for name in lp_ft.FROM_PROBE:
        for cell in campaign.trial_cells()[name]:
            head = cell.experiment.head_from
            assert head is not None
            assert isinstance(head.method, LinearProbe)
            assert head.setting == cell.experiment.setting
    assert campaign.dependencies()["full_as_lp_ft"] == ("lp_ft",)
