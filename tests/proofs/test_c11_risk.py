"""C11: excess risk."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("(1 - t) * half", "t * half * half"),
    ("return left_out / 4", "return left_out / 8"),
    ("gap = 2 * wrong**2 -", "gap = wrong**2 -"),
    ("(u[i] + u[j]) ** 2 / 2", "(u[i] - u[j]) ** 2 / 2"),
    ("total(u[i] ** 2, i) / 2 - form", "total(u[i] ** 2, i) / 4 - form"),
    ("p_m * (sympy.KroneckerDelta(m, o) - p_o)", "p_m * (sympy.KroneckerDelta(m, o) + p_o)"),
    ("missed = W - D + A @ B, A @ B - (D", "missed = W - D + A @ B, A @ B + (D"),
    ("N - N @ V1 @ V1.T", "N - N @ V2 @ V2.T"),
    ("np.sqrt(2) *", "0.5 *"),
    ("unseen = x @ left, x - seen", "unseen = x @ left, x + seen"),
    ('best - values["D"] + AB', 'best + values["D"] - 2 * AB'),
    ("w <= 1 for w", "w <= 2 for w"),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c11_risk", old, new)
