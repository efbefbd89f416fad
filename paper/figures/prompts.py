"""Prompt tuning: every seed's macro-F1 by the prompt's length and start, beside other arms'."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Drawing

from paper import words
from paper.figure import OfArms
from paper.table import Records, Runs
from paper.tables.spread import beside, by_prompt, macro_f1
from paper.words import Text

TOKENS = Text("tokens of the prompt", "токенов подсказки")
STARTS = {"random": Text("random start", "случайное начало"), "text": Text("from words", "из слов")}
MARKERS = {"random": ("o", "white"), "text": ("s", "0.3")}


@dataclass(frozen=True, kw_only=True)
class Seeds(OfArms):
    """A dot a seed; the line joins the means."""

    def applies(self, runs: Runs) -> bool:
        """Where arms are named by length and start."""
        return super().applies(runs) and bool(by_prompt(runs))

    def draw(self, records: Records) -> Drawing:
        """Both starts beside each other at every length; then the arms that are no prompts."""
        prompts, others = by_prompt(records.runs), beside(records.runs)
        lengths = sorted({tokens for tokens, _ in prompts})
        drawing = Drawing(figsize=(5.4, 3.4), layout="constrained")
        axes = drawing.subplots()
        for shift, (start, label) in zip((-0.08, 0.08), STARTS.items(), strict=True):
            marker, face = MARKERS[start]
            means = []
            for place, length in enumerate(lengths):
                f1 = macro_f1(prompts.get((length, start), ()))
                means.append(float(f1.mean()) if len(f1) else np.nan)
                said = label.say(records.lang) if place == 0 else None
                where = [place + shift] * len(f1)
                axes.plot(where, f1, marker, color="black", markerfacecolor=face, label=said)
            places = np.arange(len(lengths)) + shift
            axes.plot(places, means, color="0.6", linestyle="-" if shift < 0 else "--", zorder=0)
        for place, name in enumerate(others, start=len(lengths)):
            f1 = macro_f1(records.get(name))
            axes.plot([place] * len(f1), f1, "D", color="black", markerfacecolor="0.8")
        if others:
            axes.axvline(len(lengths) - 0.5, color="0.8", linewidth=0.7)
        axes.set_xticks(range(len(lengths) + len(others)), [*map(str, lengths), *others])
        axes.set_xlabel(TOKENS.say(records.lang))
        axes.set_ylabel(words.MACRO_F1.say(records.lang))
        axes.spines["right"].set_visible(False)
        axes.legend(frameon=False)
        return drawing


FIGURES = (
    Seeds(
        id="prompts",
        caption=Text(
            "Prompt tuning: macro-F1 of every seed by the prompt's length and start",
            "Prompt tuning: macro-F1 каждого начального числа по длине и началу подсказки",
        ),
    ),
)
