"""A table: what it needs of the records, its rows, and its two renderings.

Every file of `paper/tables` is a *kind* of table: a subclass of `Table`, and beside it the tables
of that kind as values in `TABLES`. `tables()` collects them by looking; one more table is one
more file there. The same records give the same bytes.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrank_da import discover
from lowrank_da.corpus import ID, Corpus
from lowrank_da.errors import unknown
from lowrank_da.files import atomic
from lowrank_da.run import HEAD, TRIAL, WINNER, Run, one_fingerprint
from paper import words
from paper.arms import beyond_thesis
from paper.published import published
from paper.words import Text

MISSING = "-"
"""Stands in every cell whose run is not there."""
PACKAGE = "paper.tables"
PRECISIONS = {"bf16-mixed": "bf16", "32-true": "fp32"}
"""What the command line calls a record's precision; references have another one."""

Runs = Mapping[str, Sequence[Run]]
Row = tuple[str, ...]


class Math(str):
    """A cell that is a formula in TeX's notation, without the dollars."""


@dataclass(frozen=True)
class SettingFacts:
    """Where the comparison takes place, in words for captions."""

    setting: str
    corpus: str
    backbone: str
    labels: tuple[str, ...]
    """The corpus' classes; each stands beside the published class at its position."""

    def binary(self, position: int) -> str:
        """The name of the run that tells this machine class from human."""
        return f"{self.labels[position].lower()}_vs_{Corpus.human}"

    @property
    def classes(self) -> range:
        """The positions of all classes."""
        return range(len(self.labels))

    @property
    def binaries(self) -> tuple[str, ...]:
        """The names of all binary runs, in the corpus' order."""
        return tuple(self.binary(i) for i, label in enumerate(self.labels) if label != Corpus.human)

    def published_position(self, position: int) -> int | None:
        """The published row that stands beside our class: human by name, machines by order."""
        theirs_of_human = int(published()["thesis"]["classes"].index(Corpus.human))
        if self.labels[position] == Corpus.human:
            return theirs_of_human
        return position if position < theirs_of_human else None

    def class_name(self, position: int, lang: str) -> str:
        """Our class beside the published one; a single name where they agree."""
        ours, row = self.labels[position], self.published_position(position)
        if row is None:
            return ours
        theirs = str(published()["thesis"]["classes"][row])
        if ours.lower() == theirs.lower():
            return theirs
        return words.PUBLISHED_AS.say(lang, ours=ours, published=theirs)


@dataclass(frozen=True)
class Records:
    """What a table is made from: records by name, where they come from, the language."""

    runs: Runs
    facts: SettingFacts
    lang: str

    def get(self, name: str) -> Sequence[Run]:
        """The seeds of `name`, or nothing."""
        return self.runs.get(name, ())


@dataclass(frozen=True)
class Body:
    """The content of a table."""

    header: Row
    groups: tuple[tuple[Row, ...], ...]
    """Rows that belong together; a line divides the groups."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """One table; a subclass is a kind."""

    id: str
    """The number in the thesis, or a word for a table that the thesis does not have."""
    title: Text

    def needs(self, facts: SettingFacts) -> tuple[str, ...]:
        """The names of the runs without which cells stay empty: none, where all found is shown."""
        return ()

    @abstractmethod
    def body(self, records: Records) -> Body:
        """The rows, a missing run's cells being `MISSING`."""

    def roles(self, runs: Runs) -> tuple[str, ...]:
        """The splits whose texts are counted in the caption."""
        return (ID,)

    def applies(self, runs: Runs) -> bool:
        """Whether there is anything to show."""
        return True

    def missing(self, runs: Runs, facts: SettingFacts) -> tuple[str, ...]:
        """The names of the runs that it needs and that are not there."""
        return tuple(name for name in self.needs(facts) if not runs.get(name))

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """The records at hand that the table shows; all must come from the same texts."""
        return [run for name in self.needs(facts) for run in runs.get(name, ())]

    def build(self, runs: Runs, facts: SettingFacts, lang: str) -> "Built":
        """The finished table.

        Raises `UserError` when the runs it compares read different texts.
        """
        used = self.uses(runs, facts)
        if used:
            one_fingerprint(used)
        return Built(
            id=self.id,
            caption=f"{self.title.say(lang)}. {_provenance(self, runs, facts, lang)}",
            body=self.body(Records(runs, facts, lang)),
            missing=self.missing(runs, facts),
            lang=lang,
            several_seeds=len(used) > len({run.name for run in used}),
            again=self.again(used),
        )

    def again(self, used: Sequence[Run]) -> str:
        """The command that trains the quickest of the runs shown once more, or nothing.

        On the same kind of machine its record has the same `result`. Trials and combinations are no
        cells of their own, and what a sweep has chosen is the sweep's.
        """
        cells = [
            run
            for run in used
            if "made_from" not in run.made_by
            and "train_seconds" in run.measured
            and not run.name.startswith(TRIAL)
            and not run.name.endswith(HEAD)
        ]
        if not cells:
            return ""
        one = min(cells, key=lambda run: (run.measured["train_seconds"], run.name, run.seed))
        if one.name == WINNER:
            return of_sweep(one)
        command = f"lowrank-da run {one.study} {one.name} --setting {one.setting} --seed {one.seed}"
        return command + _machine(one)


