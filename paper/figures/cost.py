"""Training time of every arm as a ratio to full fine-tuning, published and ours, as bars."""

from dataclasses import dataclass

from matplotlib.figure import Figure as Drawing

from paper import words
from paper.figure import Figure
from paper.rows import mean_seconds
from paper.table import MISSING, Records, SettingFacts
from paper.tables.cost import published_seconds
from paper.words import Text

RATIO = Text("training time / that of full", "время обучения / время full")
WIDTH = 0.38


@dataclass(frozen=True, kw_only=True)
class CostBars(Figure):
    """Two bars an arm: hatched the published one, dark ours."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Every trained arm."""
        return ("full", "lora_published", "lora", *facts.binaries)

    def draw(self, records: Records) -> Drawing:
        """Where a time is missing, a `-` stands in place of the bar."""
        lang, names = records.lang, self.needs(records.facts)
        theirs = published_seconds(records.facts)
        ours = {name: mean_seconds(records.get(name)) for name in names}
        full = ours["full"]
        their_ratios = [float(theirs[n] / theirs["full"]) if n in theirs else None for n in names]
        our_ratios = [
            s / full if full and (s := ours[name]) is not None else None for name in names
        ]
        drawing = Drawing(figsize=(7.0, 3.4), layout="constrained")
        axes = drawing.subplots()
        ours_label = f"{records.facts.corpus}, {records.facts.backbone}"
        for ratios, shift, colour, hatch, label in (
            (their_ratios, -WIDTH / 2, "white", "///", words.PUBLISHED.say(lang)),
            (our_ratios, WIDTH / 2, "0.35", "", ours_label),
        ):
            places = [i + shift for i in range(len(names))]
            heights = [ratio or 0.0 for ratio in ratios]
            axes.bar(
                places, heights, WIDTH, color=colour, edgecolor="black", hatch=hatch, label=label
            )
            for place, ratio in zip(places, ratios, strict=True):
                text = MISSING if ratio is None else f"{ratio:.2f}"
                axes.annotate(
                    text,
                    (place, ratio or 0.0),
                    (0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                )
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
        axes.set_ylabel(RATIO.say(lang))
        axes.spines["right"].set_visible(False)
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.02), ncols=2)
        return drawing


FIGURES = (
    CostBars(
        id="cost",
        caption=Text(
            "Training time of each arm as a ratio to full fine-tuning, published and ours",
            "Время обучения каждой модели относительно полного дообучения, в работе и у нас",
        ),
    ),
)
