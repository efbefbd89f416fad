"""C04: the rank of the derivative."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("return r * (d + k - r)", "return r * (d + k + r)"),
    ("return r * (d + k - r)", "return r * (d + k)"),
    ("return r * (d + k - r)", "return r * (d * k - r)"),
    ("E = P @ B + A @ Q", "E = P @ B - A @ Q"),
    ("made = -(Q @ right)", "made = Q @ right"),
    ('"Q": -(X @ B)', '"Q": X @ B'),
    ("left @ (E - E @ right @ B)", "left @ (E + E @ right @ B)"),
    ("== t**2 * (P @ Q)", "== t * (P @ Q)"),
    ("(d - r) * (k - r))", "(d - r) * (k + r))"),
    ("d * b + a * k - a * b for", "d * b + a * k + a * b for"),
    ('{"A": A, "B": sympy.zeros(2, 3)}', '{"A": A, "B": B}'),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c04_jacobian", old, new)
