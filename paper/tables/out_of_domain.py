"""Quality on texts of other domains, where the corpus has such splits."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowrank_da import metrics
from lowrank_da.corpus import ID, OOD, SELECT, Corpus
from lowrank_da.run import Run
from paper import estimate, words
from paper.arms import ALL_CLASSES, beyond_thesis, found
from paper.table import MISSING, Body, Records, Row, Runs, SettingFacts, Table
from paper.tables.comparison import DIFFERENCE, FIRST, P_VALUE, comparable, compare, holm, p_value
from paper.words import Text

ARM = Text("arm", "модель")
SPLIT = Text("split", "выборка")
TEXTS = Text("texts", "текстов")
TPR_HERE = Text("TPR at the home threshold", "TPR при домашнем пороге")
FPR_HERE = Text("FPR there", "FPR там же")
HOME = Text(
    "The home threshold is each seed's own: on select, in the domains trained in, it blames at most"
    " 5 % of the human texts; the intervals of both rates count how far it would move on other"
    " texts of select. Macro-F1 and accuracy depend on how many texts are human, which may differ"
    " between splits.",
    "Домашний порог у каждого начального числа свой: на выборке select, в доменах обучения, он"
    " обвиняет не более 5 % человеческих текстов; интервалы обеих долей учитывают, как он сместился"
    " бы на других текстах select. macro-F1 и accuracy зависят от доли человеческих текстов,"
    " которая в выборках может быть разной.",
)
TESTS = Text(
    "Differences in macro-F1 on the split; p-values are adjusted by Holm's method over the {tests}"
    " tests of this table, which is of one setting.",
    "Разности macro-F1 на выборке; p-значения с поправкой Холма на {tests} тестов этой таблицы,"
    " относящейся к одной настройке.",
)


def _names(runs: Runs) -> tuple[str, ...]:
    """The thesis' arms in its order, or whatever is found."""
    return found(runs) if beyond_thesis(runs) else ALL_CLASSES


def _ood_roles(runs: Runs) -> list[str]:
    every = [run for name in _names(runs) for run in runs.get(name, ())]
    return sorted({role for r in every for role in r.result["splits"] if role.startswith(OOD)})


@dataclass(frozen=True, kw_only=True)
class OutOfDomain(Table):
    """A group an arm: its own domain first, then the others."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every arm at hand."""
        return [run for name in _names(runs) for run in runs.get(name, ())]

    def applies(self, runs: Runs) -> bool:
        """Only where some record was evaluated out of domain."""
        return bool(_ood_roles(runs))

    def body(self, records: Records) -> Body:
        """A row a split."""
        lang = records.lang
        columns = (ARM, SPLIT, TEXTS, words.MACRO_F1, words.ACCURACY, words.AUROC)
        header = tuple(column.say(lang) for column in (*columns, TPR_HERE, FPR_HERE))
        roles = [ID, *_ood_roles(records.runs)]
        groups = tuple(
            tuple((name if i == 0 else "", *_row(records, name, r)) for i, r in enumerate(roles))
            for name in _names(records.runs)
        )
        return Body(header, groups, (HOME.say(lang),))


def _row(records: Records, name: str, role: str) -> Row:
    runs = records.get(name)
    if not runs or any(role not in run.result["splits"] for run in runs):
        return (role, *(MISSING,) * 6)
    return (
        role,
        str(runs[0].result["splits"][role]["texts"]),
        estimate.of_confusion(runs, metrics.macro_f1, role)[()].show(),
        estimate.of_confusion(runs, metrics.accuracy, role)[()].show(),
        *_ranking(runs, role),
    )


def _ranking(runs: Sequence[Run], role: str) -> Row:
    """AUROC, and both rates at the home threshold; blank where nothing is human."""
    if Corpus.human not in runs[0].labels:
        return ("", "", "")
    auroc = estimate.of_ranking(runs, metrics.auroc, role).show()
    if any(SELECT not in run.predictions for run in runs):
        return (auroc, MISSING, MISSING)
    rates = estimate.of(estimate.at_home_threshold(runs, role))
    return (auroc, rates[1].show(), rates[0].show())


@dataclass(frozen=True, kw_only=True)
class AgainstElsewhere(Table):
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
        return beyond_thesis(runs) and bool(_ood_roles(runs) and comparable(runs, self.other))

    def body(self, records: Records) -> Body:
        """A group a split, a row an arm."""
        lang, names = records.lang, comparable(records.runs, self.other)
        made = {
            (role, name): compare(records.get(name), records.get(self.other), role)
            for role in _ood_roles(records.runs)
            for name in names
        }
        p = holm({pair: test.p_value for pair, test in made.items()})
        rows: dict[str, list[Row]] = {}
        for (role, name), test in made.items():
            of_role = rows.setdefault(role, [])
            shown = (test.difference.show(), p_value(p, (role, name)))
            of_role.append(("" if of_role else role, name, *shown))
        header = tuple(column.say(lang) for column in (SPLIT, FIRST, DIFFERENCE, P_VALUE))
        groups = tuple(tuple(of_role) for of_role in rows.values())
        return Body(header, groups, (TESTS.say(lang, tests=len(made)),))


TABLES = (
    OutOfDomain(id="out_of_domain", title=Text("Out of domain", "Вне домена обучения")),
    AgainstElsewhere(
        id="out_of_domain_against_full",
        title=Text(
            "Out of domain against full fine-tuning: paired tests on the same texts",
            "Вне домена обучения против полного дообучения: парные тесты",
        ),
        other="full",
    ),
    AgainstElsewhere(
        id="out_of_domain_against_random",
        title=Text(
            "Out of domain against a random start: paired tests on the same texts",
            "Вне домена обучения против случайного начала: парные тесты",
        ),
        other="lora_kaiming",
    ),
)
