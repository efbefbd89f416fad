"""`lowrank-da`: the command line. Errors of the user end here, in one line and exit code 2."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lowrank_da import discover
from lowrank_da.errors import UserError, unknown

if TYPE_CHECKING:
    from lowrank_da.campaign import Campaign
    from lowrank_da.machine import Machine
    from lowrank_da.study import Checkout

Arguments = argparse.Namespace


def checkout() -> "Checkout":
    """`Checkout.here`, imported when asked for."""
    from lowrank_da.study import Checkout

    return Checkout.here()


def campaign(arguments: Arguments) -> "Campaign":
    """The study in the setting that the command names."""
    from lowrank_da.campaign import Campaign

    return Campaign(checkout(), arguments.study, arguments.setting)


def _chosen(arguments: Arguments) -> "Machine":
    """Where to train."""
    from lowrank_da.machine import Machine

    asked = (arguments.device, arguments.precision, arguments.threads)
    return Machine.choose(*asked, getattr(arguments, "workers", 1))


def list_things(arguments: Arguments) -> None:
    """What there is, by kind."""
    from lowrank_da import corpora, methods
    from lowrank_da.backbone import BACKBONES

    here = checkout()
    kinds: dict[str, Callable[[], Sequence[str]]] = {
        "corpora": lambda: discover.names(corpora.__name__),
        "backbones": lambda: list(BACKBONES),
        "methods": lambda: discover.names(methods.__name__),
        "settings": lambda: list(here.settings()),
        "studies": lambda: [name for name in here.studies() if not here.is_sweep(name)],
        "sweeps": lambda: [name for name in here.studies() if here.is_sweep(name)],
    }
    if arguments.kind and arguments.kind not in kinds:
        raise unknown("kind", arguments.kind, kinds)
    if arguments.kind == "methods":
        print("\n".join(_method_lines()))
        return
    for kind in [arguments.kind] if arguments.kind else kinds:
        print(f"{kind}: {', '.join(kinds[kind]())}")


def _method_lines() -> list[str]:
    """Every method with its default arguments: what it adds and trains, and its rates."""
    from lowrank_da import methods
    from lowrank_da.backbone import DISTILROBERTA as BACKBONE
    from lowrank_da.method import method

    classes = 4
    head, body = BACKBONE.head_parameters(classes), BACKBONE.body_parameters
    rows = [("method", "adapter", "encoder", "head", "trained", "learning rates", "")]
    for name in discover.names(methods.__name__):
        one = method(name)()
        added, trained = one.added_parameters(BACKBONE), one.trained_parameters(BACKBONE)
        share = f"{(trained + head) / (body + added + head):.2%}"
        rates = " ".join(f"{rate:g}" for rate in one.rates)
        about = (type(one).__doc__ or "").partition("\n")[0]
        rows.append((name, f"{added:,}", f"{trained:,}", f"{head:,}", share, rates, about))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ("<", ">", ">", ">", ">", "<", "<")
    return [
        f"Parameters on {BACKBONE.name} with {classes} classes: the adapter's new ones, those of"
        " the encoder that train (new or not),",
        "the head's, and the share of the whole that trains.",
        *(
            "  ".join(f"{c:{a}{w}}" for c, a, w in zip(row, aligned, widths, strict=True)).rstrip()
            for row in rows
        ),
    ]


def run(arguments: Arguments) -> None:
    """Train one arm, or one learning-rate trial, under one seed."""
    from lowrank_da import train
    from lowrank_da.campaign import seeds_of

    here = campaign(arguments)
    machine = _chosen(arguments)
    name, seed = arguments.name, arguments.seed
    trials = {cell.name: cell for cells in here.asked_trials().values() for cell in cells}
    untuned = here.untuned_arms()
    if name not in untuned and name not in trials:
        raise unknown("experiment", name, [*untuned, *trials])
    if seed not in ((0,) if name in trials else seeds_of(untuned[name], (seed,))):
        raise UserError(f"--seed {seed}: {name} takes seed 0 alone")
    if not 0 <= seed < train.SEEDS:
        raise UserError(f"--seed {seed}: seeds go from 0 to {train.SEEDS - 1}")
    if name in trials:
        (done,) = train.run([trials[name]], here.checkout.runs, here.checkout.root, machine)
    else:
        done = here.run_arm(name, here.tuned_arm(name, machine), seed, machine)
    for role, numbers in done.result["splits"].items():
        print(f"{done.name} on {role}: macro-F1 {numbers['macro_f1']:.4f}")
    print(f"Against the kept record: {here.against_kept(done)}")
    print(done.path(here.checkout.runs))


def reproduce(arguments: Arguments) -> None:
    """Run a study in a setting and print every table beside the published one."""
    here = campaign(arguments)
    machine = _chosen(arguments)
    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError(f"--seeds {arguments.seeds}: at least one seed is needed")
    seeds = tuple(range(arguments.seeds)) if arguments.seeds else here.seeds
    here.run(machine, seeds)
    _tables(here.checkout, here.checkout.runs, here.study_name, here.setting_name, arguments.lang)
    print("Against the kept records:")
    for line in here.difference():
        print(f"  {line}")


def tables(arguments: Arguments) -> None:
    """Write and print the tables of the kept records; nothing is trained."""
    here = checkout()
    kept = [name for name in here.studies() if (here.results / name).is_dir()]
    for study in [arguments.study] if arguments.study else kept:
        there = here.settings_in(here.results, study)
        for setting in [arguments.setting] if arguments.setting else there:
            here.setting(setting, study)
            _tables(here, here.results, study, setting, arguments.lang)
        if not arguments.setting:
            from paper import build

            out = here.root / "paper" / "generated"
            print(build.write_across(here.results, study, there, arguments.lang, out), end="")


def _tables(here: "Checkout", records: Path, study: str, setting: str, lang: str) -> None:
    from paper import build

    out = here.root / "paper" / "generated"
    print(build.write_all(records, study, setting, lang, out))
    print(f"written below {out / study / setting}")


def sweep(arguments: Arguments) -> None:
    """Do an Optuna study's trials, then judge the best one on id, once."""
    from lowrank_da.sweep import Sweep
    from lowrank_da.sweep_report import report

    machine = _chosen(arguments)
    here = Sweep(checkout(), arguments.study, arguments.setting, arguments.storage)
    if arguments.ray and arguments.threads:
        raise UserError("--threads: Ray shares its nodes' processors out itself; leave it away")
    asked = (arguments.trials, arguments.timeout, arguments.seed)
    study = here.run(machine, *asked, ray_address=arguments.ray, one_worker=arguments.quiet)
    if arguments.quiet:
        return
    from lowrank_da.sweep_figures import draw

    for line in report(here, study):
        print(line)
    if remaining := here.remaining(study):
        print(f"{remaining} trials remain; the winner is judged when all are done.")
        return
    here.cut(study, machine.alone)
    for run in here.evaluate(here.best(study), machine.alone):
        print(f"seed {run.seed} on id: macro-F1 {run.result['splits']['id']['macro_f1']:.4f}")
    for path in draw(here, study, here.folder / "figures"):
        print(path)
    _tables(here.checkout, here.checkout.runs, here.name, here.setting_name, "en")


