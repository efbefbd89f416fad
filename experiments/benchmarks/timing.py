"""What all benchmarks share: cases measured in turn, their ratios, and the record of both.

The seconds of a shared machine drift from minute to minute. So cases run round-robin, a ratio is
taken within each round, and what is reported is the median of the rounds' ratios with the least and
the greatest. A record is one JSON file; it needs no torch to be read.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lowrank_da import metrics, provenance, uncertainty
from lowrank_da.errors import UserError
from lowrank_da.files import atomic

if TYPE_CHECKING:
    from lowrank_da.machine import Machine

SCHEMA = 1

Measurement: TypeAlias = dict[str, float]
"""Numbers of one repeat: `seconds`, and where it applies `tokens` and `flops` done in them."""
Measurements: TypeAlias = Mapping[str, Sequence[Measurement]]
"""By case, one measurement a round."""


# Measuring


@dataclass(frozen=True)
class Case:
    """Something to measure: each call of `repeat` does all of it once."""

    name: str
    repeat: Callable[[], Measurement]


def interleaved(
    cases: Sequence[Case], repeats: int, warm_up: bool = True
) -> dict[str, list[Measurement]]:
    """Every case's measurements, one a round, of `repeats` rounds.

    With `warm_up`, one more round goes before them and is not counted.

    Each round begins with the next case, so that none always runs on a machine that has just
    rested. Raises `ValueError` for no round, or two cases of one name.
    """
    if repeats < 1 or len({case.name for case in cases}) < len(cases):
        raise ValueError("at least one round, of cases with different names, is needed")
    found: dict[str, list[Measurement]] = {case.name: [] for case in cases}
    for turn in range(0 if warm_up else 1, repeats + 1):
        first = turn % len(cases)
        for case in [*cases[first:], *cases[:first]]:
            measured = case.repeat()
            where = f"round {turn} of {repeats}" if turn else "warm-up"
            print(f"{case.name}: {measured['seconds']:.3f} s ({where})", file=sys.stderr)
            if turn:
                found[case.name].append(measured)
    return found


# Summaries


@dataclass(frozen=True)
class Summary:
    """The middle of several measured numbers, and their spread."""

    median: float
    low: float
    high: float

    def show(self, decimals: int = 2) -> str:
        """`1.52 [1.48, 1.60]`: the median, the least and the greatest."""
        return f"{self.median:,.{decimals}f} [{self.low:,.{decimals}f}, {self.high:,.{decimals}f}]"


def summary(values: Sequence[float]) -> Summary:
    """Median, least and greatest."""
    return Summary(float(np.median(values)), float(np.min(values)), float(np.max(values)))


def median(measurements: Sequence[Measurement], number: str = "seconds") -> float:
    """Of one number, over the rounds."""
    return summary([measured[number] for measured in measurements]).median


def share_of_limit(measurements: Sequence[Measurement], peak: float) -> float:
    """The operations that were needed in a second over those that the machine can do, median."""
    return summary([m["flops"] / m["seconds"] for m in measurements]).median / peak


# The record


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark's table: a ratio, or another number with an interval."""

    what: str
    target: str | None = None
    """Such as `>= 8`, or `low > -2` where the interval's lower end is meant; None: none is set."""
    ratio: float
    low: float
    high: float
    limit: float | None = None
    """What the ratio would be at the compute limit."""
    note: str = ""
    """What bounds the ratio, or what was chosen in the measurement."""
    rounds: tuple[float, ...] = ()
    """The ratio in each round."""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where none is set."""
        if self.target is None:
            return None
        which, sign, number = _parsed(self.target)
        value, bound = (self.low if which else self.ratio), float(number)
        return {
            ">=": value >= bound,
            "<=": value <= bound,
            ">": value > bound,
            "<": value < bound,
        }[sign]

    def __post_init__(self) -> None:
        if self.target is not None:
            _parsed(self.target)


def _parsed(target: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(low )?(>=|<=|>|<) (-?[0-9.]+)", target)
    if found is None:
        raise ValueError(f"target {target!r}: write `>= 8`, `<= 0.75` or `low > -2`")
    which, sign, number = found.groups()
    return which or "", sign, number


def spread(
    what: str,
    rounds: Sequence[float],
    *,
    target: str | None = None,
    limit: float | None = None,
    note: str = "",
) -> Row:
    """The row of a number that each round measured once."""
    ends = summary(rounds)
    return Row(
        what=what,
        target=target,
        ratio=ends.median,
        low=ends.low,
        high=ends.high,
        limit=limit,
        note=note,
        rounds=tuple(rounds),
    )


def ratio(
    what: str,
    over: Sequence[Measurement],
    under: Sequence[Measurement],
    *,
    target: str | None = None,
    limit: float | None = None,
    note: str = "",
) -> Row:
    """The row of one case's seconds over another's, taken round by round."""
    rounds = [a["seconds"] / b["seconds"] for a, b in zip(over, under, strict=True)]
    return spread(what, rounds, target=target, limit=limit, note=note)


def points(
    what: str,
    true: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    classes: int,
    groups: np.ndarray,
    *,
    target: str | None = None,
    note: str = "",
) -> Row:
    """The row of one model's macro-F1 less another's, in points, with its 95 % interval.

    `true` holds (texts,) class numbers, `groups` the hashes of the texts' groups, `first` and
    `second` what the models said: (seeds, texts).
    Both scores are means over the seeds; a round is a seed.
    """
    test = uncertainty.paired(true, first, second, classes, groups)
    ends = test.interval()
    a, b = (macro_f1(true, said, classes) for said in (first, second))
    several = len(first) > 1
    said = f"mean over {len(first)} seeds" if several else "one seed"
    over = "texts and seeds" if several else "texts"
    return Row(
        what=f"{what}: macro-F1, points",
        target=target,
        ratio=100 * float(test.value),
        low=100 * float(ends.low),
        high=100 * float(ends.high),
        note=f"{said}, {len(true):,} texts; in brackets the 95 % interval over {over}"
        + (f"; {note}" if note else ""),
        rounds=tuple(100 * (x - y) for x, y in zip(a, b, strict=True)),
    )


def macro_f1(true: np.ndarray, said: np.ndarray, classes: int) -> list[float]:
    """Of each row of the (seeds, texts) answers."""
    return [float(metrics.macro_f1(metrics.confusion_matrix(true, s, classes))) for s in said]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A benchmark's outcome, with everything that was measured and what measured it."""

    benchmark: str
    size: str
    rows: tuple[Row, ...]
    measurements: dict[str, list[Measurement]]
    made_by: dict[str, Any]
    peak_flops_per_second: float
    """Of a large matrix product, measured in the same run."""

    def save(self, folder: Path) -> Path:
        """Write `<folder>/<benchmark>-<size>-<cpu or cuda>.json` by atomic rename."""
        device = "cpu" if self.made_by["device"] == "cpu" else "cuda"
        path = folder / f"{self.benchmark}-{self.size}-{device}.json"
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"schema": SCHEMA} | asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read a record; `UserError` when it is missing, damaged or of another schema."""
        advice = "delete it and run the benchmark again, or restore it from git"
        try:
            body = json.loads(path.read_text())
            schema = body.pop("schema")
            if schema != SCHEMA:
                raise UserError(f"{path}: record schema {schema}, this code reads {SCHEMA}")
            rows = tuple(Row(**row | {"rounds": tuple(row["rounds"])}) for row in body.pop("rows"))
            return cls(rows=rows, **body)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: the record is damaged ({error}); {advice}") from error


def runs_folder(root: Path) -> Path:
    """Where fresh benchmark records of the checkout `root` go."""
    return root / "runs" / "benchmarks"


def record(
    benchmark: str,
    size: str,
    rows: Sequence[Row],
    measurements: Measurements,
    machine: "Machine",
    root: Path,
    **more: Any,
) -> Record:
    """What was just measured on `machine` from the checkout `root`; `more` goes to `made_by`."""
    import torch

    made_by = provenance.made_by(
        root,
        precision=machine.precision,
        device=machine.name,
        threads=torch.get_num_threads(),
        **more,
    )
    return Record(
        benchmark=benchmark,
        size=size,
        rows=tuple(rows),
        measurements={case: list(several) for case, several in measurements.items()},
        made_by=made_by,
        peak_flops_per_second=machine.peak_flops(),
    )


def head(record: Record) -> str:
    """A line that says where a record's numbers come from."""
    made_by, peak = record.made_by, record.peak_flops_per_second
    commit = (made_by["commit"] or "no commit")[:8] + (", changed" if made_by["dirty"] else "")
    where = made_by["hardware"]["processor"] if made_by["device"] == "cpu" else made_by["device"]
    return (
        f"**{record.benchmark}, {record.size}: {where}, {made_by['threads']} threads,"
        f" {made_by['precision']}, {peak / 1e12:.2f} TFLOP/s at best, torch"
        f" {made_by['versions']['torch']}, {commit}.**"
    )


