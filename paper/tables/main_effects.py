"""Where LoRA sits and how it starts: what each choice does in the mean over the other choices."""

import re
from dataclasses import dataclass
from itertools import product

from lowrank_da import metrics, uncertainty
from lowrank_da.run import Run
from lowrank_da.uncertainty import BySeed
from paper import estimate
from paper.arms import found
from paper.table import MISSING, Body, Records, Row, Runs, SettingFacts, Table
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
    "Each level's arms have every combination of the other two choices, and are averaged seed by"
    " seed. Each has the best of its own learning rates; what another choice of rate would have"
    " given is in no interval. p-values are adjusted by Holm's method over the {tests} tests,"
    " intervals are not. All have one rank, so that fewer maps or layers are fewer parameters too.",
    "У моделей каждого уровня встречаются все сочетания двух других выборов; они усреднены отдельно"
    " для каждого начального числа. У каждой своя лучшая скорость обучения; что дала бы другая, ни"
    " в один интервал не входит. p-значения с поправкой Холма на {tests} тестов, интервалы без неё."
    " Ранг у всех один, так что меньше матриц или слоёв означает и меньше параметров.",
)
INCOMPLETE = Text(
    "Means over the other choices want every combination, under the same seeds.",
    "Для средних по другим выборам нужны все сочетания с одними и теми же начальными числами.",
)


def placed(runs: Runs) -> dict[str, dict[str, str]]:
    """By arm the level of each factor."""
    matches = {name: NAME.fullmatch(name) for name in found(runs)}
    return {name: match.groupdict() for name, match in matches.items() if match}


def levels(runs: Runs) -> dict[str, list[str]]:
    """By factor the levels that occur, the one that others are held against first."""
    every = placed(runs).values()
    return {f: [one for one in FACTORS[f] if any(own[f] == one for own in every)] for f in FACTORS}


@dataclass(frozen=True, kw_only=True)
class MainEffects(Table):
    """A group a factor, a row a level."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every arm that is named by its place."""
        return [run for name in placed(runs) for run in runs[name]]

    def applies(self, runs: Runs) -> bool:
        """Where several arms are named by their place."""
        return len(placed(runs)) > 1

    def missing(self, runs: Runs, facts: SettingFacts) -> tuple[str, ...]:
        """What lacks of every combination of the levels, and every seed, that occur."""
        names = map("_".join, product(*levels(runs).values()))
        every = {name: {run.seed for run in runs.get(name, ())} for name in sorted(names)}
        seeds = sorted(set().union(*every.values()))
        return tuple(f"{n} (seed {s})" for n, own in every.items() for s in seeds if s not in own)

    def body(self, records: Records) -> Body:
        """The mean of a level's arms, and how far it is above that of the first level."""
        lang, occur = records.lang, levels(records.runs)
        header = tuple(c.say(lang) for c in (FACTOR, LEVEL, MEAN, DIFFERENCE, P_VALUE))
        if self.missing(records.runs, records.facts):
            gaps = tuple(
                tuple((f if not i else "", one, *(MISSING,) * 3) for i, one in enumerate(own))
                for f, own in occur.items()
            )
            return Body(header, gaps, (INCOMPLETE.say(lang),))
        arms = placed(records.runs)
        f1 = {n: estimate.confusion_by_seed(records.get(n), metrics.macro_f1) for n in arms}
        mean = {
            (f, one): BySeed.average([f1[n] for n, own in arms.items() if own[f] == one])
            for f in occur
            for one in occur[f]
        }
        tests = {
            (f, one): uncertainty.difference(mean[f, one], mean[f, occur[f][0]])
            for f in occur
            for one in occur[f][1:]
        }
        p = holm({pair: test.p_value for pair, test in tests.items()})
        groups = []
        for factor, own in occur.items():
            rows: list[Row] = []
            for level in own:
                test = tests.get((factor, level))
                shown = "" if test is None else estimate.Estimate.of(test, None).show()
                of_mean = estimate.Estimate.of(mean[factor, level].mean(), None, 0.0, 1.0).show()
                first = "" if rows else factor
                rows.append((first, level, of_mean, shown, p_value(p, (factor, level))))
            groups.append(tuple(rows))
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
