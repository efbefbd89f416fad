"""Where a record comes from: versions, commit, machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "pytorch-lightning",
    "torchmetrics",
    "tokenizers",
    "scikit-learn",
    "scipy",
    "numpy",
)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def commit(root: Path) -> dict[str, Any]:
    """The checkout's commit and whether anything but runs and results differs from it.

    Outside a checkout, or without git, the commit is None and the tree counts as dirty.
    """
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", ".", ":!runs", ":!experiments/results")
    return {"commit": head, "dirty": head is None or changed is None or changed != ""}


def versions() -> dict[str, str]:
    """Python and the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        found[package] = metadata.version(package)
    return found


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags, where Linux tells them."""
    return frozenset(_cpuinfo("flags").split())


def hardware() -> dict[str, Any]:
    """Processor and the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _cpuinfo("model name") or platform.processor(), "cores": cores}


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((x.partition(":")[2].strip() for x in lines if x.startswith(field)), "")


def made_by(root: Path, **more: Any) -> dict[str, Any]:
    """The `made_by` section of a record; `more` adds fingerprint, precision, device."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return commit(root) | {"date": now, "versions": versions(), "hardware": hardware()} | more
