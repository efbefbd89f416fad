"""The README's picture of speed: tokens a second of each contestant, and the machine's limit.

It is drawn from the kept record of the benchmark `peers`, with the same bytes each time.
"""

from pathlib import Path

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure as Drawing

from experiments.benchmarks import timing
from experiments.benchmarks.timing import Record
from lowrank_da.files import atomic
from paper.figure import STYLE

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


def write(kept: Path) -> Path:
    """`<kept>/speed.svg` from `<kept>/peers-full-cpu.json`."""
    path = kept / "speed.svg"
    # Letters stay letters, and identifiers do not depend on chance or on the day.
    style = [*STYLE, {"svg.fonttype": "none", "svg.hashsalt": "speed", "font.family": "sans-serif"}]
    with matplotlib.style.context(style):
        drawing = draw(Record.load(kept / "peers-full-cpu.json"))
        with atomic(path) as temporary:
            drawing.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return path
