"""Independent jobs in several processes of this machine.

Much of a training's step is too small to be shared by threads: two trainings with one thread each
take less time together than one after the other with two.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from lowrank_da.errors import UserError

T = TypeVar("T")


def each(jobs: Sequence[Callable[[], T]], workers: int) -> list[T]:
    """What every job returns, in their order; `workers` of them are done at a time.

    With one worker they are done here, else in processes of their own, to which jobs and results
    are pickled. After the first error no other job is begun; those at work are finished, and the
    error is raised. Raises `UserError` when a process is killed.
    """
    if workers == 1:
        return [job() for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed, for want of memory perhaps; the same command goes on, with"
                " fewer --workers if need be"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]