def keep(arguments: Arguments) -> None:
    """Copy a study's clean records from runs/ to experiments/results/."""
    here = checkout()
    if here.is_sweep(arguments.study):
        from lowrank_da.sweep import Sweep

        one = Sweep(here, arguments.study, arguments.setting, arguments.storage)
        copied, left = one.keep(one.open())
    else:
        copied, left = campaign(arguments).keep()
    for path in copied:
        print(path)
    print(f"{len(copied)} records are new; those with the same result were kept already")
    for line in left:
        print(f"left: {line}")


def status(arguments: Arguments) -> None:
    """Which records of a study are there, kept or fresh."""
    for line in campaign(arguments).status():
        print(line)


def export(arguments: Arguments) -> None:
    """Write a trained arm for transformers, peft or ONNX, with a model card."""
    from lowrank_da import export

    model, run = export.find(campaign(arguments), arguments.name, arguments.seed)
    beside = run.path(checkout().runs).with_suffix(".export")
    out = Path(arguments.out) if arguments.out else beside
    for line in export.export(model, run, arguments.format, out):
        print(line)
    print(out)


def prove(given: Sequence[str]) -> int:
    """Verify the claims of proofs/, as `python -m proofs` does; its options are shown by --help."""
    checkout()
    from proofs.__main__ import main

    return main(given)


