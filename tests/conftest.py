"""What all tests share: one thread, so that numbers repeat; and which tests need what."""

import os

import pytest

from lowrank_da.corpus import DATA_VARIABLE

REQUIRED = "LOWRANK_DA_REQUIRE_DATA"
"""Set to 1, it turns tests that were skipped for want of corpora into failures."""

# Before torch is imported: its sums, and those of the processes that tests start, keep their order.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("data") and not os.environ.get(DATA_VARIABLE):
        reason = f"set {DATA_VARIABLE} to the folder of the corpora to run this test"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{REQUIRED}=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device is there")
