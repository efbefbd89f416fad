"""C06: what training conserves."""

# ruff: noqa: N806 - matrices are written as in the formulas

import pytest
import sympy
from mutated_claims import faults_with

from proofs.c06_conservation import CLAIM, balance

MUTANTS = (
    ("return -rates[0] * (G @ B.T)", "return rates[0] * (G @ B.T)"),
    ("-rates[1] * (A.T @ G)", "-2 * rates[1] * (A.T @ G)"),
    ("(A.T @ A) - rates[0]", "(A.T @ A) + rates[0]"),
    ("rates[1] * (A.T @ A) - rates[0] *", "rates[0] * (A.T @ A) - rates[1] *"),
    ("(1 - 2 * l * h)", "(1 - l * h)"),
    ("h**2 * balance(V", "h * balance(V"),
    ("exp(2 * l * t)", "exp(l * t)"),
    ("B @ G.T @ G @ B.T - A.T", "B @ G.T @ G @ B.T + A.T"),
    ("velocities[0] @ B + A", "velocities[0] @ B - A"),
    ("(G @ B.T @ B + A @", "(G @ B.T @ B - A @"),
    ("A @ U, U.T @ B", "A @ U, U @ B"),
    ("(x - 1 / x) ** 2", "(x + 1 / x) ** 2"),
    ("A0.T @ A0 + B @ B.T", "A0.T @ A0 - B @ B.T"),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c06_conservation", old, new)


def test_steps_of_descent_drift_by_the_sum_of_their_formulas():
    A, B = CLAIM.control["A"], CLAIM.control["B"]
    target, h, start = CLAIM.control["G"], sympy.Rational(1, 1000), balance(A, B)
    drift = sympy.zeros(2, 2)
    for _ in range(3):
        G = A * B - target  # of half the squared distance
        drift += h**2 * (B * G.T * G * B.T - A.T * G * G.T * A)
        A, B = A - h * G * B.T, B - h * A.T * G
    assert balance(A, B) - start == drift
    assert not drift.is_zero_matrix
