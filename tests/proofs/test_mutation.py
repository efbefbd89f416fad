"""The mathematics of the claims is wronged, one place at a time, and `verify` must notice.

Mutants are made from the bodies of the functions and lambdas of a claim's file: a sign, a sum for
a product, a strict inequality, a constant, a transposition, `and`. Of each file the same few
are tried, chosen by a hash, so that an edit elsewhere does not choose others. As a command,
`python tests/proofs/test_mutation.py c03_rank [all]` lists the survivors of one claim.
"""

import ast
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import proofs

TRIED = 10
"""Mutants of each claim."""
SECONDS = 5
"""Of processor time for one mutant; what takes longer counts as killed."""
RATE, UNEXPLAINED = 0.8, 0.05
"""At least so many of the mutants are killed, and at most so many survive without a reason."""
REASONS = {
    r": .* and .* -> .* or ": "a step that asks for less is still true",
    r": (.*) [<>]=? (.*) -> \1 [<>]=? \2 in ": "no instance lies on the bound",
    r"share_of_bound|sampled|SAMPLED": "in a property test, which proves nothing",
    r": \d+ -> \d+ in `.*(range|atrix|ones|Rational|symbol|excess)\(": "another instance or size",
    r"^c01_table1 prove: W \+ symbol": "ill-shaped with either sign",
    r"^c04_jacobian of_rank": "another matrix of that rank",
    r"^c07_head sigmoids": "a model: any output that is no softmax will do",
    r"^c08_start holds": "asked is only that A stays and B moves, as in a step of either sign",
    r"^c10_\w+ prove: .* left": "V1 times what is left is zero, with either sign",
    r"^c12_depth .*: -E -> E": "true of both",
    r"^c13_simplex prove: .* shift": "the shift has either sign",
    r"^c13_simplex prove: .*(gap|leaps) = ": "asked is only that it is not zero",
    r"^c16_consistency bump_escapes: 2 -> 1": "what is below 1 is so without its factor 2",
    r"^c19_averaging lambda: 0 -> 1": "another rule that names a machine when another fired",
    r"^c24_probe_first .*probed\[0\]": "other accuracies of the lecture are in that order too",
    r"^c25_leakage invariance: .* \+ Y": "Y is any target, and so is -Y",
    r"^c25_leakage lora: .*decay": "a model: growth leaves the span as decay does",
}
"""Survivors, as patterns of what they say, and why each means the same or does no harm."""

FOLDER = Path(proofs.__file__).parent
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
RULE = re.compile(r"[A-Z]\w?'?( [A-Z]\w?'?)*")
"""The left side of a rule of the kernel, such as `B B'`."""
NAMES = {"max": "min", "min": "max"}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """The node made wrong, in each way that there is."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            yield ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPS[type(op)](), values)
        case ast.Compare(left, [op], [right]) if type(op) in SWAPS:
            yield ast.Compare(left, [SWAPS[type(op)]()], [right])
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.Attribute(value, "T"):
            yield value
        case ast.Name(name, ast.Load()) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(1 if value == 2 else value + 1)
        case ast.Constant(str() as value) if "'" in value and RULE.fullmatch(value):
            yield ast.Constant(value.replace("'", "", 1))


def mathematics(tree: ast.Module) -> dict[ast.AST, str]:
    """Every node in the body of a function or lambda, with the name of the outermost of these."""
    found: dict[ast.AST, str] = {}
    options = {node.value for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    for outer in ast.walk(tree):
        if isinstance(outer, ast.FunctionDef | ast.Lambda):
            bodies = outer.body if isinstance(outer.body, list) else [outer.body]
            for node in (node for body in bodies for node in ast.walk(body)):
                if not (node in options and isinstance(node, ast.Constant)):  # `strict=True`
                    found.setdefault(node, getattr(outer, "name", "lambda"))
    return found


class Put(ast.NodeTransformer):
    """`new` in the place of `old`."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return ast.copy_location(self.new, node) if node is self.old else self.generic_visit(node)


def mutants(path: Path) -> dict[str, ast.Module]:
    """By what they say; in an order that looks random and stays."""
    text = path.read_text()
    lines = text.splitlines()
    found: dict[str, ast.Module] = {}
    tree = ast.parse(text)
    names = mathematics(tree)
    for at, node in enumerate(ast.walk(tree)):
        for way, new in enumerate(changes(node) if node in names else ()):
            line = lines[node.lineno - 1].strip()
            said = f"{path.stem} {names[node]}: {ast.unparse(node)} -> {ast.unparse(new)}"
            said += f" in `{line}`"
            while said in found:
                said += ", next"
            fresh = ast.parse(text)
            old = list(ast.walk(fresh))[at]
            found[said] = ast.fix_missing_locations(Put(old, list(changes(old))[way]).visit(fresh))
    return dict(sorted(found.items(), key=lambda one: hashlib.sha256(one[0].encode()).digest()))


