"""Where LoRA sits and how it starts: what each choice does in the mean over the other choices."""

import re
from dataclasses import dataclass

from lowrank_da import metrics, uncertainty
from lowrank_da.run import Run
from lowrank_da.uncertainty import BySeed, Mean
from paper import estimate
from paper.arms import found
from paper.table import Body, Records, Row, Runs, SettingFacts, Table
from paper.tables.comparison import P_VALUE, holm, p_value
from paper.words import Text

FACTORS = {
    "targets": ("all", "qv", "attention", "ffn"),
    "layers": ("all", "half", "two"),
    "start": ("kaiming", "gaussian"),
}
"""The levels of each; the others are held against the first."""
NAME = re.compile("_".join(f"(?P<{f}>{'|'.join(levels)})" for f, levels in FACTORS.items()))
"""How the arms of a study over places are named."""
FACTOR, LEVEL = Text("choice", "выбор"), Text("level", "уровень")
MEAN = Text("macro-F1, mean of its arms", "macro-F1, среднее её моделей")
DIFFERENCE = Text("above the first level", "выше первого уровня")
NOTE = Text(
    "Each level's arms have every combination of the other two choices, each at the best of its own"
    " learning rates. p-values are adjusted by Holm's method over the {tests} tests. All have one"
    " rank, so that fewer maps or layers are fewer parameters too.",
    "У моделей каждого уровня встречаются все сочетания двух других выборов, у каждой своя лучшая"
    " скорость обучения. p-значения с поправкой Холма на {tests} тестов. Ранг у всех один, так что"
    " меньше матриц или слоёв означает и меньше параметров.",
)


def placed(runs: Runs) -> dict[str, dict[str, str]]:
    """By arm the level of each factor."""
    matches = {name: NAME.fullmatch(name) for name in found(runs)}
    return {name: match.groupdict() for name, match in matches.items() if match}


def complete(runs: Runs) -> bool:
    """Whether every combination is there of the levels that occur, of some factor more than one."""
    levels = [{own[factor] for own in placed(runs).values()} for factor in FACTORS]
    combinations = len(levels[0]) * len(levels[1]) * len(levels[2])
    return len(placed(runs)) == combinations > 1


@dataclass(frozen=True, kw_only=True)
class MainEffects(Table):
    """A group a factor, a row a level."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every arm that is named by its place."""
        return [run for name in placed(runs) for run in runs[name]]

    def applies(self, runs: Runs) -> bool:
        """Where no combination is missing."""
        return complete(runs)

    def body(self, records: Records) -> Body:
        """The mean of a level's arms, and how far it is above that of the first level."""
        lang, arms = records.lang, placed(records.runs)
        f1 = {n: estimate.confusion_by_seed(records.get(n), metrics.macro_f1) for n in arms}
        of_level: dict[tuple[str, str], list[BySeed]] = {}
        for name, levels in sorted(arms.items()):
            for factor, level in levels.items():
                of_level.setdefault((factor, level), []).append(f1[name])
        tests: dict[tuple[str, str], Mean] = {}
        for (factor, level), own in of_level.items():
            first = of_level.get((factor, FACTORS[factor][0]))
            if first is not None and first is not own:
                tests[factor, level] = uncertainty.difference(own, first)
        p = holm({pair: test.p_value for pair, test in tests.items()})
        groups = []
        for factor, every_level in FACTORS.items():
            rows: list[Row] = []
            for level in every_level:
                if (factor, level) not in of_level:
                    continue
                own_mean = BySeed.average(of_level[factor, level]).mean()
                test = tests.get((factor, level))
                shown = "" if test is None else estimate.Estimate.of(test, None).show()
                cells = (estimate.Estimate.of(own_mean, None, 0.0, 1.0).show(), shown)
                rows.append(("" if rows else factor, level, *cells, p_value(p, (factor, level))))
            groups.append(tuple(rows))
        header = tuple(c.say(lang) for c in (FACTOR, LEVEL, MEAN, DIFFERENCE, P_VALUE))
        return Body(header, tuple(groups), (NOTE.say(lang, tests=len(tests)),))


TABLES = (
    MainEffects(
        id="main_effects",
        title=Text(
            "What each choice of place and start does, in the mean over the others",
            "Что даёт каждый выбор места и начала, в среднем по остальным",
        ),
    ),
)
