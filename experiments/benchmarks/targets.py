"""One table of all targets: what was to be reached, what was measured, and what bounds it.

Command: `python -m experiments.benchmarks.targets --size small` prints it from the records below
`runs/benchmarks/`, as `make bench` leaves them. `experiments/RESULTS.md` shows it from the kept
records.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks import timing
from experiments.benchmarks.command import Parser
from experiments.benchmarks.timing import Record
from lowrank_da.errors import UserError
from lowrank_da.study import Checkout

ORDER = ("peers", "quality", "step", "sharing", "commits", "card")
"""The benchmarks that the table is made of."""
DEVICES = ("cpu", "cuda")


def records(folder: Path, size: str) -> list[Record]:
    """The records of one size in a folder, a device after the other.

    Raises `UserError` when there is none, or one is damaged.
    """
    paths = [folder / f"{name}-{size}-{device}.json" for device in DEVICES for name in ORDER]
    found = [Record.load(path) for path in paths if path.exists()]
    if not found:
        raise UserError(f"no benchmark of size {size} in {folder}; run `make bench SIZE={size}`")
    return found


def table(found: Sequence[Record]) -> str:
    """The rows below a line for each record that says where its numbers come from.

    Of `step`, which times many cases, those with a target.
    """
    heads = [f"- {timing.head(record)}" for record in found]
    rows = [
        timing.cells(row)
        for record in found
        for row in record.rows
        if row.target or record.benchmark != "step"
    ]
    return "\n".join([*heads, "", timing.SPREAD, "", timing.table(timing.COLUMNS, rows)])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: 0, or 2 with one line on standard error."""
    parser = Parser(prog="python -m experiments.benchmarks.targets", description="All targets.")
    parser.add_argument("--size", default="small", help="tiny, small, full")
    try:
        chosen = parser.parse_args(argv)
        print(table(records(timing.runs_folder(Checkout.here().root), chosen.size)))
    except UserError as error:
        print(f"targets: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
