"""C01: two branches or one weight."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("X @ W + s * ((X @ A) @ B)", "X @ W - s * ((X @ A) @ B)"),
    ("X @ W + s * ((X @ A) @ B)", "X @ W + s**2 * ((X @ A) @ B)"),
    ("W.T @ x + s * (B.T", "W.T @ x - s * (B.T"),
    ("== (n, k)", "== (k, n)"),
    ('symbol("A", d, other)', 'symbol("A", d, r)'),
    ('symbol("B", r, other)', 'symbol("B", r, k)'),
    ("- s * (X * A) * B", "+ s * (X * A) * B"),
    ("adapter = s *", "adapter = -s *"),
    ("merged = (X * (W + s * A * B))", "merged = (X * (W + A * B))"),
    ('"A": -ONE, "B": ONE', '"A": ONE, "B": ONE'),
    ('"A": ONE, "B": -ONE', '"A": ONE, "B": ONE'),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c01_table1", old, new)
