"""Jobs in several processes: in order, to the first error, and what a killed worker says."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from lowrank_da.errors import UserError
from lowrank_da.processes import each


def mark(place: Path, number: int) -> int:
    time.sleep(0.02)
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
    assert each([threading.active_count], 1) == [threading.active_count()]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_is_raised_and_no_other_job_begun(tmp_path: Path, workers: int) -> None:
    jobs = [partial(refuse, "the corpus"), *(partial(mark, tmp_path, n) for n in range(100))]
    with pytest.raises(UserError, match="the corpus is not there"):
        each(jobs, workers)
    assert len(list(tmp_path.iterdir())) < 100


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(UserError, match="a worker was killed"):
        each([die], 2)
