"""Files are written by atomic rename: each is there and whole, or it is not there."""

import errno
import os
import tempfile
from pathlib import Path

from lowrank_da.errors import UserError


class atomic:  # noqa: N801 - reads as a verb: `with atomic(path) as temporary`
    """Write beside `path`, then rename over it; on any error nothing is left behind.

    A full disk raises `UserError` in one line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        except OSError as error:
            raise UserError(f"cannot write {self.path} ({error.strerror})") from error
        os.close(handle)
        os.chmod(name, 0o644)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            os.replace(self.temporary, self.path)
            return
        self.temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UserError(f"no space left on the disk for {self.path}; free some and run again")
