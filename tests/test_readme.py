"""What the pages show is run: the README's Python here, their commands in `.ci/run`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import optuna

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {page: page.read_text() for page in (ROOT / "README.md", ROOT / "experiments/RESULTS.md")}


def python_that(has: str) -> str:
    """The README's one Python example with that text."""
    (found,) = (e for e in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if has in e)
    return str(found)


def test_the_python_example_runs(tmp_path: Path) -> None:
    example = python_that("import train")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    macro_f1, _, confusion = done.stdout.partition(" ")
    assert 0 <= float(macro_f1) <= 1
    assert sum(map(int, re.findall(r"\d+", confusion))) == 80
    assert (tmp_path / "runs/mine/tiny/lora_rank_4--seed0.json").exists()


def test_the_optuna_script_and_the_command_share_a_study(tmp_path: Path) -> None:
    script = python_that("import optuna")
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    ignored = shutil.ignore_patterns("results", "__pycache__")
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=ignored)
    sweep = ["-m", "lowrank_da.cli", "sweep", "lora_search", "--setting", "tiny", "--quiet"]
    four = [*sweep, "--storage", "sqlite:///search.db", "--trials", "4", "--device", "cpu"]
    for asked in (["-c", script], four):
        done = subprocess.run(
            [sys.executable, *asked], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'search.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    assert len(list((tmp_path / "runs/lora_search/tiny").glob("grid/*.json"))) == 4


def test_every_command_they_show_is_run_by_ci() -> None:
    ci = (ROOT / ".ci/run").read_text() + (ROOT / "Makefile").read_text()
    written = re.sub(
        r"<!-- generated.*?/generated -->", "", "\n".join(PAGES.values()), flags=re.DOTALL
    )
    shown = re.findall(r"`lowrank-da ([^`]+)`", written)
    assert len(shown) >= 9
    needs_network_or_records = ("data get", "keep")
    in_a_slow_test = ("run method_comparison ia3",)  # of test_extension.py
    for command in shown:
        words = command.split(" [")[0].replace("NAME", "").strip()
        if not words.startswith(needs_network_or_records + in_a_slow_test):
            assert f"lowrank-da {words}" in ci, command


def test_their_relative_links_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for link, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", text):
            target = page.parent / link if link else page
            assert target.exists(), (page, link)
            if anchor:
                titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
                assert anchor in [t.lower().replace(" ", "-") for t in titles], (page, anchor)
