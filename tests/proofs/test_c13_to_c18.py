"""Softmax, likelihood, consistency, shift and coupling: wrong mathematics is refuted."""

from fractions import Fraction
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import sympy
from mutated_claims import faults_with
from scipy.special import logit

import proofs
from lowrank_da import coupling
from proofs import c16_consistency, c18_coupling, learning
from proofs.claim import verify

MUTANTS = {
    "c13_simplex": [
        ("return exp(logit) / total(exp(logit))", "return exp(logit) / total(exp(-logit))"),
        ("return exp(logit) / total(exp(logit))", "return exp(-logit) / total(exp(-logit))"),
        ("(t - x @ W)", "(t + x @ W)"),
        ('"x A": kernel.identity(1)', '"x A": 2 * kernel.identity(1)'),
        ("powers = logits.applyfunc(exp)", "powers = logits"),
        ("Matrix([-1, 1]), Matrix([[1, -1]])", "Matrix([-1, 1]), Matrix([[-1, 1]])"),
        ('"B": GENERIC["B"].T', '"B": GENERIC["B"]'),
    ],
    "c14_no_label": [
        ("- K * log(K) - K * total", "+ K * log(K) - K * total"),
        ("- K * total(u * log(u / p[c]))", "- total(u * log(u / p[c]))"),
        ("total(u * log(u / p[c]))", "total(u * log(p[c] / u))"),
        ("total(u * log(u / p[c]))", "total(p[c] * log(p[c] / u))"),
        ("(exp(s) - 1 - s)", "(exp(s) - 1 + s)"),
        ("(1 - y) * s**2", "y * s**2"),
        ("u * (K * p[c] - 1)", "u * (K * p[c] + 1)"),
        ("value >= least and", "value <= least and"),
        ("1, k ** (n * k)", "1, k**n"),
    ],
    "c15_weighted": [
        ("P = w[c] * count[c] / Z", "P = count[c] / Z"),
        ("P = w[c] * count[c] / Z", "P = count[c] / (w[c] * Z)"),
        ("Z * (entropy + divergence)", "Z * (entropy - divergence)"),
        ("Z * (entropy + divergence)", "n * (entropy + divergence)"),
        ("total(P * log(P / q[c]))", "total(q[c] * log(q[c] / P))"),
        ("balanced = n / (K * count[c])", "balanced = n * count[c] / K"),
        ("density[c] * prior[c] / (K * prior[c])", "density[c] * prior[c]"),
        ("Matrix([[1, 4]]) / 5", "Matrix([[2, 3]]) / 5"),
        ("value >= powers(P, pulls)", "value <= powers(P, pulls)"),
    ],
    "c16_consistency": [
        ("(P[c] - Pn[c]) * (loss[c] - least[c])", "(Pn[c] - P[c]) * (loss[c] - least[c])"),
        ("2 * b - (z - z_y)", "b - (z - z_y)"),
        ("p * (1 - p) / n)", "p * (1 - p) / n**2)"),
        ("second + first**2 / total(u[c])", "second - first**2 / total(u[c])"),
        ("+ 1 / (1 + exp(z))", "- 1 / (1 + exp(z))"),
        ("exp(-((t - m) ** 2))", "exp(-((t + m) ** 2))"),
        ("- log(2) ** 2)", "- log(2))"),
        ('+ 2 * v["b"] * math', '+ v["b"] * math'),
        ('"weights": (4, 1)', '"weights": (4, 4)'),
    ],
    "c17_shift": [
        ("D = A.T @ S.T @ S @ (M - A @ B)", "D = A.T @ S.T @ S @ (A @ B - M)"),
        ("D = A.T @ S.T @ S @ (M - A @ B)", "D = A.T @ (M - A @ B)"),
        ("kept - 2 * t * square_norm(D)", "kept - t * square_norm(D)"),
        ("t**2 * curved", "t * curved"),
        ("t * ((A.T @ u) @ (u.T @ E))", "t**2 * ((A.T @ u) @ (u.T @ E))"),
        ("== S @ M - (S @ A) @ B", "== S @ M + (S @ A) @ B"),
        ("- a.dot(a) * b.dot(b)", "- a.dot(a) + b.dot(b)"),
        ("update.T * moment * update", "update.T * update"),
        ("key=lambda pair: pair[0], reverse=True", "key=lambda pair: pair[0]"),
        ("spectrum(domain)[rank:]", "spectrum(domain)[: rank]"),
        ('update.rank() <= v["r"]', 'update.rank() >= v["r"]'),
    ],
    "c18_coupling": [
        ("(t / t_h) * (N / n) * p / (1 - p)", "(t / t_h) * (n / N) * p / (1 - p)"),
        ("(t / t_h) * (N / n) * p / (1 - p)", "(t_h / t) * (N / n) * p / (1 - p)"),
        ("pair = c * o / (1 + c * o)", "pair = o / (1 + o)"),
        ("exp(log(o) + log(c))", "exp(log(o) - log(c))"),
        ("above = (1 + ratio) * (q - 1 / (1 + ratio))", "above = (1 + ratio) * (q - 1 / 2)"),
        ("pi * (1 - pi) / (q * (1 - q))", "pi * (1 - pi) / (1 - q)"),
        ("+ pi * pi_rest /", "- pi * pi_rest /"),
        ("q <= 1 / (1 + ratio) for", "q <= ratio / (1 + ratio) for"),
        ("ratios[j] * p[j] / (1 - p[j])", "p[j]"),
        ("shares[-1] * n) for", "shares[-1]) for"),
        ("(*(q / len(p) for q in p)", "(*(q for q in p)"),
    ],
}


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, *pair) for name, pairs in MUTANTS.items() for pair in pairs]
)
def test_other_mathematics_is_at_fault(name, old, new):
    assert faults_with(name, old, new)


