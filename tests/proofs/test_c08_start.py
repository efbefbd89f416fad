"""C08: the start at B = 0."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("= s * G @ B.T", "= -s * G @ B.T"),
    ("= s * A.T @ G\n", "= 2 * s * A.T @ G\n"),
    ("slope = s * (X @ B + A @ Y)", "slope = s * (X @ B - A @ Y)"),
    ("(-h * s**2) * square_norm(A.T @ G)", "(-h * s) * square_norm(A.T @ G)"),
    ("== 2 * second", "== second"),
    ("inner(G, -G @ Y.T @ Y) == -s *", "inner(G, G @ Y.T @ Y) == -s *"),
    ("value = sign * s * sigma", "value = s * sigma"),
    ("x ** (k - d) *", "x ** (k + d) *"),
    ("x**2 * sympy.eye(d) - s**2", "x**2 * sympy.eye(d) - s"),
    ("-h * s**2 * A * A.T * G", "-h * s * A * A.T * G"),
    ('"A0\'G is not 0", lambda v: not', '"A0\'G is 0", lambda v:'),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c08_start", old, new)
