"""Jobs in several processes: in order, to the first error, and what a killed worker says."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import lowrank_da
from lowrank_da.errors import UserError
from lowrank_da.processes import each


def mark(place: Path, number: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    (place / str(number)).touch()
    return number


def refuse(what: str) -> int:
    raise UserError(f"{what} is not there")


def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_jobs_order(workers: int) -> None:
    assert each([partial(pow, 2, exponent) for exponent in range(5)], workers) == [1, 2, 4, 8, 16]
    assert each([], workers) == []


def test_one_worker_is_this_process_and_several_are_not() -> None:
    assert each([os.getpid], 1) == [os.getpid()]
    assert os.getpid() not in each([os.getpid] * 2, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_is_raised_and_no_other_job_begun(tmp_path: Path, workers: int) -> None:
    others = [partial(mark, tmp_path, number, seconds=0.5) for number in range(30)]
    with pytest.raises(UserError, match="the corpus is not there"):
        each([partial(refuse, "the corpus"), *others], workers)
    done = len(list(tmp_path.iterdir()))
    # With two, the other one works until this one's process has started.
    assert done == 0 if workers == 1 else done < 30


SLOW = """
import signal
from functools import partial
from pathlib import Path
from test_processes import mark
from lowrank_da.processes import each
if __name__ == "__main__":
    # A job in the background inherits that it is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    each([partial(mark, Path({place!r}), number, seconds=1.0) for number in range(20)], 2)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_begun_once_the_one_who_asked_is_stopped(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Ctrl-C reaches all processes of a terminal, the others the first one alone."""
    script = SLOW.format(place=str(tmp_path))
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(lowrank_da.__path__[0]).parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
    )
    while not any(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    assert process.wait(timeout=60) != 0
    time.sleep(1.5)
    there = len(list(tmp_path.iterdir()))
    time.sleep(2.5)
    assert len(list(tmp_path.iterdir())) == there < 20


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(UserError, match="a worker ended before its work"):
        each([die], 2)
