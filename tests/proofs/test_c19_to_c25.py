"""The accounting claims and their neighbours: every mutant of their mathematics is refuted."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

import proofs
from proofs import audit, c19_averaging, c25_leakage
from proofs.claim import Verdict, verify

MUTANTS = {
    "c19_averaging": [
        ("- 2 * (p * s - q * r) ** 2", "- 2 * (p * s + q * r) ** 2"),
        ("- 2 * (p * s - q * r) ** 2", "- (p * s - q * r) ** 2"),
        ("2 * r**2 / (p + r) ** 2", "2 * p**2 / (p + r) ** 2"),
        ("(p - (1 - S)) * (1 - t) + S * t", "(p - (1 - S)) * (1 - t) - S * t"),
        ("1 - sum(1 - x for x in R) <=", "1 - sum(1 - x for x in R) / 3 <="),
        ("<= min(R)", "< min(R) / 2"),
        ("recalls[i] <= M[i]", "recalls[i] >= M[i]"),
        ("best <= prior[HUMAN] + max(prior[:HUMAN])", "best <= max(prior)"),
        ("machines * (1 - M)", "machines * M"),
        ("/ 3 == f1(", "/ 2 == f1("),
        ("(Fraction(1, 2), 16, 3)", "(Fraction(3, 4), 16, 3)"),
        ("silent == HUMAN", "silent != HUMAN"),
        ("1 - sum(1 - x for x in R)", "1 - sum(1 + x for x in R)"),
        ("N * a + (p + q) * b - gain", "N * a + (p + q) * b + gain"),
    ],
    "audit": [
        ("R * (1 - P) / (P * (1 - M))", "P * (1 - R) / (R * (1 - M))"),
        ("R * (1 - P) / (P * (1 - M))", "R * (1 - P) / (P * M)"),
        ("return 2 * precision * recall", "return precision * recall"),
        ("(precision + recall)", "(precision + 2 * recall)"),
        ("macro\n        < sum", "macro\n        > sum"),
        ("Fraction(3, 2) * fast[1] < slow[0]", "8 * fast[1] < slow[0]"),
        ("activations / 4", "activations / 2"),
        ("gains = trained", "gains = 2 * trained"),
    ],
    "c20_weights": [
        ("len(counts) * n)", "n)"),
        ("len(counts) * n)", "(len(counts) + 1) * n)"),
        ("Fraction(floor(1000 * x), 1000)", "Fraction(floor(1000 * x) + 1, 1000)"),
        ("Fraction(floor(1000 * x), 1000)", "Fraction(floor(100 * x), 100)"),
        ("n / (K * count[c])", "n / count[c]"),
        ("sympy.solve(total - n, pull)", "sympy.solve(total - n * K, pull)"),
        ("range(11339, 11350)", "range(11340, 11354)"),
    ],
    "c21_parameters": [
        ("2 * D * v[", "D * v["),
        ("(D + F) * v[", "(D * F) * v["),
        ("a * b + b for", "a * b + a for"),
        ("2 * 2 * D)", "2 * D)"),
        ("D * F + F + F * D + D", "D * F + F * D"),
        ('body() + v["copies"] * head + lora(v)', 'body() + v["copies"] * head'),
        ("[[1, 1], [2, 1]]", "[[1, 1], [1, 2]]"),
        ('"rank": 5, "attention"', '"rank": 6, "attention"'),
        ("SHAPE.positions + 1", "SHAPE.positions"),
        ("body(12) + 2 * two", "body(12) + two"),
    ],
    "c22_counts": [
        ("2 * p * d * L", "p * d * L"),
        ("2 * L * (2 * d * m + m + d)", "2 * L * (2 * d * m + d)"),
        ("4 * L * d * r", "2 * L * d * r"),
        ("L * (7 * d + f)", "L * (8 * d + f)"),
        ("4 * L * d,", "2 * L * d,"),
        ("(d, m), (m,), (m, d), (d,)", "(d, m), (d,), (m, d), (d,)"),
        ("transformer(layers, 1024, 4096)", "transformer(layers, 768, 3072)"),
    ],
    "c23_cost": [
        ("L * (3 * maps + 3 * attention)", "L * (2 * maps + 3 * attention)"),
        ("upper = 2 * maps", "upper = 3 * maps"),
        ("sum(6 * v", "sum(4 * v"),
        ("upper - 3 * (2", "upper - 4 * (2"),
        ("(L - frozen - 1)", "(L - frozen)"),
        ("attention = 4 *", "attention = 2 *"),
        ("2 * slow < 3 * fast", "3 * slow < 4 * fast"),
        ("large < 4 * small", "large < 3 * small"),
        ("2 * slow < 3 * fast", "2 * slow > 3 * fast"),
        ("large < 4 * small", "large < 5 * small"),
        ("(r - d * k / (3 * (d + k)))", "(r - d * k / (2 * (d + k)))"),
        ("lora * (weights + 4 * adapters)", "lora * (4 * weights + 4 * adapters)"),
        ("- 3 / (1 + rho)", "- 3 / (2 + rho)"),
    ],
    "c24_probe_first": [
        ("kept = head**2 - b1**2", "kept = head**2 + b1**2"),
        ("4 * y**2)) / 2)", "2 * y**2)) / 2)"),
        ("head * b2 - v[", "head + b2 - v["),
        ("X.T @ R @ v.T, B.T", "2 * X.T @ R @ v.T, B.T"),
        ("- of_B.T @ B - B.T @ of_B", "+ of_B.T @ B + B.T @ of_B"),
        ("(x @ (B - e * of_B))", "(x @ (B - e * B))"),
        ("+ (v**2 + b**2) * (v * b - y)", "+ (v**2 - b**2) * (v * b - y)"),
        ("- (2 * v * b) ** 2", "- (v * b) ** 2"),
        ("y**2 / w - w - k", "y**2 / w - w + k"),
        ("(sqrt(5) - 1) / 2", "(sqrt(5) + 1) / 2"),
        ("return sympy.sign(head) * larger", "return 1 / larger"),
        ("return y / (sympy.sign(b1) * larger), b2", "return y / larger**2, b2"),
    ],
    "c25_leakage": [
        ('v["X"].T * (v["X"] * W - v["Y"])', '(v["X"] * W - v["Y"]).T * v["X"]'),
        ('v["X"].T * (v["X"] * W - v["Y"])', 'v["X"].T * (v["X"] * W - v["Y"]) + W'),
        ("way(G * B.T)", "way(G * B.T) + A"),
        ("way(G * B.T)", "way(G * B)"),
        ("next_A = A - eta * s * X.T @ R @ B.T", "next_A = A - eta * X.T @ R @ B.T"),
        ("next_A = A - eta * s * X.T @ R @ B.T", "next_A = A - eta * s * A"),
        ("== x @ W + s * x @ A0 @ B,", "== x @ W + x @ A0 @ B,"),
        ("2 * e * s * trace(J.T", "2 * e * trace(J.T"),
        ("r * (v + 2 * m**2)", "r * (v + m**2)"),
        ("off / on**2 - 1 / r", "off / on - 1 / r"),
        ('kept + v["s"] * x * v["A random"] * B', 'kept + v["s"] * x * v["A"] * B'),
        ('kept + v["s"] * x * v["A random"] * B', 'kept - v["s"] * x * v["A random"] * B'),
        ("sympy.Sum(m * m, (i, 1, r), (j, 1, r))", "sympy.Sum(m * m, (i, 1, r))"),
    ],
}
FOR_AUDIT = ("c19_averaging", "c22_counts", "c23_cost")
"""The claims that take up its findings."""


def mutated(name: str, old: str, new: str) -> ModuleType:
    """A file of the proofs with every occurrence of a text replaced."""
    path = Path(proofs.__file__).parent / f"{name}.py"
    source = path.read_text()
    assert old in source, f"{name}.py has no {old!r}"
    module = ModuleType(f"mutant_of_{name}")
    sys.modules[module.__name__] = module  # dataclasses look themselves up
    exec(compile(source.replace(old, new), str(path), "exec"), module.__dict__)
    return module


def verdicts(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> list[Verdict]:
    mutant = mutated(name, old, new)
    if name != "audit":
        return [verify(mutant.CLAIM)]
    for key, value in vars(mutant).items():
        if callable(value):
            monkeypatch.setattr(audit, key, value)
    users = [mutated(user, "import", "import") for user in FOR_AUDIT]
    return [verify(user.CLAIM) for user in users]


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, *pair) for name, pairs in MUTANTS.items() for pair in pairs]
)
def test_a_mutant_is_refuted(
    name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(verdict.faults for verdict in verdicts(name, old, new, monkeypatch))


@pytest.mark.parametrize("name", [name for name in MUTANTS if name != "audit"])
def test_the_original_is_proved(name: str) -> None:
    verdict = verify(importlib.import_module(f"proofs.{name}").CLAIM)
    assert verdict.faults == ()
    assert verdict.proved


def test_each_model_of_averaging_refutes_its_own_part() -> None:
    parts = {
        name: [part for part, ok in c19_averaging.statements(model).items() if not ok]
        for name, model in c19_averaging.CLAIM.models.items()
    }
    assert parts == {
        "proportional rows": ["averages"],
        "unanimity": ["human"],
        "a named machine fired": ["machines"],
        "one human law": ["human"],
        "machines alike": ["accuracy"],
        "a miss": ["mixes"],
    }


def test_each_model_of_leakage_refutes_its_own_part() -> None:
    parts = {
        name: [part for part, ok in c25_leakage.statements(model).items() if not ok]
        for name, model in c25_leakage.CLAIM.models.items()
    }
    every = ["full", "LoRA", "LoRA from the span"]
    assert parts == {
        "off the data": every,
        "start in the span": ["LoRA from the span"],
        "gradient steps": every,
        "no weight decay": ["full", "LoRA"],
    }
