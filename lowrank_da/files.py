"""Files are written by atomic rename: each is there and whole, or it is not there."""

import errno
import os
import tempfile
from pathlib import Path

from lowrank_da.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class atomic:  # noqa: N801 - reads as a verb: `with atomic(path) as temporary`
    """Write beside `path`, then rename over it; on any error nothing is left behind.

    A folder that cannot be written, and a full disk, raise `UserError` in one line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        except OSError as error:
            raise self._refusal(error) from error
        os.close(handle)
        os.chmod(name, 0o644)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            try:
                os.replace(self.temporary, self.path)
            except OSError as refused:  # a folder of that name, say
                self.temporary.unlink(missing_ok=True)
                raise self._refusal(refused) from refused
            return
        self.temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise self._refusal(error)

    def _refusal(self, error: OSError) -> UserError:
        if error.errno in _FULL:
            return UserError(f"no space left on the disk for {self.path}; free some and run again")
        return UserError(f"cannot write {self.path} ({error.strerror})")
