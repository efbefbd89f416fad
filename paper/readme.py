"""Tables inside README.md: blocks between markers, generated from kept records.

A block opens with `<!-- generated:STUDY/SETTING/TABLE -->` and closes with
`<!-- /generated -->`. `python -m paper.readme` writes them anew; a test fails when they are stale.
"""

import re
from pathlib import Path

from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from paper import table
from paper.build import read

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results"
BLOCK = re.compile(
    r"(?P<open><!-- generated:(?P<name>\S+) -->\n)(?P<body>.*?)(?P<close><!-- /generated -->)",
    re.DOTALL,
)


def block(name: str, kept: Path = KEPT) -> str:
    """The Markdown of the block `STUDY/SETTING/TABLE`.

    Raises `UserError` for a name of another form, and for an unknown setting or table.
    """
    parts = name.split("/")
    if len(parts) != 3:
        raise UserError(f"README block {name!r}: name it STUDY/SETTING/TABLE")
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


if __name__ == "__main__":
    readme = ROOT / "README.md"
    fresh = refresh(readme.read_text())
    with atomic(readme) as temporary:
        temporary.write_text(fresh)