def of_sweep(run: Run) -> str:
    """The command of the sweep that a record comes from."""
    return f"lowrank-da sweep {run.study} --setting {run.setting}{_machine(run)}"


def _machine(run: Run) -> str:
    """The options under which a network's record has the same digits; none for a reference."""
    precision, threads = PRECISIONS.get(run.made_by["precision"]), run.made_by.get("threads")
    if precision is None:
        return ""
    device = "cpu" if run.made_by["device"] == "cpu" else "cuda"  # a card goes by its name
    told = f" --device {device} --precision {precision}"
    return told if threads is None else f"{told} --threads {threads}"


@dataclass(frozen=True, kw_only=True)
class OfThesis(Table):
    """A table that the thesis has, or that only its arms fill."""

    def applies(self, runs: Runs) -> bool:
        """Where no other arm is, be there records or not."""
        return not beyond_thesis(runs)


_FIXED = Text(
    "Symbolic: the same for every corpus, backbone and seed.",
    "Символьно: одинаково для всех корпусов, моделей и начальных чисел.",
)
_WHERE = Text("Corpus: {corpus}; backbone: {backbone}", "Корпус: {corpus}; модель: {backbone}")
_OTHER_CORPUS = Text(
    "Corpus: {corpus}, which is not the thesis corpus; backbone: {backbone}",
    "Корпус: {corpus} (не корпус работы); модель: {backbone}",
)
_TEXTS = Text("{texts} texts evaluated", "текстов в оценке: {texts}")
_TEXTS_A_SPLIT = Text("{texts} texts a split evaluated", "текстов выборки в оценке: {texts}")
_OF_EACH_BINARY = Text(" ({texts} by each binary)", " (у каждой бинарной: {texts})")
_SEED = Text("seed {seeds}", "начальное число {seeds}")
_SEEDS = Text("seeds {seeds}", "начальные числа {seeds}")
_NO_RUN = Text("no run yet.", "запусков ещё нет.")
_BRACKETS = Text(
    "In brackets: 95 % interval over texts.",
    "В скобках: 95 %-й интервал по текстам.",
)
_BRACKETS_AND_SEEDS = Text(
    "In brackets: 95 % interval over texts and seeds.",
    "В скобках: 95 %-й интервал по текстам и начальным числам.",
)
_SPREAD = Text(
    "Mean over seeds; after ±: standard deviation over seeds.",
    "Среднее по начальным числам; после ±: стандартное отклонение по ним.",
)
_MISSING_RUNS = Text("Missing runs: {names}.", "Нет запусков: {names}.")
_AGAIN = Text(
    "The quickest of its runs again, in a fresh clone",
    "Самый быстрый из запусков ещё раз, в свежей копии",
)
_SWEEP_AGAIN = Text("The sweep again, in a fresh clone", "Перебор ещё раз, в свежей копии")
_TABLE = Text("Table", "Таблица")


def where(facts: SettingFacts, lang: str) -> str:
    """Corpus and backbone, and plainly whether the corpus is another than the thesis'."""
    own = facts.corpus == published()["thesis"]["corpus"]
    sentence = _WHERE if own else _OTHER_CORPUS
    return sentence.say(lang, corpus=facts.corpus, backbone=facts.backbone)


def _provenance(table: Table, runs: Runs, facts: SettingFacts, lang: str) -> str:
    """Corpus, backbone, texts and seeds, in one or two sentences."""
    used = table.uses(runs, facts)
    if not table.needs(facts) and not used:
        return _FIXED.say(lang)
    start = where(facts, lang) + "; "
    if not used:
        return start + _NO_RUN.say(lang)
    seeds = sorted({run.seed for run in used})
    said = (_SEEDS if len(seeds) > 1 else _SEED).say(lang, seeds=", ".join(map(str, seeds)))
    return f"{start}{_texts(table.roles(runs), used, lang)}; {said}."


def _texts(roles: Sequence[str], used: Sequence[Run], lang: str) -> str:
    """How many texts of a split were evaluated; of binaries apart where both kinds are shown."""

    def count(runs: Sequence[Run]) -> str:
        splits = [run.result["splits"] for run in runs]
        texts = [own[role]["texts"] for own in splits for role in roles if role in own]
        ends = {min(texts, default=0), max(texts, default=0)}
        return "–".join(map(thousands, sorted(ends)))

    all_classes = [run for run in used if run.labels == run.corpus_labels]
    binaries = [run for run in used if run.labels != run.corpus_labels]
    said = _TEXTS_A_SPLIT if len(roles) > 1 else _TEXTS
    if not all_classes or not binaries:
        return said.say(lang, texts=count(used))
    of_each = _OF_EACH_BINARY.say(lang, texts=count(binaries))
    return said.say(lang, texts=count(all_classes)) + of_each


