"""The command below a table repeats a run: the same `result` as the record that is kept.

Of each setting the quickest cell is repeated, which is the words' regression, and one network by a
slow test; `make reproduce` says the same of every network of its own.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from invented_records import record

from lowrank_da import cli
from lowrank_da.corpus import CACHE_VARIABLE, ID
from lowrank_da.run import Run
from lowrank_da.study import Checkout
from paper import build
from paper.table import find

HERE = Checkout.here()
CPU_MINUTES = 1
"""A cell that took longer is repeated by hand."""


def printed(study: str, setting: str, table: str) -> str:
    """The command below a table of the kept records."""
    records = build.read(HERE.results, study, setting, "en")
    built = find(table).build(records.runs, records.facts, "en")
    assert f": `{built.again}`." in built.markdown()
    assert built.again.replace("--", "-{}-").replace("_", r"\_") in built.latex()
    return built.again


def repeat(command: Sequence[str], runs: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Run]:
    """The kept record and the one that the command makes."""
    program, verb, study, name, _, setting, _, seed, *machine = command
    assert (program, verb) == ("lowrank-da", "run")
    assert machine[::2] in ([], ["--device", "--precision", "--threads"])
    here = Checkout.here()
    monkeypatch.setattr(here, "runs", runs)
    monkeypatch.setattr(Checkout, "here", lambda: here)
    place = Path(study) / setting / f"{name}--seed{seed}.json"
    kept = Run.load(here.results / place)
    assert kept.measured["train_seconds"] < 60 * CPU_MINUTES
    assert cli.main(list(command[1:])) == 0
    return kept, Run.load(runs / place)


def same_texts(kept: Run, again: Run) -> None:
    if kept.fingerprint != again.fingerprint:
        pytest.skip(f"{kept.setting} has other texts here: their sources have other versions")


@pytest.mark.parametrize(
    ("study", "setting"),
    [("thesis", "embedded"), pytest.param("thesis", "outfox", marks=pytest.mark.data)],
)
def test_the_quickest_cell_gives_the_kept_result_again(
    study: str,
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = shlex.split(printed(study, setting, "summary"))
    kept, again = repeat(command, tmp_path, monkeypatch)
    same_texts(kept, again)
    assert again.result == kept.result
    assert "Against the kept record: the same result" in capsys.readouterr().out


@pytest.mark.slow
def test_a_networks_cell_gives_the_kept_result_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe, whose frozen encoder reads every text once.

    To the digit on the same kind of processor, which its name does not quite tell; else nearly.
    """
    records = build.read(HERE.results, "method_comparison", "embedded", "en")
    probe = records.runs["linear_probe"][0]
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))  # the encoder's states, too
    command = shlex.split(find("arms").again([probe]))
    kept, again = repeat(command, tmp_path, monkeypatch)
    same_texts(kept, again)
    f1 = [run.result["splits"][ID]["macro_f1"] for run in (kept, again)]
    assert f1[0] == pytest.approx(f1[1], abs=0.02)
    if again.result != kept.result:  # another processor; but on one it is the same every time
        assert repeat(command, tmp_path / "once more", monkeypatch)[1].result == again.result


def test_what_is_no_cell_is_not_offered_to_be_repeated() -> None:
    records = build.read(HERE.results, "thesis", "embedded", "en")
    summary = find("summary")
    every = [run for runs in records.runs.values() for run in runs]
    trials = [run for run in every if run.name.startswith("grid/")]
    combined = [run for run in every if "made_from" in run.made_by]
    assert trials
    assert combined
    assert summary.again(trials + combined) == ""
    for run in (run for run in every if run not in trials + combined):
        said = summary.again([run])
        assert said.startswith(f"lowrank-da run thesis {run.name} --setting embedded --seed 0")
        machine = " --device cpu --precision bf16 --threads 2"
        assert said.endswith(machine) == (run.name != "tfidf")


def test_a_card_is_asked_for_as_the_command_line_calls_it() -> None:
    run = record("full")
    on_card = replace(run, made_by=run.made_by | {"device": "NVIDIA H200"})
    assert " --device cuda --precision bf16 " in find("summary").again([on_card])


def test_what_a_sweep_has_chosen_is_repeated_by_the_sweep() -> None:
    winner = record("winner")
    machine = "--device cpu --precision bf16 --threads 2"
    for id in ("arms", "sweep"):
        assert find(id).again([winner]) == f"lowrank-da sweep thesis --setting outfox {machine}"
