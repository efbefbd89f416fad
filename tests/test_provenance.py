"""provenance.py: which commit, which versions, which machine, and whether the tree was clean."""

import os
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest

from lowrank_da import provenance


@pytest.fixture(autouse=True)
def _no_outer_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """git tells the hooks it starts where they are; these tests are elsewhere."""
    for name in [n for n in os.environ if n.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(root: Path, *arguments: str) -> str:
    """Run git in `root`, as somebody."""
    someone = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(root), *someone, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one committed file."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    return tmp_path


def test_a_clean_checkout_is_named_by_its_commit(checkout: Path) -> None:
    assert provenance.commit(checkout) == {
        "commit": git(checkout, "rev-parse", "HEAD"),
        "dirty": False,
    }


@pytest.mark.parametrize("path", ["code.py", "new.py", "experiments/new.py", "lowrank_da/runs/x"])
def test_a_change_makes_it_dirty(checkout: Path, path: str) -> None:
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("2\n")
    assert provenance.commit(checkout)["dirty"] is True


@pytest.mark.parametrize("path", ["runs/a.json", "experiments/results/thesis/tiny/a.json"])
def test_runs_and_results_do_not(checkout: Path, path: str) -> None:
    (checkout / path).parent.mkdir(parents=True)
    (checkout / path).write_text("{}")
    assert provenance.commit(checkout)["dirty"] is False


def test_without_a_repository_or_git_the_tree_counts_as_dirty(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"commit": None, "dirty": True}
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(outside.parent))
    assert provenance.commit(outside) == nothing
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(checkout) == nothing


def test_versions_are_the_installed_ones() -> None:
    found = provenance.versions()
    assert set(found) == {"python", *provenance.PACKAGES}
    assert all(found[name] == metadata.version(name) for name in provenance.PACKAGES)


def test_hardware_is_what_this_process_may_use() -> None:
    assert 1 <= provenance.hardware()["cores"] <= (os.cpu_count() or 1)


def test_cpu_flags_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "processor: 0\nmodel name\t: A chip\nflags\t\t: fpu avx512_bf16\n"
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: lines)
    assert provenance.cpu_flags() == {"fpu", "avx512_bf16"}
    assert provenance.hardware()["processor"] == "A chip"
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert provenance.cpu_flags() == frozenset()


def test_made_by_joins_all_and_what_it_is_given(checkout: Path) -> None:
    made = provenance.made_by(checkout, precision="fp32")
    assert made["commit"] == git(checkout, "rev-parse", "HEAD")
    assert made["precision"] == "fp32"
    assert datetime.fromisoformat(made["date"]).utcoffset() is not None
    assert set(made) == {"commit", "dirty", "date", "versions", "hardware", "precision"}
