"""C09: the first step."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("first = -(s**2)", "first = -s"),
    ("h_A * G @ B.T @ B + h_B", "h_A * G @ B.T @ B - h_B"),
    ("(s**3 * h_A * h_B)", "(s**2 * h_A * h_B)"),
    ("G @ B.T @ A.T @ G", "G @ B.T @ B.T.T @ A.T @ G"),
    ("(-(s**2) * h_B) * A", "(-(s**2) * h_A) * A"),
    ("entry - r * sigma**2", "entry - sigma**2"),
    ("columns = sympy.Sum(moment, (m, 1, r))", "columns = sympy.Sum(moment, (m, 1, d))"),
    ('v["scale"](r) ** 2 * r == v["alpha"] ** 2', 'v["scale"](r) * r == v["alpha"]'),
    ("alpha**2 * sigma**2 / r)", "alpha**2 * sigma**2 / r**2)"),
    ("alpha**2 / r**3", "alpha**2 / r**2"),
    ("len(every) * r * sympy", "len(every) * sympy"),
    ('factor = -values["rates"][1]', 'factor = -values["rates"][0]'),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c09_first_step", old, new)
