"""Where a sweep's trials lie: SQLite for one host, PostgreSQL for several, and signs of life.

Several workers write at once, start at once, and may be killed: Optuna's storage is opened here so
that none of that loses or doubles a trial.
"""

import re
import time
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

from lowrank_da.errors import UserError

HEARTBEAT, GRACE = 20, 60
"""Seconds between signs of life of a running trial, and after how many without it is given up."""
RETRIES = 3
"""How often a trial is done again whose worker was lost."""
LOCK_SECONDS = 40
"""How long a worker waits for another one that writes into the same SQLite file."""
OPENINGS = 5
"""How often a new storage is opened while other workers are making its tables."""


def absolute(url: str) -> str:
    """A SQLite file's path from the root, for workers start in another folder."""
    start = "sqlite:///"
    return start + str(Path(url.removeprefix(start)).absolute()) if url.startswith(start) else url


def shown(url: str) -> str:
    """Without its password."""
    return re.sub(r"(://[^:/@]+):[^@]+@", r"\1:***@", url)


def storage(url: str) -> RDBStorage:
    """The storage behind a URL, whose running trials give signs of life.

    Raises `UserError` when it cannot be opened.
    """
    import sqlalchemy.exc

    lite = url.startswith("sqlite")
    own = {"connect_args": {"timeout": LOCK_SECONDS}} if lite else {"pool_pre_ping": True}
    for more in reversed(range(OPENINGS)):
        try:
            made = RDBStorage(
                url,
                engine_kwargs=own,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
            if lite:
                _one_at_a_time(made)
            return made
        except (sqlalchemy.exc.SQLAlchemyError, OptunaError, ImportError, ValueError) as error:
            clash = isinstance(error, sqlalchemy.exc.IntegrityError)
            if more and (clash or "already exists" in str(error)):
                time.sleep(1)  # another worker is making the tables
                continue
            cause = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(f"--storage {shown(url)} cannot be opened ({shown(cause)})") from error
    raise AssertionError("the last opening returns or raises")


def _one_at_a_time(made: RDBStorage) -> None:
    """Let a SQLite transaction begin by taking the lock.

    SQLite does not lock what is read to be changed: without this two workers that read at once
    both take the same waiting trial.
    """
    from sqlalchemy import Connection, event

    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # Python's module begins nothing of its own then

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(made.engine, "connect", connected)
    event.listen(made.engine, "begin", begun)
    made.engine.dispose()
