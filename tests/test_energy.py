"""energy.py: counters of a pretended machine, in a temporary folder and a pretended NVML."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lowrank_da import energy
from lowrank_da.energy import Counter, Meter

LARGEST = 262_143_328_850
UUID = "GPU-00000000-1111-2222-3333-444444444444"


def domain(root: Path, folder: str, name: str, microjoules: int) -> Path:
    """One powercap folder; returns the file of its count."""
    (root / folder).mkdir(parents=True)
    (root / folder / "name").write_text(f"{name}\n")
    (root / folder / "max_energy_range_uj").write_text(f"{LARGEST}\n")
    count = root / folder / "energy_uj"
    count.write_text(f"{microjoules}\n")
    return count


def forbid(count: Path) -> None:
    """Make a count unreadable whoever runs the tests, the administrator included."""
    count.unlink()
    count.mkdir()


class Steps:
    """A counter that says the given values one after the other."""

    def __init__(self, *values: int | None) -> None:
        self.values = list(values)

    def __call__(self) -> int | None:
        return self.values.pop(0)


# Processors


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    first = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    core = domain(tmp_path, "intel-rapl:0:0", "core", 0)
    board = domain(tmp_path, "intel-rapl:2", "psys", 0)
    meter = Meter(energy.packages(tmp_path))
    assert meter.joules == 0
    meter.start()
    first.write_text("3500000\n")
    second.write_text("6000000\n")
    core.write_text("700000000\n")
    board.write_text("700000000\n")
    meter.stop()
    assert meter.joules == pytest.approx(2.5 + 1.0)


def test_an_interruption_is_not_counted(tmp_path: Path) -> None:
    count = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = Meter(energy.packages(tmp_path))
    meter.start()
    count.write_text("2000000")
    meter.stop()
    assert meter.joules == pytest.approx(2)
    count.write_text("9000000")
    meter.stop()  # not running: nothing to add
    meter.start()
    count.write_text("9500000")
    meter.start()  # anew: the half joule is dropped
    count.write_text("12500000")
    meter.stop()
    assert meter.joules == pytest.approx(2 + 3)


def test_a_count_that_wraps_around_goes_on(tmp_path: Path) -> None:
    count = domain(tmp_path, "intel-rapl:0", "package-0", LARGEST - 4_000_000)
    meter = Meter(energy.packages(tmp_path))
    meter.start()
    count.write_text("1000000")
    meter.stop()
    assert meter.joules == pytest.approx(5)
    meter.start()
    count.write_text("2000000")
    meter.stop()
    assert meter.joules == pytest.approx(6)


def test_no_counters_is_absent_and_not_zero(tmp_path: Path) -> None:
    domain(tmp_path / "parts", "intel-rapl:0:0", "core", 0)
    for root in (tmp_path / "nowhere", tmp_path / "parts"):
        assert energy.packages(root) == []
    meter = Meter([])
    assert meter.joules is None
    meter.start()
    meter.stop()
    assert meter.joules is None


@pytest.mark.parametrize("what", ["forbidden", "no range", "no name", "no number"])
def test_one_package_that_cannot_be_read_makes_all_absent(tmp_path: Path, what: str) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 7)
    count = domain(tmp_path, "intel-rapl:1", "package-1", 7)
    assert len(energy.packages(tmp_path)) == 2
    if what == "forbidden":
        forbid(count)
    elif what == "no number":
        count.write_text("\n")
    else:
        count.with_name({"no range": "max_energy_range_uj", "no name": "name"}[what]).unlink()
    assert energy.packages(tmp_path) == []


def test_rights_lost_on_the_way_make_all_absent_for_good(tmp_path: Path) -> None:
    domain(tmp_path, "intel-rapl:0", "package-0", 7)
    count = domain(tmp_path, "intel-rapl:1", "package-1", 7)
    meter = Meter(energy.packages(tmp_path))
    meter.start()
    forbid(count)
    meter.stop()
    assert meter.joules is None
    count.rmdir()
    count.write_text("9")
    meter.start()
    meter.stop()
    assert meter.joules is None


# A meter that goes on from a training that was interrupted


def test_a_meter_goes_on_from_what_was_known() -> None:
    meter = Meter([Counter(Steps(1, 4), 0.5)])
    meter.joules = 10.0
    meter.start()
    meter.stop()
    assert meter.joules == 11.5


@pytest.mark.parametrize(
    ("counters", "before"),
    [([], 10.0), ([Counter(Steps(1, 4), 0.5)], None), ([Counter(Steps(None, 4), 0.5)], 10.0)],
    ids=["none now", "none before", "unread at the start"],
)
def test_a_part_that_nobody_counted_makes_the_sum_absent(
    counters: list[Counter], before: float | None
) -> None:
    meter = Meter(counters)
    meter.joules = before
    meter.start()
    meter.stop()
    assert meter.joules is None


def test_a_count_that_falls_without_wrapping_is_unknown() -> None:
    assert Counter(lambda: 3, 1.0).since(5) is None
    assert Counter(lambda: 3, 1.0, wraps_at=9).since(5) == 7
    assert Counter(lambda: 3, 1.0, wraps_at=9).since(3) == 0


# Cards


class NVMLError(Exception):
    """What NVML raises."""


class Nvml(SimpleNamespace):
    """NVML with one card, or with something wrong."""

    def __init__(self, *millijoules: int | None, library: bool = True) -> None:
        self.readings, self.library = Steps(*millijoules), library
        super().__init__(NVMLError=NVMLError)

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.library:
            raise NVMLError("library not found")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != UUID:
            raise NVMLError("no such card")
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        assert handle == "handle"
        if (reading := self.readings()) is None:
            raise NVMLError("not supported")
        return reading


def pretend(monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None) -> None:
    """Let `import pynvml` find this; None: nothing."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)


def test_a_card_counts_millijoules(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Nvml(1_000, 2_000, 9_500))
    meter = Meter(energy.card(UUID))
    meter.start()
    meter.stop()
    assert meter.joules == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("nvml", "uuid"),
    [
        (None, UUID),
        (Nvml(library=False), UUID),
        (Nvml(1, 2), UUID.replace("4", "5")),
        (Nvml(None), UUID),
    ],
    ids=["no package", "no library", "no such card", "no counter"],
)
def test_a_card_without_a_counter_is_absent(
    monkeypatch: pytest.MonkeyPatch, nvml: Nvml | None, uuid: str
) -> None:
    pretend(monkeypatch, nvml)
    assert energy.card(uuid) == []


def test_a_card_that_stops_answering_makes_the_sum_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Nvml(1_000, 2_000, None))
    meter = Meter(energy.card(UUID))
    meter.start()
    meter.stop()
    assert meter.joules is None


def test_the_pretended_nvml_has_the_names_of_the_real_one() -> None:
    real = pytest.importorskip("pynvml")
    names = [name for name in vars(Nvml) if name.startswith("nvml")]
    assert len(names) == 3
    assert all(callable(getattr(real, name)) for name in names)
    assert issubclass(real.NVMLError, Exception)
