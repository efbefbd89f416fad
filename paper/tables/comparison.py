"""Paired tests: which arm is above which on the same texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID
from lowrank_da.run import Run, one_training
from paper import estimate, words
from paper.arms import beyond_thesis, found
from paper.table import MISSING, Body, OfThesis, Records, Row, Runs, SettingFacts
from paper.words import Text

DIFFERENCE = Text("difference in macro-F1", "разность macro-F1")
P_VALUE = Text("p (Holm)", "p (Холм)")
MCNEMAR = Text("p, McNemar (Holm)", "p, Мак-Немар (Холм)")
FIRST, SECOND = Text("arm", "модель"), Text("against", "против")
NOTE = Text(
    "Differences are first minus second, each a mean over its seeds, on the id split. p-values are"
    " adjusted by Holm's method over the tests made: {own} of these differences (never below"
    " {floor} before) and {mcnemar} of McNemar, which takes texts for independent witnesses and"
    " says nothing of seeds (the largest p-value over those that both arms have).",
    "Разности: первая минус вторая, каждая есть среднее по начальным числам, на выборке id."
    " p-значения с поправкой Холма на число тестов: {own} для этих разностей (до поправки не меньше"
    " {floor}), {mcnemar} для Мак-Немара, который считает тексты независимыми и не учитывает"
    " начальных чисел (наибольшее по общим).",
)


@dataclass(frozen=True)
class Paired:
    """One comparison, not yet adjusted for being one of several."""

    difference: estimate.Estimate
    p_value: float
    mcnemar: float | None
    """None where the arms have no seed in common."""


def compare(first: Sequence[Run], second: Sequence[Run], role: str = ID) -> Paired:
    """Two arms on the same texts.

    Raises `UserError` when they answered different texts.
    """
    a, b = estimate.answers(first, role), estimate.answers(second, role)
    estimate.refuse_unless_paired(first, second, role)
    of_a, of_b = (
        estimate.confusion_by_seed(runs, metrics.macro_f1, role) for runs in (first, second)
    )
    right = {run.seed: row == a.true for run, row in zip(first, a.predicted, strict=True)}
    other = {run.seed: row == b.true for run, row in zip(second, b.predicted, strict=True)}
    p = [metrics.mcnemar(right[seed], other[seed]) for seed in sorted(right.keys() & other.keys())]
    test = uncertainty.difference(of_a, of_b)
    spread = estimate.spread_of_difference(first, of_a.value, second, of_b.value)
    return Paired(estimate.Estimate.of(test, spread), test.p_value, max(p) if p else None)


@dataclass(frozen=True, kw_only=True)
class Comparisons(OfThesis):
    """One row a pair of the thesis' arms."""

    pairs: tuple[tuple[str, str], ...] = ()

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Every arm that is compared, once."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair))

    def compared(self, runs: Runs) -> tuple[tuple[str, str], ...]:
        """The pairs, whether or not their runs are there."""
        return self.pairs

    def body(self, records: Records) -> Body:
        """A row a pair, in order; no test of an arm that is the other one by another name."""
        pairs = self.compared(records.runs)
        there = [(a, b) for a, b in pairs if records.get(a) and records.get(b)]
        same = {(a, b) for a, b in there if one_training(records.get(a), records.get(b))}
        tested = [pair for pair in there if pair not in same]
        made = {(a, b): compare(records.get(a), records.get(b)) for a, b in tested}
        own = holm({pair: test.p_value for pair, test in made.items()})
        mcnemar = holm(
            {pair: test.mcnemar for pair, test in made.items() if test.mcnemar is not None}
        )

        def cells(pair: tuple[str, str]) -> Row:
            if pair in same:
                return (words.ONE_TRAINING.say(records.lang), "", "")
            if pair not in made:
                return (MISSING, MISSING, MISSING)
            return (made[pair].difference.show(), p_value(own, pair), p_value(mcnemar, pair))

        columns = (FIRST, SECOND, DIFFERENCE, P_VALUE, MCNEMAR)
        header = tuple(column.say(records.lang) for column in columns)
        note = NOTE.say(
            records.lang,
            own=len(own),
            mcnemar=len(mcnemar),
            floor=f"{2 / (uncertainty.RESAMPLES + 1):.4f}",
        )
        return Body(header, (tuple((*pair, *cells(pair)) for pair in pairs),), (note,))


@dataclass(frozen=True, kw_only=True)
class Against(Comparisons):
    """One row an arm of any study: each against the same one."""

    other: str

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The one that all are held against."""
        return (self.other,)

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """All that are compared."""
        names = dict.fromkeys(name for pair in self.compared(runs) for name in pair)
        return [run for name in names for run in runs[name]]

    def applies(self, runs: Runs) -> bool:
        """Where an arm is that the thesis does not have, and the one to hold it against."""
        return beyond_thesis(runs) and bool(self.compared(runs))

    def compared(self, runs: Runs) -> tuple[tuple[str, str], ...]:
        """Every arm found that tells the same classes apart."""
        return tuple((name, self.other) for name in comparable(runs, self.other))


def comparable(runs: Runs, other: str) -> list[str]:
    """The arms found that tell the same classes apart as this one; none without it."""
    if not runs.get(other):
        return []
    labels = runs[other][0].labels
    return [name for name in found(runs) if name != other and runs[name][0].labels == labels]


def holm(p_values: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Adjusted for being several."""
    if not p_values:
        return {}
    return dict(zip(p_values, metrics.holm(list(p_values.values())).tolist(), strict=True))


def p_value(p_values: dict[tuple[str, str], float], pair: tuple[str, str]) -> str:
    """Four digits; smaller ones as a bound; blank where no test was made."""
    if pair not in p_values:
        return ""
    p = p_values[pair]
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


TABLES = (
    Comparisons(
        id="comparisons",
        title=Text("Paired tests on the same texts", "Парные тесты на одних и тех же текстах"),
        pairs=(
            ("lora", "full"),
            ("lora_published", "full"),
            ("binaries_coupled", "lora"),
            ("binaries_coupled", "full"),
            ("binaries_average", "lora"),
            ("binaries_average", "full"),
            ("binaries_average", "binaries_coupled"),
            ("full", "tfidf"),
            ("lora", "tfidf"),
        ),
    ),
    Against(
        id="against_full",
        title=Text(
            "Every arm against full fine-tuning: paired tests on the same texts",
            "Каждая модель против полного дообучения: парные тесты на одних и тех же текстах",
        ),
        other="full",
    ),
    Against(
        id="against_random",
        title=Text(
            "Every start against the usual one: paired tests on the same texts",
            "Каждое начало против обычного: парные тесты на одних и тех же текстах",
        ),
        other="lora_kaiming",
    ),
    Against(
        id="against_everywhere",
        title=Text(
            "Every place against LoRA everywhere: paired tests on the same texts",
            "Каждое место против LoRA везде: парные тесты на одних и тех же текстах",
        ),
        other="all_all_kaiming",
    ),
)
