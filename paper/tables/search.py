"""A search over several parameters: the trials that none beats in quality, size and seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields
from typing import Any

from lowrank_da import metrics
from lowrank_da.corpus import SELECT
from lowrank_da.method import method
from lowrank_da.run import TRIAL, WINNER, Run
from paper import estimate, words
from paper.table import Body, Records, Runs, SettingFacts, Table, of_sweep, thousands
from paper.tables.sweep import ADAPTER, BEST, CHOSEN, ON_SELECT, swept
from paper.words import Text

NOTE = Text(
    "Of {trials} trials those that none beats in macro-F1 on select, adapter parameters and seconds"
    " at once, the best macro-F1 first; no other split was read. Intervals are each trial's own:"
    " that the best of many was chosen is not in them.",
    "Из {trials} испытаний показаны те, которые ни одно не превосходит сразу по macro-F1 на выборке"
    " для отбора, числу параметров и времени; лучшее по macro-F1 первым; других выборок не читали."
    " Интервалы относятся к отдельным испытаниям: выбор лучшего из многих в них не учтён.",
)


def searched(runs: Runs) -> dict[str, Sequence[Run]]:
    """The trials of a search by name: they are called by their experiment's key."""
    return {n: own for n, own in runs.items() if own and n == TRIAL + own[0].key}


def arguments(run: Run) -> dict[str, Any]:
    """What a trial's experiment says of its method, with the defaults that a record leaves out."""
    said: Mapping[str, Any] = run.experiment["method"]
    kind: Any = method(said["is"])
    known = {own.name: own.default for own in fields(kind) if own.default is not NO_DEFAULT}
    return known | dict(said) | {"learning_rate": run.experiment["learning_rate"]}


def varied(every: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The arguments in which trials differ, in the method's order."""
    names = dict.fromkeys(name for one in every for name in one)
    return tuple(n for n in names if len({repr(one.get(n)) for one in every}) > 1)


def seconds(runs: Sequence[Run]) -> float:
    """Of one seed's training, as the sweep counts them: frozen layers' pass apart."""
    parts = ("train_seconds", "head_seconds")
    return float(sum(run.measured.get(part, 0.0) for run in runs for part in parts)) / len(runs)


def costs(runs: Sequence[Run]) -> tuple[float, float, float]:
    """The three objectives, each the smaller the better: minus macro-F1, parameters, seconds."""
    f1 = sum(float(metrics.macro_f1(run.confusion(SELECT))) for run in runs) / len(runs)
    return -f1, float(runs[0].result["parameters"]["adapter"]), seconds(runs)


def unbeaten(every: Mapping[str, tuple[float, ...]]) -> list[str]:
    """The names to which no other is at least as good in all and better in one, the first best."""

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    left = [n for n, own in every.items() if not any(beats(o, own) for o in every.values())]
    return sorted(left, key=lambda name: every[name])


def shown(value: Any) -> str:
    """An argument for a cell: a number in three digits, a tuple's members in a row."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@dataclass(frozen=True, kw_only=True)
class Search(Table):
    """A row a trial on the front."""

    def uses(self, runs: Runs, facts: SettingFacts) -> list[Run]:
        """Every trial at hand."""
        return [run for own in searched(runs).values() for run in own]

    def roles(self, runs: Runs) -> tuple[str, ...]:
        """The one on which choices are made."""
        return (SELECT,)

    def applies(self, runs: Runs) -> bool:
        """Where a search's trials are, and not those over one parameter."""
        return bool(searched(runs)) and not swept(runs)

    def again(self, used: Sequence[Run]) -> str:
        """The search itself."""
        return of_sweep(used[0]) if used else ""

    def body(self, records: Records) -> Body:
        """The arguments in which trials differ, and the three objectives."""
        lang, trials = records.lang, searched(records.runs)
        said = {name: arguments(runs[0]) for name, runs in trials.items()}
        names = varied(list(said.values()))
        winner = next((TRIAL + run.key for run in records.get(WINNER)), None)
        rows = tuple(
            (
                *(shown(said[name].get(argument, "")) for argument in names),
                estimate.of_confusion(trials[name], metrics.macro_f1, SELECT)[()].show(),
                thousands(trials[name][0].result["parameters"]["adapter"]),
                f"{seconds(trials[name]):.1f}",
                BEST.say(lang) if name == winner else "",
            )
            for name in unbeaten({name: costs(runs) for name, runs in trials.items()})
        )
        columns = (ON_SELECT, ADAPTER, words.SECONDS, CHOSEN)
        header = (*names, *(column.say(lang) for column in columns))
        return Body(header, (rows,), (NOTE.say(lang, trials=len(trials)),))


TABLES = (
    Search(
        id="search",
        title=Text("The search: what no trial beats", "Поиск: непревзойдённые испытания"),
    ),
)
