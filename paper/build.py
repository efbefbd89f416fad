"""From a folder of records to every table and figure of one setting in one language."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from lowrank_da.run import Run, load_all
from lowrank_da.study import Checkout
from paper import across, parts
from paper.figure import figures, save
from paper.figures import elsewhere
from paper.table import Built, Records, Runs, SettingFacts, escape_latex, tables, where
from paper.tables.out_of_domain import ood_roles


def facts_of(runs: Runs, study: str, setting: str) -> SettingFacts:
    """What captions say of a setting: from its records, or from its definition without any.

    Raises `UserError` for an unknown study or setting where there is no record.
    """
    for name in sorted(runs):
        for run in runs[name]:
            if "setting" in run.experiment:
                return _of_record(run)
    return _of_definition(study, setting)


def _of_record(run: Run) -> SettingFacts:
    setting = run.experiment["setting"]
    return SettingFacts(
        run.setting, setting["corpus"]["is"], setting["backbone"], run.corpus_labels
    )


def _of_definition(study: str, name: str) -> SettingFacts:
    setting = Checkout.here().setting(name, study)
    return SettingFacts(name, setting.corpus.name, setting.backbone.name, setting.corpus.labels)


def read(folder: Path, study: str, setting: str, lang: str) -> Records:
    """The records of a study in a setting.

    Raises `UserError` for a damaged one, and for seeds of one name that are other experiments.
    """
    runs = load_all(folder, study, setting)
    for own in runs.values():
        _one_experiment(own)
    return Records(runs, facts_of(runs, study, setting), lang)


def _one_experiment(runs: Sequence[Run]) -> None:
    by_key = {run.key: run.seed for run in runs}
    if len(by_key) > 1:
        one = runs[0]
        raise UserError(
            f"{one.study}/{one.setting}: the seeds {' and '.join(map(str, by_key.values()))} of"
            f" {one.name} are different experiments; delete the records of the older one"
        )


def write_all(runs_folder: Path, study: str, setting: str, lang: str, out: Path) -> str:
    """Write every table and figure below `out/<study>/<setting>/<lang>`; return the Markdown.

    Beside them lie `tables.tex` and `figures.tex`, which `main.tex` inputs. Every table is built
    before the first file is written. Raises `UserError` for damaged records, for runs on different
    texts, and for an unknown study, setting or language.
    """
    records = read(runs_folder, study, setting, lang)
    runs, facts = records.runs, records.facts
    built = [table.build(runs, facts, lang) for table in tables() if table.applies(runs)]
    home, place = out / study / setting / lang, where(facts, lang)
    for one in built:
        one.write(home)
    drawn = [figure for figure in figures() if figure.applies(runs)]
    for figure in drawn:
        figure.write(records, home)
    inputs = [rf"\input{{\generated/{one.stem}}}" for one in built]
    with atomic(home / "tables.tex") as temporary:
        temporary.write_text("\n".join(inputs) + "\n")
    with atomic(home / "figures.tex") as temporary:
        temporary.write_text(
            "".join(_figure(f.id, f"{f.caption.say(lang)}. {place}.") for f in drawn)
        )
    return "\n".join(one.markdown() for one in built)


def tables_over(every: Sequence[Records], lang: str) -> list[Built]:
    """The tables over several settings of a study: those that two of them have the arms for."""
    made = [across.build(every, kind, lang) for kind in across.KINDS]
    controlled = parts.controlled(across.everywhere(every))
    made += [parts.build(every, three, lang) for three in controlled]
    return [one for one in made if one is not None]


def drawings(records: Records) -> dict[str, Callable[[], Drawing]]:
    """How each figure of a setting is drawn, by its id."""
    return {f.id: partial(f.drawing, records) for f in figures() if f.applies(records.runs)}


def drawings_over(every: Sequence[Records]) -> dict[str, Callable[[], Drawing]]:
    """The same over those settings of a study that have splits elsewhere."""
    every = [records for records in every if ood_roles(records.runs)]
    possible = len(every) > 1 and elsewhere.possible([records.runs for records in every])
    return {"elsewhere": partial(elsewhere.drawn, every)} if possible else {}


def write_across(runs_folder: Path, study: str, settings: list[str], lang: str, out: Path) -> str:
    """Write the tables and figures over several settings of a study; return the Markdown."""
    every = [read(runs_folder, study, setting, lang) for setting in settings]
    built = tables_over(every, lang)
    home = out / study / lang
    for one in built:
        one.write(home)
    for id, draw in drawings_over(every).items():
        save(draw, home / f"{id}.png", home / f"{id}.pdf")
    return "\n".join(one.markdown() for one in built)


def _figure(id: str, caption: str) -> str:
    lines = (
        r"\begin{figure}[htbp]",
        r"\centering",
        rf"\includegraphics[width=\linewidth]{{\generated/{id}.pdf}}",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{fig:{id}}}",
        r"\end{figure}",
    )
    return "\n".join(lines) + "\n"
