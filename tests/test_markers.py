"""Tests that need real corpora skip visibly without them, and fail where they are required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_da.corpus import DATA_VARIABLE

REQUIRED = "LOWRANK_DA_REQUIRE_DATA"
MARKED = """
import pytest

@pytest.mark.data
def test_reads_a_corpus():
    pass
"""


@pytest.mark.parametrize(
    ("variables", "code", "outcome", "reason"),
    [
        ({}, 0, "1 skipped", f"set {DATA_VARIABLE} to the folder"),
        ({REQUIRED: "1"}, 1, "1 error", f"{REQUIRED}=1, but set {DATA_VARIABLE}"),
        ({DATA_VARIABLE: "here", REQUIRED: "1"}, 0, "1 passed", ""),
    ],
)
def test_a_test_that_needs_data(
    variables: dict[str, str], code: int, outcome: str, reason: str, tmp_path: Path
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_marked.py").write_text(MARKED)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    data\n    gpu\n")
    environment = {k: v for k, v in os.environ.items() if k not in (DATA_VARIABLE, REQUIRED)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert outcome in done.stdout
    assert reason in done.stdout
