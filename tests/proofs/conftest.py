"""Each claim is verified once for all tests here."""

from collections.abc import Callable
from functools import cache

import pytest

from proofs.__main__ import load
from proofs.claim import Verdict, verify


@pytest.fixture(scope="session")
def verdict_of() -> Callable[[str], Verdict]:
    return cache(lambda name: verify(load(name)))
