"""C02: merging, dropout and rounding."""

import numpy as np
import pytest
from mutated_claims import faults_with

from proofs.c02_merge import CLAIM, HALF, exact, outputs, rounding

MUTANTS = (
    ("+ z * ((x @ C) @ E)", "- z * ((x @ C) @ E)"),
    ("- one - two == W", "- one + two == W"),
    ("gap == s * (x @ (D - identity(d))", "gap == s * (x @ (D + identity(d))"),
    ("gap == s *", "gap == s**2 *"),
    ("1 / (1 - p): 1 - p", "1 / (1 + p): 1 - p"),
    ("{sympy.Integer(0): p", "{sympy.Integer(1): p"),
    ("HALF = 11", "HALF = 13"),
    ('fl(x * v["D"])', "x"),
    ("W = fl(W - fl(", "W = fl(W + fl("),
    ("y == Fraction(1, 2**12)", "y == Fraction(1, 2**11)"),
    ("= 2 * mu /", "= mu / 10 /"),
    ('"D": exact([2, 0, 2])', '"D": exact([1, 1, 1])'),
)


@pytest.mark.parametrize(("old", "new"), MUTANTS)
def test_other_mathematics_is_at_fault(old, new):
    assert faults_with("c02_merge", old, new)


@pytest.mark.parametrize(("bits", "dtype"), [(HALF, np.float16), (24, np.float32)])
def test_rounding_is_that_of_numpy(bits, dtype):
    """Down to ties, and to numbers that round up to the next power of two."""
    spread = np.random.default_rng(0).uniform(1, 2, 500) * 2.0 ** np.arange(-12, 13).repeat(20)
    places = 1 + np.arange(-9, 10) * 2.0**-bits
    numbers = np.concatenate([spread, places, -places, [0.0]])
    ours = rounding(bits)(exact(numbers))
    np.testing.assert_array_equal(ours.astype(float), numbers.astype(dtype).astype(float))


def test_witness_in_real_half_precision():
    one, lost = np.float16(1), np.float16(2**-12)
    assert (one + lost) - one == 0
    assert (one - one) + lost == 2**-12


def test_dropout_moves_one_pass_by_the_stated_difference():
    values = CLAIM.models["dropout off"]
    unmerged, merged, _ = outputs(values, rounding(None))
    kept = values["x"] * (values["D"] - 1)
    assert (unmerged - merged == sum(s * (kept @ A @ B) for A, B, s in values["adapters"])).all()
