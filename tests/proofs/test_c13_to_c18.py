"""Softmax, likelihood, consistency, shift and coupling: wrong mathematics is refuted."""

from fractions import Fraction
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mutated_claims import faults_with
from scipy.special import logit

import proofs
from lowrank_da import coupling
from proofs import c16_consistency, c18_coupling, learning

MUTANTS = {
    "c13_simplex": [
        ("return exp(logit) / total(exp(logit))", "return exp(logit) / total(exp(-logit))"),
        ("return exp(logit) / total(exp(logit))", "return exp(-logit) / total(exp(-logit))"),
        ("return exp(logit) / total(exp(logit))", "return logit / total(logit)"),
        ("(t - x @ W)", "(t + x @ W)"),
        ('"x A": kernel.identity(1)', '"x A": 2 * kernel.identity(1)'),
        ("powers[i, j] / sum(powers.row(i))", "powers[i, j] / sum(powers)"),
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
        ("balanced = n / (K * count[c])", "balanced = n / count[c]"),
        ("balanced = n / (K * count[c])", "balanced = n * count[c] / K"),
        ("density[c] * prior[c] / (K * prior[c])", "density[c] * prior[c]"),
        ("Matrix([[1, 4]]) / 5", "Matrix([[2, 3]]) / 5"),
        ("value >= powers(P, pulls)", "value <= powers(P, pulls)"),
    ],
    "c16_consistency": [
        ("(P[c] - Pn[c]) * (loss[c] - least[c])", "(Pn[c] - P[c]) * (loss[c] - least[c])"),
        ("2 * b - (z - z_y)", "b - (z - z_y)"),
        ("most = log(total(exp(2 * b)))", "most = log(total(exp(b)))"),
        ("p * (1 - p) / n)", "p * (1 - p) / n**2)"),
        ("p * (1 - p) / n)", "p / n)"),
        ("second + first**2 / total(u[c])", "second - first**2 / total(u[c])"),
        ("log(p) - log(q)", "log(q) - log(p)"),
        ("+ 1 / (1 + exp(z))", "- 1 / (1 + exp(z))"),
        ("exp(-((t - m) ** 2))", "exp(-((t + m) ** 2))"),
        ("- log(2) ** 2)", "- log(2))"),
        ('+ 2 * v["b"] * math', '+ v["b"] * math'),
        ('math.log(v["W"].cols) +', ""),
        ('math.sqrt(v["cells"] / n)', 'v["cells"] / n'),
        ('"weights": (4, 1)', '"weights": (4, 4)'),
    ],
    "c17_shift": [
        ("D = A.T @ S.T @ S @ (M - A @ B)", "D = A.T @ S.T @ S @ (A @ B - M)"),
        ("D = A.T @ S.T @ S @ (M - A @ B)", "D = A.T @ (M - A @ B)"),
        ("kept - 2 * t * square_norm(D)", "kept - t * square_norm(D)"),
        ("t**2 * curved", "t * curved"),
        ("t * ((A.T @ u) @ (u.T @ E))", "t**2 * ((A.T @ u) @ (u.T @ E))"),
        ("both = {", "both = v - w, {"),
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
        ("(t / t_h) * (N / n) * p / (1 - p)", "(t / t_h) * (N / n) * p"),
        ("human = 1 / (1 + total(known))", "human = 1 / total(known)"),
        ("pair = c * o / (1 + c * o)", "pair = o / (1 + o)"),
        ("exp(log(o) + log(c))", "exp(log(o) - log(c))"),
        ("above = (1 + ratio) * (q - 1 / (1 + ratio))", "above = (1 + ratio) * (q - 1 / 2)"),
        ("pi * (1 - pi) / (q * (1 - q))", "pi * (1 - pi) / (1 - q)"),
        ("+ pi * pi_rest /", "- pi * pi_rest /"),
        ("q <= 1 / (1 + ratio) for", "q <= ratio / (1 + ratio) for"),
        ("q <= 1 / (1 + ratio) for", "q >= 1 / (1 + ratio) for"),
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
