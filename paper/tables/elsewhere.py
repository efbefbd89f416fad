"""Paired tests out of domain: who is better there, and who loses less on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID, SELECT
from lowrank_da.run import Run, one_training
from lowrank_da.uncertainty import BySeed
from paper import estimate, words
from paper.arms import beyond_thesis
from paper.table import Body, Records, Row, Runs, SettingFacts, Table
from paper.tables.comparison import DIFFERENCE, FIRST, comparable, holm, p_value
from paper.tables.out_of_domain import SPLIT, ood_roles, ranked
from paper.words import Text

AUROC = Text("in AUROC", "в AUROC")
FPR = Text("in FPR at the home threshold", "в FPR при домашнем пороге")
CARRIED = Text("in balanced accuracy, there less at home", "в balanced accuracy, там минус дома")
NOTE = Text(
    "Differences of the arm less {other}, with p-values that are adjusted by Holm's method over the"
    " tests of their column, in one setting. An FPR below zero is better. The last column is of"
    " what is lost on the way: above zero, the arm loses less.",
    "Разности: модель минус {other}; p-значения с поправкой Холма на число тестов столбца, в одной"
    " настройке. FPR ниже нуля лучше. Последний столбец о потерях по дороге: выше нуля модель"
    " теряет меньше.",
)


def _macro_f1(runs: Sequence[Run], role: str) -> BySeed:
    return estimate.confusion_by_seed(runs, metrics.macro_f1, role)


def _auroc(runs: Sequence[Run], role: str) -> BySeed:
    return estimate.ranking_by_seed(runs, metrics.auroc, role)


def _fpr(runs: Sequence[Run], role: str) -> BySeed:
    both = estimate.at_home_threshold(runs, role)
    return BySeed(both.value[:, 0], both.drawn[:, :, 0])


def _carried(runs: Sequence[Run], role: str) -> BySeed:
    there, home = (
        estimate.confusion_by_seed(runs, metrics.balanced_accuracy, one) for one in (role, ID)
    )
    return there - home


Measure = Callable[[Sequence[Run], str], BySeed]
MEASURES: dict[Text, Measure] = {
    DIFFERENCE: _macro_f1,
    AUROC: _auroc,
    FPR: _fpr,
    CARRIED: _carried,
}


def possible(measure: Measure, runs: Sequence[Run], role: str) -> bool:
    """Whether the records say enough: a ranking wants both classes, a threshold *select* too."""
    if measure not in (_auroc, _fpr):
        return True
    roles = (role,) if measure is _auroc else (role, SELECT)
    return all(ranked(run, one) for run in runs for one in roles)


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Table):
    """Every arm against one of them, on each split out of domain."""

    other: str

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The one that all are held against."""
        return (self.other,)

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """All that are compared."""
        names = (*comparable(runs, self.other), self.other)
        return [run for name in names for run in runs.get(name, ())]

    def applies(self, runs: Runs) -> bool:
        """Beyond the thesis, where some record was evaluated out of domain."""
        return beyond_thesis(runs) and bool(ood_roles(runs) and comparable(runs, self.other))

    def roles(self, runs: Runs) -> tuple[str, ...]:
        """The splits out of domain."""
        return tuple(ood_roles(runs))

    def body(self, records: Records) -> Body:
        """A group a split, a row an arm."""
        lang, names = records.lang, comparable(records.runs, self.other)
        roles = ood_roles(records.runs)
        arms = {(role, name): records.get(name) for role in roles for name in names}
        columns = [self._column(measure, arms, records) for measure in MEASURES.values()]
        groups = []
        for role in roles:
            rows: list[Row] = []
            for name in names:
                cells = (column.get((role, name), "") for column in columns)
                rows.append(("" if rows else role, name, *cells))
            groups.append(tuple(rows))
        header = tuple(column.say(lang) for column in (SPLIT, FIRST, *MEASURES))
        return Body(header, tuple(groups), (NOTE.say(lang, other=self.other),))

    def _column(
        self, measure: Measure, arms: dict[tuple[str, str], Sequence[Run]], records: Records
    ) -> dict[tuple[str, str], str]:
        """`-0.031 [-0.050, -0.012], p 0.0040` by split and arm; words for the other one itself.

        Raises `UserError` where two arms answered different texts.
        """
        other, shown, tests = records.get(self.other), {}, {}
        for (role, name), runs in arms.items():
            if one_training(runs, other):
                shown[role, name] = words.ONE_TRAINING.say(records.lang)
            elif possible(measure, [*runs, *other], role):
                estimate.refuse_unless_paired(runs, other, role)
                tests[role, name] = uncertainty.difference(
                    measure(runs, role), measure(other, role)
                )
        p = holm({pair: test.p_value for pair, test in tests.items()})
        for pair, test in tests.items():
            shown[pair] = f"{estimate.Estimate.of(test, None).show()}, p {p_value(p, pair)}"
        return shown


TABLES = (
    Elsewhere(
        id="out_of_domain_against_full",
        title=Text(
            "Out of domain against full fine-tuning: paired tests on the same texts",
            "Вне домена обучения против полного дообучения: парные тесты",
        ),
        other="full",
    ),
    Elsewhere(
        id="out_of_domain_against_random",
        title=Text(
            "Out of domain against a random start: paired tests on the same texts",
            "Вне домена обучения против случайного начала: парные тесты",
        ),
        other="lora_kaiming",
    ),
)
