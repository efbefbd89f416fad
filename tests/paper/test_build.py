"""Where captions get their facts from when there is no record yet."""

from pathlib import Path

import pytest
from invented_records import LABELS, record

from lowrank_da.errors import UserError
from paper.build import facts_of, write_all
from paper.table import MISSING, SettingFacts


def test_facts_come_from_a_record_where_there_is_one() -> None:
    facts = facts_of({"full": [record("full")]}, "outfox")
    assert facts == SettingFacts("outfox", "outfox", "minilm", LABELS)


def test_without_any_record_all_tables_are_written_with_dashes(tmp_path: Path) -> None:
    printed = write_all(tmp_path / "none", "thesis", "thesis", "en", tmp_path / "out")
    assert "Corpus: semeval; backbone: distilroberta; no run yet." in printed
    assert f"| {MISSING} | {MISSING} | {MISSING} |" in printed
    assert "Missing runs: full." in printed
    assert (tmp_path / "out/thesis/en/confusion_lora.png").is_file()


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown setting 'outfix'; did you mean 'outfox'"):
        write_all(tmp_path / "none", "thesis", "outfix", "en", tmp_path / "out")
    assert not (tmp_path / "out").exists()
