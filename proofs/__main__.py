"""`python -m proofs [C03 ...]`: run the claims, print the report, name what does not hold.

With `--bind` the claims are held against real modules instead, see `proofs.binding`.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lowrank_da.errors import UserError, unknown
from lowrank_da.files import atomic
from proofs import report
from proofs.binding import Binding, examine
from proofs.claim import Claim, Verdict, refute_without, verify
from proofs.uses import files


def load(name: str) -> Claim:
    """The claim of one file."""
    claim: Claim = importlib.import_module(f"proofs.{name}").CLAIM
    if claim.id.lower() != name[:3]:
        raise ValueError(f"proofs/{name}.py holds claim {claim.id}")
    return claim


def load_binding(name: str) -> Binding:
    """The binding of one file, which imports torch."""
    binding: Binding = importlib.import_module(f"proofs.bind.{name}").BINDING
    if binding.id.lower()[1:] != name[1:3]:
        raise ValueError(f"proofs/bind/{name}.py holds binding {binding.id}")
    return binding


def claims() -> dict[str, Claim]:
    """All of them, by id."""
    return {one: load(name) for one, name in files().items()}


def chosen(ids: Sequence[str], known: Mapping[str, str], kind: str = "claim") -> list[str]:
    """The files with these ids, or all; `UserError` names the nearest to an unknown one."""
    for one in ids:
        if one.upper() not in known:
            raise unknown(kind, one.upper(), known)
    return [known[one] for one in dict.fromkeys(one.upper() for one in ids) or known]


@contextmanager
def alone() -> Iterator[None]:
    """One thread of torch, for threads would wait for each other; its generator stays as it is."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


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
    parser.add_argument("--bind", action="store_true", help="hold them against real modules")
    for kind in ("json", "md", "tex"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"also write {kind}")
    asked = parser.parse_args(argv)
    if asked.bind and (asked.without or asked.json or asked.md or asked.tex):
        parser.error("--bind goes with ids and --strict alone")
    try:
        if asked.bind:
            return _bind(asked)
        some = [load(name) for name in chosen(asked.ids, files())]
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
    print(report.used(verdicts))
    faults = [f"{v.claim.id}: {fault}" for v in verdicts for fault in v.faults]
    return _end(f"{len(verdicts)} claims in {seconds:.1f} s", faults, asked.strict)


def _bind(asked: argparse.Namespace) -> int:
    names, examined = chosen(asked.ids, files("proofs.bind"), "claim with a binding"), []
    start = time.perf_counter()
    with alone():
        for name in names:
            examined.append(examine(load_binding(name)))
    seconds = time.perf_counter() - start
    print(report.bindings(examined))
    faults = [f"{e.binding.id}: {fault}" for e in examined for fault in e.faults]
    return _end(f"{len(names)} bindings in {seconds:.1f} s", faults, asked.strict)


def _end(done: str, faults: Sequence[str], strict: bool) -> int:
    print(f"{done}; {len(faults)} faults")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if strict and faults else 0


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
