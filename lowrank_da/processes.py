"""Independent jobs in several processes of this machine.

Where a training's steps are too small to be shared well by threads, several trainings at a time
with fewer threads each end sooner than one after the other with all.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from lowrank_da.errors import UserError

T = TypeVar("T")


def each(jobs: Sequence[Callable[[], T]], workers: int) -> list[T]:
    """What every job returns, in their order; `workers` of them are done at a time.

    With one worker they are done here, else in processes of their own, to which jobs and results
    are pickled. After the first error no other job is begun; those at work are finished, and the
    error is raised. Raises `UserError` when a process ends before its job does.
    """
    if workers == 1:
        return [job() for job in jobs]
    context = multiprocessing.get_context("spawn")
    futures: list[Future[T]] = []
    at_work: set[Future[T]] = set()
    with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        try:
            for job in jobs:
                # What is handed over is begun, and cannot be called off: no more than can be done.
                if len(at_work) == workers:
                    ended, at_work = wait(at_work, return_when=FIRST_COMPLETED)
                    for future in ended:
                        future.result()
                futures.append(pool.submit(job))
                at_work.add(futures[-1])
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise UserError(
                "a worker ended before its work, killed for want of memory perhaps; the same"
                " command goes on"
            ) from error


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed: nobody else would stop it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
