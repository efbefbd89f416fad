"""Tables and the picture inside README.md, generated from kept records.

A block opens with `<!-- generated:STUDY/SETTING/TABLE -->` (for a benchmark's table with
`<!-- generated:benchmarks/RECORD -->`) and closes with `<!-- /generated -->`.
`python -m paper.readme` writes them and the picture anew; a test fails when they are stale.
"""

import re
import sys
from pathlib import Path

from experiments.benchmarks.timing import Record, ratios
from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from paper import speed, table
from paper.build import read

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results"
BENCHMARKS = "benchmarks"
"""The folder of the kept benchmark records."""
BLOCK = re.compile(
    r"(?P<open><!-- generated:(?P<name>\S+) -->\n)(?P<body>.*?)(?P<close><!-- /generated -->)",
    re.DOTALL,
)


def block(name: str, kept: Path = KEPT) -> str:
    """The Markdown of the block `STUDY/SETTING/TABLE` or `benchmarks/RECORD`.

    Raises `UserError` for a name of another form, and for an unknown setting, table or record.
    """
    parts = name.split("/")
    if parts[0] == BENCHMARKS and len(parts) == 2:
        return ratios(Record.load(kept / BENCHMARKS / f"{parts[1]}.json")) + "\n"
    if len(parts) != 3:
        raise UserError(f"README block {name!r}: name it STUDY/SETTING/TABLE or benchmarks/RECORD")
    study, setting, id = parts
    records = read(kept, study, setting, "en")
    return table.find(id).build(records.runs, records.facts, "en").markdown()


def refresh(text: str, kept: Path = KEPT) -> str:
    """`text` with the body of every block written anew.

    Raises `UserError` when an opening marker has no closing one.
    """
    if text.count("<!-- generated:") != len(BLOCK.findall(text)):
        raise UserError("README: a generated block is not closed; end it with <!-- /generated -->")
    return BLOCK.sub(lambda m: f"{m['open']}\n{block(m['name'], kept)}\n{m['close']}", text)


def stale(text: str, kept: Path = KEPT) -> list[str]:
    """The names of the blocks that their records would now write differently."""
    pairs = zip(BLOCK.finditer(text), BLOCK.finditer(refresh(text, kept)), strict=True)
    return [old["name"] for old, new in pairs if old["body"] != new["body"]]


def main() -> int:
    """Write all of it anew: 0, or 2 with one line on standard error when a record is missing."""
    readme = ROOT / "README.md"
    try:
        speed.write(KEPT / BENCHMARKS)
        fresh = refresh(readme.read_text())
        with atomic(readme) as temporary:
            temporary.write_text(fresh)
    except UserError as error:
        print(f"README: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
