"""Where captions get their facts from when there is no record yet."""

from dataclasses import replace
from pathlib import Path

import pytest
from invented_records import LABELS, record

import experiments.settings
import experiments.thesis
from lowrank_da.errors import UserError
from paper.build import facts_of, write_all
from paper.table import MISSING, SettingFacts


def test_facts_come_from_a_record_where_there_is_one() -> None:
    facts = facts_of({"full": [record("full")]}, "thesis", "outfox")
    assert facts == SettingFacts("outfox", "outfox", "minilm", LABELS)


def test_without_any_record_all_tables_are_written_with_dashes(tmp_path: Path) -> None:
    printed = write_all(tmp_path / "none", "thesis", "thesis", "en", tmp_path / "out")
    assert "Corpus: semeval; backbone: distilroberta; no run yet." in printed
    assert f"| {MISSING} | {MISSING} | {MISSING} |" in printed
    assert "Missing runs: full." in printed
    assert (tmp_path / "out/thesis/thesis/en/confusion_lora.png").is_file()


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown setting 'outfix'; did you mean 'outfox'"):
        write_all(tmp_path / "none", "thesis", "outfix", "en", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_setting_may_be_defined_by_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.thesis, "short", experiments.settings.tiny, raising=False)
    facts = facts_of({}, "thesis", "short")
    assert facts == replace(facts_of({}, "thesis", "tiny"), setting="short")


def test_seeds_of_one_name_are_one_experiment(tmp_path: Path) -> None:
    record("full", 0).save(tmp_path)
    replace(record("full", 3), key="an older one").save(tmp_path)
    with pytest.raises(UserError, match="the seeds 0 and 3 of full are different experiments"):
        write_all(tmp_path, "thesis", "outfox", "en", tmp_path / "out")


def test_two_studies_of_one_setting_lie_apart(tmp_path: Path) -> None:
    for study, name in (("thesis", "full"), ("other", "lora")):
        replace(record(name), study=study).save(tmp_path / "runs")
        write_all(tmp_path / "runs", study, "outfox", "en", tmp_path / "out")
    one, other = (
        (tmp_path / "out" / study / "outfox/en/table_summary.md").read_text()
        for study in ("thesis", "other")
    )
    assert "| full | 4 |" in one
    assert "| lora | - |" in one
    assert "| full | - |" in other
    assert "| lora | 4 |" in other