SPREAD = (
    "Ratios of seconds are medians over rounds, with the least and the greatest; `limit` is the"
    " ratio at the least number of operations and the machine's best speed."
)
COLUMNS = ("what", "target", "measured", "limit", "met", "note")


def cells(row: Row) -> tuple[str, ...]:
    """A row's text, by column."""
    return (
        row.what,
        row.target or "-",
        Summary(row.ratio, row.low, row.high).show(),
        "-" if row.limit is None else f"{row.limit:.2f}",
        {True: "yes", False: "no", None: "-"}[row.met],
        row.note,
    )


def markdown(record: Record) -> str:
    """The table of ratios, and below it every timed case beside the limit."""
    timed = {name: m for name, m in record.measurements.items() if "seconds" in m[0]}
    parts = [head(record) + " " + SPREAD, table(COLUMNS, map(cells, record.rows))]
    if timed:
        names = ("case", "seconds", "tokens/s", "share of the limit")
        peak = record.peak_flops_per_second
        parts.append(table(names, [_case(name, m, peak) for name, m in timed.items()]))
    return "\n\n".join(parts)


def _case(name: str, several: Sequence[Measurement], peak: float) -> tuple[str, ...]:
    seconds = summary([m["seconds"] for m in several]).show()
    rate, share = "-", "-"
    if "tokens" in several[0]:
        rate = f"{summary([m['tokens'] / m['seconds'] for m in several]).median:,.0f}"
    if "flops" in several[0]:
        share = f"{share_of_limit(several, peak):.1%}"
    return name, seconds, rate, share


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))