def thousands(number: int) -> str:
    """`47,327`."""
    return f"{number:,}"


@dataclass(frozen=True)
class Built:
    """A table with its numbers in, ready to be printed."""

    id: str
    caption: str
    body: Body
    missing: tuple[str, ...]
    lang: str
    several_seeds: bool
    """Whether its intervals are over seeds, too."""
    again: str = ""
    """The command that repeats one of its runs."""

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return f"table_{int(self.id):02d}" if self.id.isdigit() else f"table_{self.id}"

    @property
    def full_caption(self) -> str:
        """The caption and what its brackets mean, where it has any."""
        cells = [cell for group in self.body.groups for row in group for cell in row]
        parts = [self.caption]
        if any(re.search(r"\[-?\d", cell) for cell in cells):
            said = _BRACKETS_AND_SEEDS if self.several_seeds else _BRACKETS
            parts.append(said.say(self.lang))
        if any("±" in cell for cell in cells):
            parts.append(_SPREAD.say(self.lang))
        return " ".join(parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences below, the missing runs last."""
        if not self.missing:
            return self.body.notes
        names = ", ".join(self.missing)
        return (*self.body.notes, _MISSING_RUNS.say(self.lang, names=names))

    @property
    def _again_means(self) -> str:
        """What the command repeats."""
        kind = _SWEEP_AGAIN if self.again.startswith("lowrank-da sweep") else _AGAIN
        return kind.say(self.lang)

    def markdown(self) -> str:
        """As a GitHub table below its caption; ends with a line break."""
        number = f"{_TABLE.say(self.lang)} {self.id}. " if self.id.isdigit() else ""
        lines = [f"**{number}{_markdown(self.full_caption)}**", ""]
        lines += [_pipes(self.body.header), _pipes(("---",) * len(self.body.header))]
        lines += [_pipes(row) for group in self.body.groups for row in group]
        for note in self.notes:
            lines += ["", _markdown(note)]
        if self.again:
            lines += ["", f"{self._again_means}: `{self.again}`."]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """As a `table` environment; needs the packages booktabs and graphicx."""
        groups = ["\n".join(_ampersands(row) for row in group) for group in self.body.groups]
        below = [escape_latex(note) for note in self.notes]
        if self.again:
            command = escape_latex(self.again).replace("--", "-{}-")
            below.append(rf"{self._again_means}: \texttt{{{command}}}.")
        width = r"\ifdim\width>\linewidth \linewidth\else\width\fi"
        lines = [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape_latex(self.full_caption)}}}",
            rf"\label{{tab:{self.stem.removeprefix('table_')}}}",
            rf"\resizebox{{{width}}}{{!}}{{%",
            rf"\begin{{tabular}}{{{'l' * len(self.body.header)}}}",
            r"\toprule",
            _ampersands(self.body.header),
            r"\midrule",
            "\n\\midrule\n".join(groups),
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\smallskip{{\footnotesize {note}\par}}" for note in below),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """`<folder>/table_NN.md` and `.tex`, each by atomic rename."""
        contents = {".md": self.markdown(), ".tex": self.latex()}
        for ending, text in contents.items():
            with atomic(folder / (self.stem + ending)) as temporary:
                temporary.write_text(text)
        return [folder / (self.stem + ending) for ending in contents]


def _markdown(text: str) -> str:
    if isinstance(text, Math):
        return f"${text}$"
    # `<` opens a tag only before something other than a space.
    return re.sub(r"<(?! )", "&lt;", text.replace("|", r"\|"))


def _pipes(row: Row) -> str:
    return f"| {' | '.join(_markdown(cell) for cell in row)} |"


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    **{c: rf"\{c}" for c in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """Plain text as LaTeX; a formula between dollars."""
    if isinstance(text, Math):
        return f"${text}$"
    return "".join(_SPECIAL.get(character, character) for character in text)


def _ampersands(row: Row) -> str:
    return rf"{' & '.join(escape_latex(cell) for cell in row)} \\"


def tables(package: str = PACKAGE) -> list[Table]:
    """The tables of every kind in `package`: those with a number by number, then the others."""
    found: list[Table] = []
    for name in discover.names(package):
        module: Any = importlib.import_module(f"{package}.{name}")
        found += module.TABLES
    seen: set[str] = set()
    for table in found:
        if table.id in seen:
            raise ValueError(f"two tables in {package} have the id {table.id!r}")
        seen.add(table.id)
    return sorted(
        found, key=lambda t: (not t.id.isdigit(), int(t.id) if t.id.isdigit() else 0, t.id)
    )


def find(id: str, package: str = PACKAGE) -> Table:
    """The table with this id; `UserError` of the nearest one when there is none."""
    every = {table.id: table for table in tables(package)}
    if id not in every:
        raise unknown("table", id, every)
    return every[id]
