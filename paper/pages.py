"""Tables and pictures inside the pages and the report on speed, generated from kept records.

A block of a page opens with `<!-- generated:STUDY/SETTING/TABLE -->` (`STUDY/TABLE` for a table
over a study's settings, `benchmarks/targets` for that of the benchmarks' targets) and closes with
`<!-- /generated -->`. A picture is `results/STUDY/FIGURE.svg`, over a study's settings, or
`results/STUDY/SETTING/FIGURE.svg`. `python -m paper.pages` writes all of it anew; a test fails when
a page's blocks, its pictures or the report are stale.
"""

import re
import sys
from pathlib import Path

from experiments.benchmarks import targets
from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from lowrank_da.study import Checkout
from paper import build, speed, table
from paper.figure import save
from paper.table import Records

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results"
PAGES = (ROOT / "README.md", ROOT / "experiments" / "RESULTS.md")
BENCHMARKS = "benchmarks"
"""The folder of the kept benchmark records."""
TARGETS = f"{BENCHMARKS}/targets"
FORMS = f"STUDY/SETTING/TABLE, STUDY/TABLE or {TARGETS}"
BLOCK = re.compile(
    r"(?P<open><!-- generated:(?P<name>\S+) -->\n)(?P<body>.*?)(?P<close><!-- /generated -->)",
    re.DOTALL,
)

PICTURE = re.compile(
    r"\((?:experiments/)?results/(?P<study>[^/)]+)/(?:(?P<setting>[^/)]+)/)?(?P<id>[^/)]+)\.svg\)"
)


def block(name: str, kept: Path = KEPT) -> str:
    """The Markdown of the block `STUDY/SETTING/TABLE`, `STUDY/TABLE` or `benchmarks/targets`.

    Raises `UserError` for a name of another form, for an unknown setting or table, and for a table
    that these records do not make.
    """
    if name == TARGETS:
        return targets.table(targets.records(kept / BENCHMARKS, speed.SIZE)) + "\n"
    parts = name.split("/")
    if len(parts) == 2:
        return _over_settings(parts[0], parts[1], kept)
    if len(parts) != 3:
        raise UserError(f"block {name!r}: name it {FORMS}")
    study, setting, id = parts
    records = build.read(kept, study, setting, "en")
    found = table.find(id)
    if not found.applies(records.runs):
        raise UserError(f"block {name}: the records make no such table")
    return found.build(records.runs, records.facts, "en").markdown()


def _settings(study: str, kept: Path) -> list[Records]:
    """The records of a study in every setting that it is kept in."""
    names = Checkout.here().settings_in(kept, study)
    return [build.read(kept, study, name, "en") for name in names]


def _over_settings(study: str, id: str, kept: Path) -> str:
    for built in build.tables_over(_settings(study, kept), "en"):
        if built.id == id:
            return built.markdown()
    raise UserError(f"block {study}/{id}: no such table over the settings that are kept")


def refresh(text: str, kept: Path = KEPT) -> str:
    """`text` with the body of every block written anew.

    Raises `UserError` when an opening marker has no closing one.
    """
    if text.count("<!-- generated:") != len(BLOCK.findall(text)):
        raise UserError("a generated block is not closed; end it with <!-- /generated -->")
    return BLOCK.sub(lambda m: f"{m['open']}\n{block(m['name'], kept)}\n{m['close']}", text)


def stale(text: str, kept: Path = KEPT) -> list[str]:
    """The names of the blocks that their records would now write differently."""
    pairs = zip(BLOCK.finditer(text), BLOCK.finditer(refresh(text, kept)), strict=True)
    return [old["name"] for old, new in pairs if old["body"] != new["body"]]


def draw(text: str, kept: Path = KEPT, out: Path = KEPT) -> list[Path]:
    """Draw every picture of studies that `text` shows from the records in `kept`, below `out`.

    Raises `UserError` for a figure that is unknown or that these records do not make.
    """
    paths = []
    for found in PICTURE.finditer(text):
        study, setting, id = found["study"], found["setting"], found["id"]
        if study == BENCHMARKS:
            continue
        if setting:
            drawings = build.drawings(build.read(kept, study, setting, "en"))
        else:
            drawings = build.drawings_over(_settings(study, kept))
        if id not in drawings:
            raise UserError(f"picture {found[0]}: the records make no such figure")
        paths.append(out / study / (setting or "") / f"{id}.svg")
        save(drawings[id], paths[-1])
    return paths


def main() -> int:
    """Write all of it anew: 0, or 2 with one line on standard error when a record is missing."""
    try:
        speed.write(KEPT / BENCHMARKS)
        for page in PAGES:
            fresh = refresh(page.read_text())
            draw(fresh)
            with atomic(page) as temporary:
                temporary.write_text(fresh)
    except UserError as error:
        print(f"pages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