def data(arguments: Arguments) -> None:
    """List, fetch or check a corpus or a backbone."""
    from lowrank_da import data_command

    if arguments.action != "list" and not arguments.name:
        raise UserError(f"data {arguments.action} needs a name; `lowrank-da data list` shows them")
    if arguments.action == "list":
        data_command.list_data()
    elif arguments.action == "get":
        data_command.get(arguments.name, accept_sha256=arguments.accept_sha256)
    else:
        data_command.check(arguments.name, allow_partial=arguments.allow_partial)


def _study(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", nargs="?", default="thesis", help="a file of experiments/")
    command.add_argument(
        "--setting", default="embedded", help="see `list settings`; embedded by default"
    )


def _machine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--precision", default="auto", help="auto, bf16 or fp32")
    command.add_argument("--threads", type=int, help="for one training; all, shared")


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    what = "Full fine-tuning against LoRA: trainings, tables, records. Studies lie in experiments/."
    top = argparse.ArgumentParser(prog="lowrank-da", description=what)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, does: Callable[[Arguments], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=does.__doc__, description=does.__doc__)
        command.set_defaults(does=does)
        return command

    add("list", list_things).add_argument("kind", nargs="?", help="corpora, methods, ...")

    command = add("run", run)
    command.add_argument("study", help="a file of experiments/")
    command.add_argument("name", help="an arm, such as lora, or a trial")
    command.add_argument("--setting", default="embedded", help="see `list settings`")
    command.add_argument("--seed", type=int, default=0)
    _machine(command)

    command = add("reproduce", reproduce)
    _study(command)
    command.add_argument("--seeds", type=int, help="use seeds 0 to N-1 instead of the study's")
    command.add_argument("--workers", type=int, default=1, help="trainings at a time")
    command.add_argument("--lang", default="en", choices=("en", "ru"))
    _machine(command)

    command = add("export", export)
    command.add_argument("study", help="a file of experiments/")
    command.add_argument("name", help="a trained arm, such as lora")
    command.add_argument("--setting", default="embedded", help="see `list settings`")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--format", default="all", help="merged, peft, onnx, or all that can be")
    command.add_argument("--out", help="a folder; by default beside the record in runs/")

    command = add("sweep", sweep)
    command.add_argument("study", help="a sweep of experiments/, such as rank_sweep")
    command.add_argument("--setting", default="embedded", help="see `list settings`")
    command.add_argument("--trials", type=int, help="so many finished ones; all of a grid's")
    command.add_argument("--workers", type=int, default=1, help="processes, here or of --ray")
    command.add_argument("--ray", metavar="ADDRESS", help="workers on a Ray cluster; `auto`")
    command.add_argument("--storage", help="an Optuna storage's URL; by default SQLite in runs/")
    command.add_argument("--timeout", type=float, help="seconds after which no trial is begun")
    command.add_argument("--seed", type=int, default=0, help="of the sampler")
    command.add_argument(
        "--quiet", action="store_true", help="be one of the workers: no report, no winner"
    )
    _machine(command)

    command = add("keep", keep)
    _study(command)
    command.add_argument("--storage", help="of a sweep: where its trials lie")
    _study(add("status", status))

    command = add("tables", tables)
    command.add_argument("study", nargs="?", help="a file of experiments/; all by default")
    command.add_argument("--setting", help="see `list settings`; all that have kept records")
    command.add_argument("--lang", default="en", choices=("en", "ru"))

    # `main` hands over to it before anything is parsed: its options are its own.
    commands.add_parser("prove", help=prove.__doc__, add_help=False)

    command = add("data", data)
    command.add_argument("action", choices=("list", "get", "check"))
    command.add_argument("name", nargs="?", help="a corpus or a backbone")
    command.add_argument("--accept-sha256", help="get: trust a file whose pin is not known")
    command.add_argument(
        "--allow-partial", action="store_true", help="check: accept other class counts"
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it worked, 2 with one line on standard error when the input is bad."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        if given[:1] == ["prove"]:
            return prove(given[1:])
        arguments = parser().parse_args(given)
        arguments.does(arguments)
    except UserError as error:
        print(f"lowrank-da: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader, `head` say, has seen enough; Python would complain again when it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(
            "lowrank-da: interrupted; the same command goes on from the last resume file, if any",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
