"""Quality on texts of other domains, where the corpus has such splits."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowrank_da import metrics
from lowrank_da.corpus import ID, OOD, SELECT
from lowrank_da.run import Run
from paper import estimate, words
from paper.arms import ALL_CLASSES, beyond_thesis, found
from paper.table import MISSING, Body, Records, Row, Runs, SettingFacts, Table
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


def _names(runs: Runs) -> tuple[str, ...]:
    """The thesis' arms in its order, or whatever is found."""
    return found(runs) if beyond_thesis(runs) else ALL_CLASSES


def ood_roles(runs: Runs) -> list[str]:
    """The splits out of domain that some arm was judged on."""
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
        return bool(ood_roles(runs))

    def roles(self, runs: Runs) -> tuple[str, ...]:
        """Home and every split out of domain."""
        return (ID, *ood_roles(runs))

    def body(self, records: Records) -> Body:
        """A row a split."""
        lang = records.lang
        columns = (ARM, SPLIT, TEXTS, words.MACRO_F1, words.ACCURACY, words.AUROC)
        header = tuple(column.say(lang) for column in (*columns, TPR_HERE, FPR_HERE))
        roles = self.roles(records.runs)
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


def ranked(run: Run, role: str) -> bool:
    """Whether a record has a ranking of human and machine texts on a split."""
    scores = run.result["splits"].get(role)
    return scores is not None and scores["auroc"] is not None


def _ranking(runs: Sequence[Run], role: str) -> Row:
    """AUROC, and both rates at the home threshold; blank where not both classes are."""
    if not all(ranked(run, role) for run in runs):
        return ("", "", "")
    auroc = estimate.of_ranking(runs, metrics.auroc, role).show()
    if not all(ranked(run, SELECT) for run in runs):
        return (auroc, MISSING, MISSING)
    rates = estimate.of(estimate.at_home_threshold(runs, role))
    return (auroc, rates[1].show(), rates[0].show())


TABLES = (OutOfDomain(id="out_of_domain", title=Text("Out of domain", "Вне домена обучения")),)