# The simulated learning problems


def consistency_with(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether C16 still holds when the text of `learning.py` has `new` for its one `old`."""
    path = Path(learning.__file__)
    text = path.read_text()
    assert text.count(old) == 1
    module = ModuleType("learning")
    exec(compile(text.replace(old, new), path, "exec"), module.__dict__)
    monkeypatch.setattr(proofs, "learning", module)
    again = ModuleType("again")
    exec(Path(c16_consistency.__file__).read_text(), again.__dict__)
    return verify(again.CLAIM).proved


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("comb(n, k) * law[0] ** k", "law[0] ** k"),
        ("tuple(n * (i == j)", "tuple(1 + n * (i == j) - (i == j)"),
        ("p / groups for p in law", "p for p in law"),
        ("Fraction(2) ** index(z)", "Fraction(2) ** index(-z)"),
        ("power / sum(row)", "power"),
        ('max(v["adapters"]', 'min(v["adapters"]'),
        ('A, B = v["adapters"][0]', 'A, B = v["adapters"][-1]'),
        ("log(p / q)", "log(q / p)"),
        ("key=lambda a: a[0].norm()", "key=lambda a: -a[0].norm()"),
        ('{"source": truth,', '{"source": truth[::-1],'),
    ],
)
def test_other_learning_is_at_fault(old, new, monkeypatch):
    assert not consistency_with(old, new, monkeypatch)


def test_learning_as_it_is_passes_the_same_way(monkeypatch):
    assert consistency_with("log(p / q)", "log(p / q)", monkeypatch)


def test_samples_are_those_of_all_sequences():
    law = (Fraction(1, 2), Fraction(1, 3), Fraction(1, 6))
    counted: dict[tuple[int, ...], Fraction] = {}
    for texts in product(range(3), repeat=4):
        counts = tuple(texts.count(i) for i in range(3))
        chance = law[texts[0]] * law[texts[1]] * law[texts[2]] * law[texts[3]]
        counted[counts] = counted.get(counts, Fraction(0)) + chance
    assert learning.independent(4, law) == counted


def test_descent_moves_where_one_factor_is_not_zero():
    """The start of LoRA, A != 0 and B = 0, is not stuck: it steps to logits that are not whole."""
    zero, one = sympy.zeros(1, 2).as_immutable(), sympy.eye(1).as_immutable()
    v = {**c16_consistency.TOSSED, "adapters": [(one, zero)]}
    assert learning.descend(v, (1, 1)) == (one, zero)  # the sample is as the model says
    with pytest.raises(TypeError):
        learning.descend(v, (1, 4))


# The rule that the records are combined with


@pytest.mark.parametrize("seed", range(5))
def test_the_coupling_of_the_claim_is_that_of_the_records(seed):
    rng = np.random.default_rng(seed)
    p = [Fraction(int(x), 1000) for x in rng.integers(1, 1000, size=4)]
    ratios = [Fraction(int(x), 10) for x in rng.integers(1, 40, size=4)]
    exact = c18_coupling.couple(tuple(p), tuple(ratios))
    told, log_ratios = logit(np.array([p], dtype=float)), np.log(np.array(ratios, dtype=float))
    found = coupling.couple(told, log_ratios)
    np.testing.assert_allclose(found[0], [float(x) for x in exact], rtol=1e-12)
    assert found[0].argmax() == c18_coupling.decide(tuple(p), tuple(ratios))
    mean = [float(x) for x in c18_coupling.average(tuple(p))]
    np.testing.assert_allclose(coupling.average(np.array([p], dtype=float))[0], mean, rtol=1e-12)


def test_the_ratios_of_the_claim_are_those_of_the_records():
    """As `combine` computes them of priors and numbers of texts, see test_coupling."""
    assert c18_coupling.true_ratios((1, 2, 3, 4), ((300, 200), (50, 200), (150, 200))) == (
        Fraction(1, 4) * Fraction(200, 300),
        Fraction(2, 4) * 4,
        Fraction(3, 4) * Fraction(4, 3),
    )
