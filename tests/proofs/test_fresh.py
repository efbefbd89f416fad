"""The committed report is what the claims say now."""

from collections.abc import Callable
from pathlib import Path

import proofs
from proofs import report
from proofs.__main__ import files
from proofs.claim import Verdict


def test_the_report_is_fresh(verdict_of: Callable[[str], Verdict]) -> None:
    kept = Path(proofs.__file__).parent / "REPORT.md"
    advice = "run `python -m proofs --md proofs/REPORT.md`"
    assert kept.read_text() == report.markdown([verdict_of(n) for n in files().values()]), advice
