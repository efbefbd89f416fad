"""Generated blocks of the README are never stale."""

from pathlib import Path

import pytest
from invented_records import save, study

from lowrank_da.errors import UserError
from paper import readme

ROOT = Path(__file__).parents[2]
OPEN, CLOSE = "<!-- generated:thesis/outfox/{} -->", "<!-- /generated -->"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(study(seeds=(0,)), tmp_path_factory.mktemp("kept"))


def page(*ids: str) -> str:
    return "# Title\n" + "".join(f"{OPEN.format(id)}\nold\n{CLOSE}\ntext\n" for id in ids)


def test_blocks_are_filled_and_the_rest_is_kept(kept: Path) -> None:
    text = page("comparisons", "cost")
    assert readme.stale(text, kept) == ["thesis/outfox/comparisons", "thesis/outfox/cost"]
    fresh = readme.refresh(text, kept)
    assert readme.stale(fresh, kept) == []
    assert readme.refresh(fresh, kept) == fresh
    assert "old" not in fresh
    assert fresh.startswith("# Title\n<!-- generated:thesis/outfox/comparisons -->\n")
    assert fresh.endswith("<!-- /generated -->\ntext\n")
    assert "| lora | full |" in fresh


def test_a_changed_number_is_stale(kept: Path) -> None:
    fresh = readme.refresh(page("comparisons"), kept)
    digit = fresh.index("| lora | full | ") + len("| lora | full | ") + 3
    changed = fresh[:digit] + str((int(fresh[digit]) + 1) % 10) + fresh[digit + 1 :]
    assert readme.stale(changed, kept) == ["thesis/outfox/comparisons"]


def test_bad_blocks_are_refused(kept: Path) -> None:
    with pytest.raises(UserError, match="not closed"):
        readme.refresh(page("cost").replace(CLOSE, ""), kept)
    with pytest.raises(UserError, match="STUDY/SETTING/TABLE"):
        readme.refresh(f"<!-- generated:cost -->\n{CLOSE}\n", kept)
    with pytest.raises(UserError, match="unknown table"):
        readme.refresh(page("price"), kept)


def test_the_readme_is_fresh() -> None:
    assert readme.stale((ROOT / "README.md").read_text()) == []
