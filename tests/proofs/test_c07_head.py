"""C07: a softmax head."""

import pytest
from mutated_claims import faults_with

MUTANTS = (
    ("D @ P, D + (-1 / K) * (D @ o)", "D @ P, D + (1 / K) * (D @ o)"),
    ("identity(K) - e @ o.T", "identity(K) - o @ e.T"),
    ("identity(K) - (1 / K) * (o", "identity(K) - (1 / (K - 1)) * (o"),
    ("(d + K) * (d * K / (d + K) - r)", "(d + K) * (d * K / (d + K) + r)"),
    ("(d - K * (K - 1))", "(d - K * (K + 1))"),
    (
        '"r >= K - 1", lambda v: v["rank"] >= v["head"].cols - 1',
        '"r >= K - 2", lambda v: v["rank"] >= v["head"].cols - 2',
    ),
    ("sympy.exp(z[i] - z[m])", "sympy.exp(z[m] - z[i])"),
    (
        "return exact and bool(r * (W.rows + W.cols) <",
        "return exact and bool(r * (W.rows + W.cols) <=",
    ),
    ("X.rank() <= r", "X.rank() < r"),
    ("(m + s * row).rank() for s", "(m + s * row).rank() + 1 for s"),
    ("minor = centred[: n - 1, : n - 1]", "minor = centred[:n, :n]"),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c07_head", old, new)
