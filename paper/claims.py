r"""`python -m paper.claims`: what the paper says of a claim is what the proofs show.

It verifies all claims and writes `generated/claims.tex`: what `\claim{C16}` prints, and tables of
them. It exits with 1 where a text of this folder

- cites a claim that there is not, or one that does not hold;
- says in its own words that a claim is proved which rests on cited facts or on samples: `\claim`
  itself says what is proved, what it rests on, and what is only sampled;
- says that something is proved, outside quotation marks, and names no claim.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from lowrank_da.files import atomic
from proofs import report
from proofs.__main__ import load
from proofs.claim import Verdict, verify
from proofs.uses import files

CITED = re.compile(r"\\claim\s*\{\s*([^{}]*?)\s*\}")
PROVED = re.compile(r"\b(prove[sdn]?|proving)\b|\bдоказ(ан|ал|ыва)", re.IGNORECASE)
QUOTED = re.compile(r"``.*?''|<<.*?>>", re.DOTALL)
COMMENT = re.compile(r"(?m)^[ \t]*%.*\n|(?<!\\)%.*")
END = re.compile(
    r"(?<!\bcf\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bFig\.)(?<!\bсм\.)(?<=[.?!])\s+(?=[^a-zа-я])"
    r"|\n\s*\n|\\\\ *\\addlinespace"
)
"""Of a sentence, of a paragraph, of a row of a table."""


def sentences(text: str) -> list[str]:
    """Of a LaTeX text, comments left out; the cells of a row are in one."""
    return END.split(COMMENT.sub("", text))


def unreserved(verdict: Verdict) -> bool:
    """Proved by steps that all prove, and by nothing that is only cited."""
    return verdict.proved and not verdict.claim.cited and all(s.scope.proves for s in verdict.steps)


def faults(text: str, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """What the text says and the verdicts do not, a line each."""
    for sentence in sentences(text):
        said, ids = " ".join(sentence.split()), CITED.findall(sentence)
        proved = PROVED.search(QUOTED.sub("", sentence))
        if proved and not ids:
            yield f"no claim is named for what is said to be proved: {said}"
        for id in ids:
            if id not in verdicts:
                yield f"there is no claim {id!r}: {said}"
            elif not verdicts[id].proved:
                yield f"{id} does not hold: {said}"
            elif proved and not unreserved(verdicts[id]):
                yield f"{id} is proved with reservations, which \\claim prints: {said}"


def main(folder: Path = Path(__file__).parent) -> int:
    """0, or 1 with the faults on standard error."""
    verdicts = {id: verify(load(name)) for id, name in files().items()}
    out = folder / "generated" / "claims.tex"
    with atomic(out) as temporary:
        temporary.write_text(report.latex(list(verdicts.values())), encoding="utf-8")
    found = [
        f"{path.relative_to(folder)}: {fault}"
        for path in texts(folder)
        for fault in faults(path.read_text(encoding="utf-8"), verdicts)
    ]
    print(f"{len(verdicts)} claims, written to {out}; {len(found)} faults in the texts")
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


def texts(folder: Path) -> list[Path]:
    """The LaTeX files of the folder that are not generated."""
    return sorted(p for p in folder.rglob("*.tex") if "generated" not in p.parts)


if __name__ == "__main__":
    sys.exit(main())
