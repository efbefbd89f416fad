"""Pieces of tables that several kinds share: class metrics beside the published, seconds."""

from collections.abc import Sequence
from typing import Any

from lowrank_da import metrics
from lowrank_da.run import Run
from paper import estimate, words
from paper.table import MISSING, Records, Row
from paper.words import Text

SECONDS = Text("Training time, s: {times}.", "Время обучения, с: {times}.")


def header(records: Records) -> Row:
    """Class, source of the row, precision, recall, F1."""
    columns = (words.CLASS, words.MODEL, words.PRECISION, words.RECALL, words.F1)
    return tuple(column.say(records.lang) for column in columns)


def metrics_by_class(runs: Sequence[Run]) -> dict[str, Row]:
    """Precision, recall and F1 on *id*, by class name; empty without runs."""
    if not runs:
        return {}
    estimates = estimate.of_confusion(runs, metrics.class_metrics)
    return {
        label: tuple(estimates[row, column].show() for column in range(3))
        for row, label in enumerate(runs[0].labels)
    }


def beside_published(
    records: Records,
    positions: Sequence[int],
    theirs: Sequence[Sequence[Any]],
    ours: dict[str, dict[str, Row]],
) -> tuple[tuple[Row, ...], ...]:
    """One group a class: the published row, then a row for each model of `ours`.

    `theirs` holds precision, recall and F1 for each of `positions`; `ours` maps a row's name to
    its metrics by class, where an absent class is `MISSING`.
    """
    groups = []
    for position, numbers in zip(positions, theirs, strict=True):
        name = records.facts.class_name(position, records.lang)
        published = (name, words.PUBLISHED.say(records.lang), *map(str, numbers))
        label = records.facts.labels[position]
        rows = [("", who, *by_class.get(label, (MISSING,) * 3)) for who, by_class in ours.items()]
        groups.append((published, *rows))
    return tuple(groups)


def published_rows(records: Records, table: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """The published row of each of our classes; `MISSING` where there is none."""
    positions = [records.facts.published_position(i) for i in records.facts.classes]
    return [(MISSING,) * len(table[0]) if i is None else table[i] for i in positions]


def mean_seconds(runs: Sequence[Run]) -> float | None:
    """Mean training seconds over seeds; None without runs or where one has no time.

    What was computed once for frozen layers counts, and so does a head that was trained before.
    """
    parts = ("train_seconds", "trunk_seconds", "head_seconds")
    times = [
        sum(run.measured.get(part, 0.0) for part in parts)
        for run in runs
        if "train_seconds" in run.measured
    ]
    return sum(times) / len(times) if times and len(times) == len(runs) else None


def share_of_limit(runs: Sequence[Run]) -> str:
    """How much of the machine's best speed was used, a mean over seeds.

    Blank where it was not measured, and where a training had a part of the processors only: who
    else worked then is not known.
    """
    shares = [run.measured.get("share_of_peak") for run in runs if _had_all(run)]
    known = [share for share in shares if share is not None]
    return f"{sum(known) / len(known):.2f}" if known and len(known) == len(runs) else ""


def _had_all(run: Run) -> bool:
    """Whether a card trained, or all cores of the processor."""
    made = run.made_by
    return bool(made["device"] != "cpu" or made.get("threads") == made["hardware"]["cores"])


def seconds_note(records: Records, published: Any, names: Sequence[str]) -> str:
    """The line with the training times, as the thesis has it above its tables."""
    times = [f"{words.PUBLISHED.say(records.lang)} {published}"]
    for name in names:
        seconds = mean_seconds(records.get(name))
        times.append(f"{name} {MISSING if seconds is None else format(seconds, '.1f')}")
    return SECONDS.say(records.lang, times="; ".join(times))
