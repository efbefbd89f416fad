"""Quality on texts of other domains, where the corpus has such splits."""

from dataclasses import dataclass

from lowrank_da import metrics
from lowrank_da.corpus import ID, OOD
from paper import estimate, words
from paper.arms import ALL_CLASSES
from paper.table import MISSING, Body, Records, Row, Runs, SettingFacts, Table
from paper.words import Text

ARM = Text("arm", "модель")
SPLIT = Text("split", "выборка")
TEXTS = Text("texts", "текстов")


def _ood_roles(runs: Runs) -> list[str]:
    every = [run for name in ALL_CLASSES for run in runs.get(name, ())]
    return sorted({role for r in every for role in r.result["splits"] if role.startswith(OOD)})


@dataclass(frozen=True, kw_only=True)
class OutOfDomain(Table):
    """A group an arm: its own domain first, then the others."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The classifiers of all classes."""
        return ALL_CLASSES

    def applies(self, runs: Runs) -> bool:
        """Only where some record was evaluated out of domain."""
        return bool(_ood_roles(runs))

    def body(self, records: Records) -> Body:
        """A row a split."""
        columns = (ARM, SPLIT, TEXTS, words.MACRO_F1, words.ACCURACY, words.AUROC)
        header = tuple(column.say(records.lang) for column in columns)
        roles = [ID, *_ood_roles(records.runs)]
        groups = tuple(
            tuple((name if i == 0 else "", *_row(records, name, r)) for i, r in enumerate(roles))
            for name in ALL_CLASSES
        )
        return Body(header, groups)


def _row(records: Records, name: str, role: str) -> Row:
    runs = records.get(name)
    if not runs or any(role not in run.result["splits"] for run in runs):
        return (role, *(MISSING,) * 4)
    return (
        role,
        str(runs[0].result["splits"][role]["texts"]),
        estimate.of_confusion(runs, metrics.macro_f1, role)[()].show(),
        estimate.of_confusion(runs, metrics.accuracy, role)[()].show(),
        estimate.of_ranking(runs, metrics.auroc, role).show(),
    )


TABLES = (OutOfDomain(id="out_of_domain", title=Text("Out of domain", "Вне домена обучения")),)
