"""Generated blocks and pictures of the pages are never stale."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from invented_records import record, save, study

from experiments.benchmarks import targets, timing
from experiments.benchmarks.timing import Record
from lowrank_da.errors import UserError
from paper import pages, speed

ROOT = Path(__file__).parents[2]
OPEN, CLOSE = "<!-- generated:thesis/outfox/{} -->", "<!-- /generated -->"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(study(seeds=(0,)), tmp_path_factory.mktemp("kept"))


def page(*ids: str) -> str:
    return "# Title\n" + "".join(f"{OPEN.format(id)}\nold\n{CLOSE}\ntext\n" for id in ids)


def test_blocks_are_filled_and_the_rest_is_kept(kept: Path) -> None:
    text = page("comparisons", "cost")
    assert pages.stale(text, kept) == ["thesis/outfox/comparisons", "thesis/outfox/cost"]
    fresh = pages.refresh(text, kept)
    assert pages.stale(fresh, kept) == []
    assert pages.refresh(fresh, kept) == fresh
    assert "old" not in fresh
    assert fresh.startswith("# Title\n<!-- generated:thesis/outfox/comparisons -->\n")
    assert fresh.endswith("<!-- /generated -->\ntext\n")
    assert "| lora | full |" in fresh


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    for setting, away in (("without_arxiv", "ood/arxiv"), ("without_xsum", "ood/xsum")):
        for name in ("full", "lp_ft"):
            own = record(name, corpus_labels=("machine", "human"), roles=("select", "id", away))
            replace(own, study="lp_ft", setting=setting).save(tmp_path)
    return tmp_path


def test_a_table_over_settings_has_a_block_of_its_own(domains: Path) -> None:
    found = pages.block("lp_ft/across", domains)
    assert "means over the settings without_arxiv, without_xsum" in found
    with pytest.raises(UserError, match="lp_ft/across_collections: no such table"):
        pages.block("lp_ft/across_collections", domains)


def test_pictures_that_a_page_shows_are_drawn_with_the_same_bytes(domains: Path) -> None:
    names = ("lp_ft/elsewhere", "lp_ft/without_xsum/elsewhere")
    text = "".join(
        f"![x]({folder}results/{name}.svg)\n"
        for name, folder in zip(names, ("experiments/", ""), strict=True)
    )
    first = pages.draw(f"![x](experiments/results/benchmarks/speed.svg)\n{text}", domains, domains)
    assert first == [domains / f"{name}.svg" for name in names]
    bytes_of = [path.read_bytes() for path in first]
    assert b">without_arxiv: at home<" in bytes_of[0]
    assert b">xsum<" in bytes_of[1]
    assert b"arxiv" not in bytes_of[1]
    again = pages.draw(text, domains, domains / "again")
    assert [path.read_bytes() for path in again] == bytes_of
    with pytest.raises(UserError, match=r"lp_ft/places.svg\): the records make no such figure"):
        pages.draw("![x](experiments/results/lp_ft/places.svg)", domains, domains)


def test_a_changed_number_is_stale(kept: Path) -> None:
    fresh = pages.refresh(page("comparisons"), kept)
    digit = fresh.index("| lora | full | ") + len("| lora | full | ") + 3
    changed = fresh[:digit] + str((int(fresh[digit]) + 1) % 10) + fresh[digit + 1 :]
    assert pages.stale(changed, kept) == ["thesis/outfox/comparisons"]


def test_bad_blocks_are_refused(kept: Path) -> None:
    with pytest.raises(UserError, match="not closed"):
        pages.refresh(page("cost").replace(CLOSE, ""), kept)
    with pytest.raises(UserError, match="STUDY/SETTING/TABLE"):
        pages.refresh(f"<!-- generated:cost -->\n{CLOSE}\n", kept)
    with pytest.raises(UserError, match="unknown table"):
        pages.refresh(page("price"), kept)
    with pytest.raises(UserError, match="the records make no such table"):
        pages.refresh(page("main_effects"), kept)
    with pytest.raises(UserError, match="no benchmark of size full"):
        pages.block("benchmarks/targets", kept)


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_a_page_is_fresh(page: Path) -> None:
    text = page.read_text()
    assert pages.BLOCK.search(text)
    assert pages.stale(text) == []


NUMBER = re.compile(r"-?\d+\.\d+")


def test_the_pictures_of_the_pages_are_fresh(tmp_path: Path) -> None:
    drawn = [path for page in pages.PAGES for path in pages.draw(page.read_text(), out=tmp_path)]
    assert drawn
    for path in drawn:
        fresh, shown = (one.read_text() for one in (path, pages.KEPT / path.relative_to(tmp_path)))
        assert NUMBER.sub("x", fresh) == NUMBER.sub("x", shown), path
        # In points of a page: another processor may round the last digit otherwise.
        places = [[float(x) for x in NUMBER.findall(text)] for text in (fresh, shown)]
        np.testing.assert_allclose(*places, atol=0.1)


def measured(**seconds: float) -> Record:
    """A benchmark in which each contestant took so long for a thousand tokens, give or take 5 %."""
    rounds = (0.95, 1.0, 1.05)
    several = {
        f"{method}/{case}": [{"seconds": s * r, "tokens": 1000, "flops": 2e9} for r in rounds]
        for case, s in seconds.items()
        for method in speed.METHODS
    }
    versions = {"torch": "2.13.0"}
    made_by = {"commit": "0123456789", "dirty": False, "hardware": {"processor": "abacus"}}
    made_by |= {"device": "cpu", "threads": 2, "precision": "bf16-mixed", "versions": versions}
    return Record(
        benchmark="peers",
        size="full",
        rows=(
            timing.ratio(
                "b / ours", several["full/library_tuned"], several["full/ours"], target=">= 1.4"
            ),
        ),
        measurements=several,
        made_by=made_by,
        peak_flops_per_second=1e10,
    )


def steps(record: Record) -> Record:
    """A benchmark `scaling` in which every series has three points, near their limit."""
    points = {
        f"{what}/{n}": [{"seconds": n * r, "tokens": 100, "flops": 0.8 * n * 1e10} for r in (1, 2)]
        for what in speed.SERIES
        for n in (1, 2, 16)
    }
    return replace(record, benchmark="scaling", measurements=points)


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    record = measured(ours=1.0, ours_dropout=1.25, library_tuned=2.0, library_defaults=4.0)
    record.save(tmp_path / pages.BENCHMARKS)
    steps(record).save(tmp_path / pages.BENCHMARKS)
    return tmp_path


def test_the_block_of_targets_is_the_table_of_all(benchmarks: Path) -> None:
    block = pages.block("benchmarks/targets", benchmarks)
    found = targets.records(benchmarks / pages.BENCHMARKS, "full")
    assert block == targets.table(found) + "\n"
    assert "| b / ours | >= 1.4 | 2.00 [2.00, 2.00] |" in block


def test_the_pictures_and_the_report_are_written_with_the_same_bytes(benchmarks: Path) -> None:
    folder = benchmarks / pages.BENCHMARKS
    first = {path.name: path.read_bytes() for path in speed.write(folder)}
    assert set(first) == {"speed.svg", "scaling.svg", "README.md"}
    assert {path.name: path.read_bytes() for path in speed.write(folder)} == first
    bars, growth, report = (first[n].decode() for n in ("speed.svg", "scaling.svg", "README.md"))
    for label, _ in speed.CONTESTANTS.values():
        assert bars.count(label + "<") == len(speed.METHODS)
    for number in ("1,000", "800", "500", "250", "limit 5,000"):
        assert f">{number}<" in bars or f"> {number}<" in bars, number
    for label in speed.SERIES.values():
        assert f">{label}<" in growth
    assert report.index("## peers, cpu") < report.index("speed.svg") < report.index("## scaling")
    assert timing.markdown(Record.load(folder / "peers-full-cpu.json")) in report


def test_the_report_on_speed_is_fresh() -> None:
    kept = pages.KEPT / pages.BENCHMARKS
    assert (kept / "README.md").read_text() == speed.report(kept)


def test_kept_benchmarks_were_measured_on_clean_trees() -> None:
    for path in (pages.KEPT / pages.BENCHMARKS).glob("*.json"):
        assert Record.load(path).made_by["dirty"] is False, path
