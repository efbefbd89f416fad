"""`python -m proofs [C03 ...]`: run the claims, print the report, name what does not hold."""

import argparse
import importlib
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lowrank_da import discover
from lowrank_da.errors import UserError, unknown
from lowrank_da.files import atomic
from proofs import report
from proofs.claim import Claim, Verdict, refute_without, verify


def files() -> dict[str, str]:
    """Every file `c<number>_<word>.py` of this folder holds a claim: the names by id."""
    found: dict[str, str] = {}
    for name in discover.names("proofs"):
        if re.fullmatch(r"c\d\d_\w+", name):
            other = found.setdefault(name[:3].upper(), name)
            if other != name:
                raise ValueError(f"proofs/{other}.py and proofs/{name}.py have one id")
    return found


def load(name: str) -> Claim:
    """The claim of one file."""
    claim: Claim = importlib.import_module(f"proofs.{name}").CLAIM
    if claim.id.lower() != name[:3]:
        raise ValueError(f"proofs/{name}.py holds claim {claim.id}")
    return claim


def claims() -> dict[str, Claim]:
    """All of them, by id."""
    return {one: load(name) for one, name in files().items()}


def chosen(ids: Sequence[str]) -> list[Claim]:
    """The claims with these ids, or all; `UserError` names the nearest to an unknown one."""
    known = files()
    for one in ids:
        if one.upper() not in known:
            raise unknown("claim", one, known)
    wanted = dict.fromkeys(one.upper() for one in ids) or known
    return [load(known[one]) for one in wanted]


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Every step, hypothesis and fault."""
    body = [
        {
            "id": v.claim.id,
            "title": v.claim.title,
            "proved": v.proved,
            "faults": v.faults,
            "steps": [{"name": s.name, "scope": s.scope.value, "ok": s.ok} for s in v.steps],
            "hypotheses": {name: h.text for name, h in v.claim.hypotheses.items()},
            "idle": v.claim.idle,
            "cited": v.claim.cited,
            "not_proved": v.claim.not_proved,
            "source": v.claim.source,
        }
        for v in verdicts
    ]
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """0; with `--strict` 1 when something does not hold; 2 when the input is bad."""
    parser = argparse.ArgumentParser(prog="python -m proofs", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="C03", help="claims; all by default")
    parser.add_argument("--strict", action="store_true", help="exit 1 when something does not hold")
    parser.add_argument("--without", metavar="HYPOTHESIS", help="print the model that refutes it")
    for kind in ("json", "md", "tex"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"also write {kind}")
    asked = parser.parse_args(argv)
    try:
        some = chosen(asked.ids)
        return _without(some, asked.without) if asked.without else _run(some, asked)
    except UserError as error:
        print(f"proofs: {error}", file=sys.stderr)
        return 2


def _run(some: Sequence[Claim], asked: argparse.Namespace) -> int:
    start = time.perf_counter()
    verdicts = [verify(claim) for claim in some]
    seconds = time.perf_counter() - start
    texts = {"json": as_json, "md": report.markdown, "tex": report.latex}
    for kind, text in texts.items():
        path = getattr(asked, kind)
        if path:
            with atomic(path) as temporary:
                temporary.write_text(text(verdicts), encoding="utf-8")
    print(report.markdown(verdicts))
    faults = [f"{v.claim.id}: {fault}" for v in verdicts for fault in v.faults]
    print(f"{len(verdicts)} claims in {seconds:.1f} s; {len(faults)} faults")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if asked.strict and faults else 0


def _without(some: Sequence[Claim], hypothesis: str) -> int:
    if len(some) != 1:
        raise UserError("--without goes with one claim")
    (claim,) = some
    if hypothesis not in claim.models:
        raise unknown(f"hypothesis of {claim.id}", hypothesis, claim.models)
    print(refute_without(claim, hypothesis))
    return 0


if __name__ == "__main__":
    sys.exit(main())
