"""The learning-rate trials: every rate tried, its macro-F1 on *select*, and the one chosen."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowrank_da import metrics
from lowrank_da.corpus import SELECT
from lowrank_da.run import Run
from paper import estimate, words
from paper.table import MISSING, Body, Records, Row, Runs, SettingFacts, Table
from paper.words import Text

NAME = re.compile(r"grid/(?P<arm>.+)--lr[-+.\de]+")
"""How trials are named: `grid/<arm>--lr<rate>`; what another one starts from ends with a word."""
ARM = Text("arm", "модель")
ON_SELECT = Text("macro-F1 on select", "macro-F1 на выборке для отбора")
CHOICE = Text("choice", "выбор")
BEST = Text("best", "лучшая")
AT_THE_END = Text("best, at the grid's end", "лучшая, на краю сетки")
NO_TRIAL = Text("No trial is recorded.", "Проб не записано.")


@dataclass(frozen=True, kw_only=True)
class LearningRates(Table):
    """A group an arm, its rates ascending."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every trial at hand."""
        return [run for name in sorted(runs) if NAME.fullmatch(name) for run in runs[name]]

    def roles(self, runs: Runs) -> tuple[str, ...]:
        """The one on which choices are made."""
        return (SELECT,)

    def applies(self, runs: Runs) -> bool:
        """Only where something was tried."""
        return any(NAME.fullmatch(name) for name in runs)

    def body(self, records: Records) -> Body:
        """The best rate of each arm is marked, and whether the grid ends there."""
        lang = records.lang
        trials: dict[str, dict[float, Sequence[Run]]] = {}
        for name in sorted(records.runs):
            if match := NAME.fullmatch(name):
                runs = records.runs[name]
                trials.setdefault(match["arm"], {})[runs[0].experiment["learning_rate"]] = runs
        groups = tuple(_group(arm, by_rate, lang) for arm, by_rate in trials.items())
        columns = (ARM, words.LEARNING_RATE, ON_SELECT, CHOICE)
        header = tuple(column.say(lang) for column in columns)
        if not groups:
            return Body(header, (((MISSING,) * len(header),),), (NO_TRIAL.say(lang),))
        return Body(header, groups)


def _group(arm: str, by_rate: dict[float, Sequence[Run]], lang: str) -> tuple[Row, ...]:
    rates = sorted(by_rate)
    scores = [
        np.mean([run.result["splits"][SELECT]["macro_f1"] for run in by_rate[rate]])
        for rate in rates
    ]
    best = int(np.argmax(scores))
    mark = (AT_THE_END if best in (0, len(rates) - 1) else BEST).say(lang)
    return tuple(
        (
            arm if i == 0 else "",
            f"{rate:g}",
            estimate.of_confusion(by_rate[rate], metrics.macro_f1, SELECT)[()].show(),
            mark if i == best else "",
        )
        for i, rate in enumerate(rates)
    )


TABLES = (
    LearningRates(
        id="learning_rates", title=Text("Learning-rate trials", "Подбор скорости обучения")
    ),
)
