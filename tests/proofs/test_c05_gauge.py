"""C05: adapters of one update."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("E = A @ B - C @ D", "E = A @ B + C @ D"),
    ("G, H = left @ C, D @ right", "G, H = left @ C, 2 * (D @ right)"),
    ("left @ C, D @ right", "left @ A, D @ right"),
    ("- E @ right @ G", "+ E @ right @ G"),
    ("identity(r) - H @ G)", "identity(r) - G @ H)"),
    ("norm == t**2 *", "norm == t *"),
    ("(t * A) @ (1 / t * B) ==", "(t * A) @ (t * B) =="),
    ("a + b / t**2", "a / t**2 + b / t**2"),
    ('unknown * v["D"] - v["B"]', 'unknown * v["D"] + v["B"]'),
    (".det() != 0", ".det() == 0"),
    ("BASIS.inv() * B,", "BASIS * B,"),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c05_gauge", old, new)
