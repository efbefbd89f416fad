"""What the README shows is run: its Python here, its commands in `.ci/run`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(tmp_path: Path) -> None:
    example, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    macro_f1, _, confusion = done.stdout.partition(" ")
    assert 0 <= float(macro_f1) <= 1
    assert sum(map(int, re.findall(r"\d+", confusion))) == 80
    assert (tmp_path / "runs/mine/tiny/lora_rank_4--seed0.json").exists()


def test_every_command_it_shows_is_run_by_ci() -> None:
    ci = (ROOT / ".ci/run").read_text() + (ROOT / "Makefile").read_text()
    shown = re.findall(r"`lowrank-da ([^`]+)`", README)
    assert len(shown) >= 9
    needs_network_or_records = ("data get", "keep")
    in_a_slow_test = ("run method_comparison ia3",)  # of test_extension.py
    for command in shown:
        words = command.split(" [")[0].replace("NAME", "").strip()
        if not words.startswith(needs_network_or_records + in_a_slow_test):
            assert f"lowrank-da {words}" in ci, command


def test_its_relative_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
