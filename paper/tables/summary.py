"""Every arm on one line: quality on *id*, trained parameters, seconds, learning rate.

Of the thesis' study its own arms; of any other whatever arms are found, with what else they cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress

import numpy as np

from lowrank_da import metrics
from lowrank_da.corpus import ID, Corpus
from lowrank_da.run import Run
from paper import estimate, words
from paper.arms import ALL_CLASSES, beyond_thesis, every_arm, found
from paper.rows import mean_seconds, share_of_limit
from paper.table import MISSING, Body, OfThesis, Records, Row, Runs, SettingFacts, thousands
from paper.words import Text

ARM = Text("arm", "модель")
CLASSES = Text("classes", "классов")
ADAPTER = Text("adapter parameters", "параметров адаптера")
ABOVE_CHANCE = Text("above chance (1/k)", "выше случайного (1/k)")
ABOVE_MAJORITY = Text("above the majority class", "выше частого класса")
YES = Text("yes ({floor:.3f})", "да ({floor:.3f})")
NO = Text("no ({floor:.3f})", "нет ({floor:.3f})")
HEAD = Text("head parameters", "параметров головы")
TRAINED = Text("trained parameters", "обучаемых параметров")
SHARE = Text("share of the limit", "доля предела")
MEMORY = Text("peak memory, GiB", "пик памяти, ГиБ")
CHECKPOINT = Text("checkpoint, MB", "контрольная точка, МБ")
ON_ID = Text("Scores are on the id split.", "Оценки на выборке id.")
BINARIES = Text(
    "The binaries tell two classes apart; their scores are on these two.",
    "Бинарные модели различают два класса, их оценки даны на этих двух.",
)
OF_CHANCE = Text(
    "An arm is above chance when the whole interval of its macro-F1 lies above 1/k, the most that"
    " guessing among k classes is expected to give.",
    "Модель выше случайного, если весь интервал её macro-F1 выше 1/k, наибольшего ожидаемого при"
    " угадывании среди k классов.",
)
OF_MAJORITY = Text(
    "It is above the majority class when that interval lies above the macro-F1 of always naming"
    " the most frequent class.",
    "Она выше частого класса, если этот интервал выше macro-F1 постоянного ответа самым частым"
    " классом.",
)
OF_RANKING = Text(
    "AUROC and TPR are machine against human, by the sum of the machine classes' probabilities.",
    "AUROC и TPR: машина против человека, оценка: сумма вероятностей машинных классов.",
)
OF_SHARE = Text(
    "The limit: the least number of operations, at the speed of one large matrix product; blank"
    " where a training had only a part of the processor's cores.",
    "Предел: наименьшее число операций при скорости одного большого произведения матриц; пусто,"
    " где обучению досталась только часть ядер процессора.",
)
OF_MEMORY = Text(
    "Peak memory is a card's; on a processor it is the largest size of the process so far, so that"
    " arms trained in one process are not told apart.",
    "Пик памяти взят с видеокарты; на процессоре это наибольший размер процесса к этому моменту,"
    " так что модели, обученные в одном процессе, по нему не различаются.",
)
OF_SECONDS = Text(
    "The pass of frozen layers counts in the seconds of the run that made it, not of those that"
    " found its states.",
    "Проход замороженных слоёв входит во время того запуска, который его сделал.",
)

tpr_at_5_fpr = partial(metrics.tpr_at_fpr, max_fpr=0.05)

Cell = Callable[[Sequence[Run], str], str]
"""The seeds of an arm, and the language, to what stands in a column; blank without the number."""


def _above(floor: Callable[[Run], float]) -> Cell:
    """Whether the whole interval of macro-F1 lies above `floor`."""

    def cell(runs: Sequence[Run], lang: str) -> str:
        f1, least = _macro_f1(runs), floor(runs[0])
        return (YES if f1.low > least else NO).say(lang, floor=least)

    return cell


def _macro_f1(runs: Sequence[Run]) -> estimate.Estimate:
    return estimate.of_confusion(runs, metrics.macro_f1)[()]


def majority_macro_f1(run: Run) -> float:
    """Of always naming the class that has the most texts on *id*."""
    texts = run.confusion(ID).sum(axis=1)
    confusion = np.zeros((len(texts), len(texts)), dtype=np.int64)
    confusion[:, texts.argmax()] = texts
    return float(metrics.macro_f1(confusion))


def _count(what: str) -> Cell:
    """A number of parameters; that of the adapter with its share of the whole model."""

    def cell(runs: Sequence[Run], lang: str) -> str:
        parameters = runs[0].result.get("parameters")
        if parameters is None:
            return ""
        share = ""
        if what == "adapter":
            total = sum(parameters[part] for part in ("backbone", "head", "adapter"))
            share = f" ({100 * parameters[what] / total:.2f} %)"
        return thousands(parameters[what]) + share

    return cell


def _measured(what: str, show: Callable[[float], str]) -> Cell:
    """The mean over seeds of what was measured."""

    def cell(runs: Sequence[Run], lang: str) -> str:
        numbers = [run.measured.get(what) for run in runs]
        known = [number for number in numbers if number is not None]
        return show(sum(known) / len(known)) if len(known) == len(runs) else ""

    return cell


def _seconds(runs: Sequence[Run], lang: str) -> str:
    seconds = mean_seconds(runs)
    return "" if seconds is None else f"{seconds:.1f}"


def _ranking(statistic: Callable[..., float]) -> Cell:
    """Of machine against human; blank where nothing is human."""

    def cell(runs: Sequence[Run], lang: str) -> str:
        known = Corpus.human in runs[0].labels
        return estimate.of_ranking(runs, statistic).show() if known else ""

    return cell


@dataclass(frozen=True)
class Column:
    """What stands above and in a column, and what a reader must know of it."""

    title: Text
    cell: Cell
    note: Text | None = None


QUALITY = (
    Column(CLASSES, lambda runs, _: str(len(runs[0].labels))),
    Column(words.MACRO_F1, lambda runs, _: _macro_f1(runs).show()),
    Column(ABOVE_CHANCE, _above(lambda run: metrics.chance_macro_f1(len(run.labels))), OF_CHANCE),
)
RANKING = (
    Column(words.ACCURACY, lambda r, _: estimate.of_confusion(r, metrics.accuracy)[()].show()),
    Column(words.AUROC, _ranking(metrics.auroc), OF_RANKING),
    Column(words.TPR, _ranking(tpr_at_5_fpr), OF_RANKING),
)
COST = (
    Column(TRAINED, _count("trained")),
    Column(ADAPTER, _count("adapter")),
    Column(HEAD, _count("head")),
)
RATE = Column(words.LEARNING_RATE, lambda runs, _: str(runs[0].experiment.get("learning_rate", "")))
THESIS = (*QUALITY, *RANKING, *COST, Column(words.SECONDS, _seconds), RATE)
FOUND = (
    *QUALITY,
    Column(ABOVE_MAJORITY, _above(majority_macro_f1), OF_MAJORITY),
    *RANKING,
    *COST,
    Column(words.SECONDS, _seconds, OF_SECONDS),
    Column(SHARE, lambda runs, _: share_of_limit(runs), OF_SHARE),
    Column(MEMORY, _measured("peak_memory_bytes", lambda size: f"{size / 2**30:.2f}"), OF_MEMORY),
    Column(CHECKPOINT, _measured("checkpoint_bytes", lambda size: f"{size / 1e6:,.1f}")),
    RATE,
)


@dataclass(frozen=True, kw_only=True)
class Summary(OfThesis):
    """One row an arm of the thesis: classifiers of all classes first, binaries below."""

    columns: tuple[Column, ...] = THESIS
    closing: tuple[Text, ...] = (BINARIES,)
    """The last sentences below."""

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """Every arm of the study."""
        return every_arm(facts)

    def groups(self, records: Records) -> tuple[tuple[str, ...], ...]:
        """The names of the arms that stand together."""
        return ALL_CLASSES, records.facts.binaries

    def body(self, records: Records) -> Body:
        """The groups in their order, without the columns that no record fills."""
        lang, groups = records.lang, self.groups(records)

        def cells(runs: Sequence[Run]) -> Row:
            return tuple(column.cell(runs, lang) if runs else MISSING for column in self.columns)

        rows = {name: cells(records.get(name)) for names in groups for name in names}
        filled = [any(column) for column in zip(*rows.values(), strict=True)]
        columns = tuple(compress(self.columns, filled))
        header = tuple(title.say(lang) for title in (ARM, *(column.title for column in columns)))
        notes = (ON_ID, *(column.note for column in columns if column.note), *self.closing)
        note = " ".join(one.say(lang) for one in dict.fromkeys(notes))
        body = tuple(tuple((n, *compress(rows[n], filled)) for n in names) for names in groups)
        return Body(header, body, (note,))


@dataclass(frozen=True, kw_only=True)
class Found(Summary):
    """One row an arm of any study, as far as its records are there."""

    columns: tuple[Column, ...] = FOUND
    closing: tuple[Text, ...] = ()

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """No run by name: whatever there is is shown."""
        return ()

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every arm at hand."""
        return [run for name in found(runs) for run in runs[name]]

    def applies(self, runs: Runs) -> bool:
        """Where an arm is that the thesis does not have."""
        return beyond_thesis(runs) and bool(found(runs))

    def groups(self, records: Records) -> tuple[tuple[str, ...], ...]:
        """Classifiers of all classes, then the others; the best macro-F1 first."""
        names = sorted(found(records.runs), key=lambda name: -_macro_f1(records.get(name)).value)
        first = [records.get(name)[0] for name in names]
        whole = [run.name for run in first if run.labels == run.corpus_labels]
        parts = (tuple(whole), tuple(name for name in names if name not in whole))
        return tuple(part for part in parts if part)


TABLES = (
    Summary(id="summary", title=Text("Every arm in one table", "Все модели вместе")),
    Found(id="arms", title=Text("Every arm in one table", "Все модели вместе")),
)