# -- in an interpreter of its own


def at_fault(name: str, tree: ast.Module) -> bool:
    """Whether `verify` would find a fault, but it stops at the first; an error is one too."""
    from proofs.claim import Scope, Step, verify

    def step(name: str, scope: Scope, ok: bool) -> Step:
        if ok is not True:
            raise AssertionError(name)
        return Step(name, scope, ok)

    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(tree, name, "exec"), module.__dict__)
    claim = module.__dict__["CLAIM"]
    easy = replace(claim, prove=lambda: [Step("left out", Scope.SYMBOLIC, True)])
    if verify(easy).faults:
        return True
    module.__dict__["Step"] = step
    return bool(verify(claim).faults)


def outcome(name: str, tree: ast.Module) -> str:
    """`killed`, `survived` or `slow`; tried in a process of its own, with a limit of time."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            code = 1 if at_fault(name, tree) else 0
        except BaseException:
            code = 1
        os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "slow" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "killed"
    return "survived" if os.WEXITSTATUS(status) == 0 else "killed"


def try_all(name: str, tried: int | None) -> dict[str, str]:
    """The outcome of each mutant of one claim, after the claim itself."""
    from proofs.__main__ import load
    from proofs.claim import verify

    assert verify(load(name)).proved, name  # also fills sympy's memory, which the children inherit
    some = list(mutants(FOLDER / f"{name}.py").items())[:tried]
    return {said: outcome(f"proofs.{name}", tree) for said, tree in some}


# -- the tests


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    """Of every claim."""
    found = {}
    for path in sorted(FOLDER.glob("c[0-9][0-9]_*.py")):
        command = [sys.executable, __file__, path.stem, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[path.stem] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_wrong_mathematics_is_noticed(outcomes: dict[str, dict[str, str]]) -> None:
    every = {said: end for some in outcomes.values() for said, end in some.items()}
    survivors = [said for said, end in every.items() if end == "survived"]
    unknown = [said for said in survivors if not reason(said)]
    rate = 1 - len(survivors) / len(every)
    print(f"{rate:.1%} of {len(every)} mutants killed, {len(unknown)} survivors without a reason:")
    print(*unknown, sep="\n")
    assert rate >= RATE
    assert len(unknown) <= UNEXPLAINED * len(every)


@pytest.mark.slow
def test_every_claim_kills_most_of_its_mutants(outcomes: dict[str, dict[str, str]]) -> None:
    for name, ends in outcomes.items():
        killed = [said for said, end in ends.items() if end != "survived" or reason(said)]
        assert 2 * len(killed) > len(ends), name


def reason(said: str) -> str:
    return next((why for pattern, why in REASONS.items() if re.search(pattern, said)), "")


EXAMPLE = """
def f(a, b):
    if a < 2 and -b == 0:
        return min([a.T @ b + a])
    return word("B B'")


g = lambda x: not x
h = 2 + 2
"""


def test_what_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "c00_word.py"
    path.write_text(EXAMPLE)
    found = mutants(path)
    assert {said.partition(": ")[2].partition(" in `")[0] for said in found} == {
        "a < 2 and -b == 0 -> a < 2 or -b == 0",
        "a < 2 -> a <= 2",
        "2 -> 1",
        "-b == 0 -> -b != 0",
        "-b -> b",
        "0 -> 1",
        "min -> max",
        "a.T @ b + a -> a.T @ b - a",
        "a.T -> a",
        "\"B B'\" -> 'B B'",
        "not x -> x",
    }
    assert len(found) == 11
    assert all(ast.unparse(tree) != ast.unparse(ast.parse(EXAMPLE)) for tree in found.values())
    assert all("h = 2 + 2" in ast.unparse(tree) for tree in found.values())


if __name__ == "__main__":
    ends = try_all(sys.argv[1], None if "all" in sys.argv else TRIED)
    if "--json" in sys.argv:
        print(json.dumps(ends))
    else:
        for said, end in ends.items():
            if end != "killed":
                print(end, said, f"({reason(said) or 'no reason known'})")
        print(f"{sum(end != 'survived' for end in ends.values())} of {len(ends)} killed")
