"""Every arm on one line: quality on *id*, trained parameters, seconds, learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lowrank_da import metrics
from lowrank_da.run import Run
from paper import estimate, words
from paper.arms import ALL_CLASSES, every_arm
from paper.rows import mean_seconds
from paper.table import MISSING, Body, Records, Row, SettingFacts, Table, thousands
from paper.words import Text

ARM = Text("arm", "модель")
CLASSES = Text("classes", "классов")
ADAPTER = Text("adapter parameters", "параметров адаптера")
ABOVE_CHANCE = Text("above chance (1/k)", "выше случайного (1/k)")
YES = Text("yes ({chance:.3f})", "да ({chance:.3f})")
NO = Text("no ({chance:.3f})", "нет ({chance:.3f})")
HEAD = Text("head parameters", "параметров головы")
TRAINED = Text("trained parameters", "обучаемых параметров")
NOTE = Text(
    "Scores are on the id split. An arm is above chance when the whole interval of its macro-F1"
    " lies above 1/k, the most that guessing among k classes is expected to give. AUROC and TPR are"
    " machine against human, score 1 - P(human). The binaries tell two classes apart; their scores"
    " are on these two.",
    "Оценки на выборке id. Модель выше случайного, если весь интервал её macro-F1 выше 1/k,"
    " наибольшего ожидаемого при угадывании среди k классов. AUROC и TPR: машина против человека,"
    " оценка 1 - P(human). Бинарные модели различают два класса, их оценки даны на этих двух.",
)

tpr_at_5_fpr = partial(metrics.tpr_at_fpr, max_fpr=0.05)


@dataclass(frozen=True, kw_only=True)
class Summary(Table):
    """One row an arm."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Every arm of the study."""
        return every_arm(facts)

    def body(self, records: Records) -> Body:
        """Classifiers of all classes first, binaries below."""
        columns = (
            ARM,
            CLASSES,
            words.MACRO_F1,
            ABOVE_CHANCE,
            words.ACCURACY,
            words.AUROC,
            words.TPR,
            TRAINED,
            ADAPTER,
            HEAD,
            words.SECONDS,
            words.LEARNING_RATE,
        )
        header = tuple(column.say(records.lang) for column in columns)
        groups = tuple(
            tuple(
                (name, *_cells(records.get(name), len(columns) - 1, records.lang)) for name in names
            )
            for names in (ALL_CLASSES, records.facts.binaries)
        )
        return Body(header, groups, (NOTE.say(records.lang),))


def _cells(runs: Sequence[Run], columns: int, lang: str) -> Row:
    """All columns but the name; a number that the record does not hold is left blank."""
    if not runs:
        return (MISSING,) * columns
    seconds = mean_seconds(runs)
    f1 = estimate.of_confusion(runs, metrics.macro_f1)[()]
    chance = metrics.chance_macro_f1(len(runs[0].labels))
    return (
        str(len(runs[0].labels)),
        f1.show(),
        (YES if f1.low > chance else NO).say(lang, chance=chance),
        estimate.of_confusion(runs, metrics.accuracy)[()].show(),
        estimate.of_ranking(runs, metrics.auroc).show(),
        estimate.of_ranking(runs, tpr_at_5_fpr).show(),
        *_counts(runs[0].result.get("parameters", {})),
        "" if seconds is None else f"{seconds:.1f}",
        str(runs[0].experiment.get("learning_rate", "")),
    )


def _counts(parameters: Mapping[str, int]) -> Row:
    """Trained, adapter with its share of the whole model, head; blank without counts."""
    if not parameters:
        return ("",) * 3
    total = sum(parameters[what] for what in ("backbone", "head", "adapter"))
    adapter = parameters["adapter"]
    share = f"{thousands(adapter)} ({100 * adapter / total:.2f} %)"
    return thousands(parameters["trained"]), share, thousands(parameters["head"])


TABLES = (Summary(id="summary", title=Text("Every arm in one table", "Все модели вместе")),)
