"""Where studies and settings are found."""

from pathlib import Path

import pytest
import toy_checkout

from lowrank_da.campaign import Campaign
from lowrank_da.errors import UserError
from lowrank_da.study import Checkout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return toy_checkout.make(tmp_path, monkeypatch)


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
