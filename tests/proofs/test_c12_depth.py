"""C12: depth adds ranks up."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("y @ b @ E, unit + (1 / beta)", "y @ b @ E, unit + beta"),
    ('{"E E": -E, "b E a"', '{"b E a"'),
    ('"E c": y - c', '"E c": y + c'),
    ("rest == (unit - y @ b) @ E", "rest == E @ (unit - y @ b)"),
    ("V_inverse @ (unit + F) @ V @ W", "V @ (unit + F) @ V_inverse @ W"),
    ("(Q - P) @ (W + F) + P @ F", "(Q - P) @ W + P @ F"),
    ("(W @ A2) @ B2,", "(W @ A2) @ B,"),
    ("Z - y * b * E), unit", "Z + y * b * E), unit"),
    ("target * chain(layers).inv()", "chain(layers).inv() * target"),
    ("before = before * W", "before = W * before"),
    ('.rank() <= sum(v["ranks"])', '.rank() <= 2 * sum(v["ranks"])'),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c12_depth", old, new)
