"""Pictures of speed and the report on it, from the kept benchmark records.

`speed.svg`: tokens a second of each contestant, and the machine's limit. `scaling.svg`: how the
cost of a LoRA step grows. `README.md` beside them: every record's tables. The same records give the
same bytes.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from experiments.benchmarks import timing
from experiments.benchmarks.timing import Record
from lowrank_da.files import atomic
from paper.figure import save

METHODS = {"lora": "LoRA, rank 8 on all maps", "full": "full fine-tuning"}
CONTESTANTS = {
    "library_defaults": ("Trainer + peft, defaults", "0.95"),
    "library_tuned": ("Trainer + peft, tuned", "0.8"),
    "ours_dropout": ("ours, with dropout 0.1", "0.65"),
    "ours": ("ours", "0.45"),
}
"""By case: the label and the shade of grey."""


def draw(record: Record) -> Drawing:
    """Horizontal bars by method; a line stands where all arithmetic runs at the machine's peak."""
    drawing = Drawing(figsize=(7.0, 3.4), layout="constrained")
    axes = drawing.subplots()
    bars = [
        (method, case, several)
        for method in METHODS
        for case in CONTESTANTS
        if (several := record.measurements.get(f"{method}/{case}"))
    ]
    places: list[float] = []
    for number, (method, case, several) in enumerate(bars):
        label, shade = CONTESTANTS[case]
        place = number + list(METHODS).index(method)
        speed = timing.summary([m["tokens"] / m["seconds"] for m in several])
        spread = [[speed.median - speed.low], [speed.high - speed.median]]
        axes.barh(place, speed.median, color=shade, edgecolor="black", xerr=spread, capsize=2)
        axes.annotate(
            f" {speed.median:,.0f}", (speed.high, place), va="center", fontsize=8, color="black"
        )
        axes.annotate(
            label, (0, place), (-4, 0), textcoords="offset points", ha="right", va="center"
        )
        places.append(place)
    for method, title in METHODS.items():
        own = [p for p, (m, *_) in zip(places, bars, strict=True) if m == method]
        (several,) = (s for m, case, s in bars if (m, case) == (method, "ours"))
        limit = record.peak_flops_per_second / (several[0]["flops"] / several[0]["tokens"])
        axes.vlines(limit, min(own) - 0.5, max(own) + 0.5, colors="black", linestyles="dashed")
        axes.annotate(
            f"limit {limit:,.0f}",
            (limit, min(own) - 0.5),
            (-3, 2),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
        axes.annotate(title, (0, min(own) - 0.75), fontsize=9, fontweight="bold", va="center")
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens a second in training")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return drawing


SERIES = {
    "texts": "texts of 128 tokens",
    "length": "tokens of a text, 2,048 in all",
    "rank": "rank",
    "layers": "adapted layers, from the top",
    "layers over a trunk": "the same, known states below",
    "adapters": "adapters trained jointly",
}
"""By what changes: the axis' label."""


def draw_scaling(record: Record) -> Drawing:
    """A panel a series: seconds of a step over what changes, and the limit dashed below."""
    drawing = Drawing(figsize=(7.0, 4.2), layout="constrained")
    panels = drawing.subplots(2, 3).flat
    for (what, label), axes in zip(SERIES.items(), panels, strict=True):
        points = {
            int(case.removeprefix(f"{what}/")): several
            for case, several in record.measurements.items()
            if case.startswith(f"{what}/")
        }
        numbers = sorted(points)
        seconds = [timing.summary([m["seconds"] for m in points[n]]) for n in numbers]
        medians = [s.median for s in seconds]
        below, above = (
            [abs(end - s.median) for end, s in zip(ends, seconds, strict=True)]
            for ends in ([s.low for s in seconds], [s.high for s in seconds])
        )
        axes.errorbar(numbers, medians, [below, above], color="black", marker="o", ms=3, capsize=2)
        least = [points[n][0]["flops"] / record.peak_flops_per_second for n in numbers]
        axes.plot(numbers, least, color="0.4", linestyle="dashed")
        if numbers[-1] >= 16:
            axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [str(n) for n in numbers])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
        axes.spines["right"].set_visible(False)
    drawing.supylabel("seconds of a LoRA step; dashed: the limit", fontsize=9)
    return drawing


SIZE = "full"
"""Of the kept records."""
PICTURES: dict[str, tuple[str, Callable[[Record], Drawing]]] = {
    "speed": ("peers", draw),
    "scaling": ("scaling", draw_scaling),
}
"""By picture: the benchmark it shows, measured on a processor, and how it is drawn."""


def report(kept: Path) -> str:
    """Every record of the folder `kept` as its tables, below its picture if it has one."""
    parts = [
        "# Speed, in full",
        "Generated from the records in this folder by `python -m paper.pages`.",
    ]
    shown = {benchmark: picture for picture, (benchmark, _) in PICTURES.items()}
    for path in sorted(kept.glob("*.json")):
        record = Record.load(path)
        parts.append(f"## {record.benchmark}, {record.made_by['device']}")
        if record.benchmark in shown and record.made_by["device"] == "cpu":
            parts.append(f"![{record.benchmark}]({shown[record.benchmark]}.svg)")
        parts.append(timing.markdown(record))
    return "\n\n".join(parts) + "\n"


def write(kept: Path) -> list[Path]:
    """A picture of each record in `kept` that has one, and `README.md` beside them.

    Raises `UserError` when a record is damaged.
    """
    paths = []
    for picture, (benchmark, drawn) in PICTURES.items():
        record = kept / f"{benchmark}-{SIZE}-cpu.json"
        if record.exists():
            paths.append(kept / f"{picture}.svg")
            save(partial(drawn, Record.load(record)), paths[-1])
    paths.append(kept / "README.md")
    with atomic(paths[-1]) as temporary:
        temporary.write_text(report(kept))
    return paths
