"""Energy in joules, where the machine tells it; otherwise None.

- On a processor: Linux' powercap counters of the processor packages (Intel RAPL; AMD answers under
  the same name). They count everything that runs on the machine, and many machines let only the
  administrator read them.
- On a card: NVML's total energy counter (NVIDIA, from Volta on; the package nvidia-ml-py). It
  counts that card alone, not the processor beside it.

A sum that lacks a part would look like a smaller one, so a counter that cannot be read makes the
whole absent.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows its energy counters, one folder a domain."""


@dataclass(frozen=True)
class Counter:
    """Something that counts energy upwards."""

    read: Callable[[], int | None]
    """The count; None where it cannot be read."""
    joules: float
    """In one unit of the count."""
    wraps_at: int | None = None
    """The largest count, after which it starts at 0 again; None: it never does."""

    def since(self, before: int | None) -> float | None:
        """Joules since a reading, after which it wrapped around at most once; None if unknown."""
        now = self.read()
        if before is None or now is None:
            return None
        if now >= before:
            return self.joules * (now - before)
        return None if self.wraps_at is None else self.joules * (now + self.wraps_at - before)


def packages(root: Path = POWERCAP) -> list[Counter]:
    """The counters of all processor packages below `root`; empty unless every one is readable."""
    found = []
    try:
        for folder in sorted(root.glob("intel-rapl:*")):
            # A package's parts (cores, memory) lie beside it under names of their own.
            if (folder / "name").read_text().startswith("package"):
                largest = _integer(folder / "max_energy_range_uj")
                found.append(Counter(_reader(folder / "energy_uj"), 1e-6, largest))
    except (OSError, ValueError):
        return []
    return found if all(counter.read() is not None for counter in found) else []


def _integer(path: Path) -> int:
    return int(path.read_text())


def _reader(path: Path) -> Callable[[], int | None]:
    def read() -> int | None:
        try:
            return _integer(path)
        except (OSError, ValueError):
            return None

    return read


def card(uuid: str) -> list[Counter]:
    """The counter of the NVIDIA card with this UUID (`GPU-...`); empty where NVML has none."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return []

    def read() -> int | None:
        try:
            return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        except nvml.NVMLError:
            return None

    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:
        return []
    counter = Counter(read, 1e-3)
    return [] if counter.read() is None else [counter]


class Meter:
    """Joules between each `start` and the `stop` after it, added up.

    A processor's counter wraps around in well under an hour of full load; stop and start at least
    every ten minutes.
    """

    def __init__(self, counters: Sequence[Counter]) -> None:
        self.joules: float | None = 0.0 if counters else None
        """Up to the last `stop`; None for good once a part of it is unknown."""
        self._counters = counters
        self._before: list[int | None] | None = None

    def start(self) -> None:
        """Count from here, also if it runs already: what it has not added yet is dropped."""
        self._before = [counter.read() for counter in self._counters]

    def stop(self) -> None:
        """Add what was used since `start`, if it runs."""
        if self._before is not None:
            used = self._used(self._before)
            self.joules = None if self.joules is None or used is None else self.joules + used
            self._before = None

    def _used(self, before: list[int | None]) -> float | None:
        parts = [c.since(reading) for c, reading in zip(self._counters, before, strict=True)]
        known = [part for part in parts if part is not None]
        return sum(known) if parts and len(known) == len(parts) else None
