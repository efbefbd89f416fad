"""JSON lines, plain or gzipped, read with the place of every mistake."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lowrank_da.errors import UserError
from lowrank_da.files import atomic


class Row(NamedTuple):
    """One line of a file."""

    where: str
    """`<file>, line <n>`, for messages."""
    number: int
    """The line, counted from 1."""
    fields: dict[str, Any]

    def string(self, field: str) -> str:
        """The text in `field`; `UserError` when it is missing, blank or not a text."""
        value = self.fields.get(field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{self.where}: no text in {field!r}; fetch the file again")
        return value


def read(path: Path, corpus: str) -> Iterator[Row]:
    """The rows of a `.jsonl` or `.jsonl.gz` file, in its order.

    Raises `UserError` for a missing, truncated or damaged file, with the line where it breaks.
    """
    advice = f"fetch it with `lowrank-da data get {corpus}`"
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise ValueError("not an object")
                yield Row(f"{path}, line {number}", number, fields)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {advice}") from error
    except EOFError as error:
        raise UserError(f"{path} is truncated after line {number}; {advice} again") from error
    except (OSError, zlib.error) as error:
        raise UserError(
            f"{path} is damaged after line {number} ({error}); {advice} again"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{path}, line {number}: not a JSON object ({error}), truncated or damaged;"
            f" {advice} again"
        ) from error


def write_gzip(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `.jsonl.gz` by atomic rename; equal rows give equal bytes."""
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped,
    ):
        for row in rows:
            zipped.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
