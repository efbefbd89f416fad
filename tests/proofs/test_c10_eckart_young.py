"""C10: the best approximation."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("- square_norm(M @ B.T) + square", "+ square_norm(M @ B.T) + square"),
    ("+ square_norm(A - M @ B.T)", "- square_norm(A - M @ B.T)"),
    ("gram == V @ diagonal @ V.T", "gram == V.T @ diagonal @ V"),
    ("- w[r] * (r - whole(p[i]))", "+ w[r] * (r - whole(p[i]))"),
    ("(1 - p[i]) * (w[i] - w[r])", "(1 - p[i]) * (w[i] + w[r])"),
    ("p[i] * (w[r] - w[i])", "p[i] * (w[i] - w[r])"),
    ("BV, projector = B @ V,", "BV, projector = B @ V.T,"),
    ("== identity(1) - e.T @ projector", "== identity(1) + e.T @ projector"),
    ("best.rewrite(halves) == U1 @ S1 @ V1.T", "best.rewrite(halves) == U2 @ S2 @ V2.T"),
    ("x**2 for x in sigma[rank:]", "x for x in sigma[rank:]"),
    ('error(M, values["X"]) >= tail', 'error(M, values["X"]) <= tail'),
    (
        '"rank X <= r", lambda v: v["X"].rank() <= v["r"]',
        '"rank X <= 2r", lambda v: v["X"].rank() <= 2 * v["r"]',
    ),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c10_eckart_young", old, new)
