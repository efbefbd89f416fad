"""The command line that all benchmarks share: options in, a saved record and its table out."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

from experiments.benchmarks import timing
from lowrank_da.errors import UserError, unknown
from lowrank_da.study import Checkout

if TYPE_CHECKING:
    from lowrank_da.machine import Machine

S = TypeVar("S")


def rates(here: Checkout) -> dict[str, float]:
    """Each method's learning rate on `embedded`; `UserError` when the trials are not kept."""
    from lowrank_da.campaign import Campaign

    campaign = Campaign(here, "thesis", "embedded")
    found = campaign.known_rates()
    if found.keys() < campaign.trial_cells().keys():
        raise UserError(
            f"no learning-rate trials of thesis in embedded are in {here.results} or {here.runs};"
            " run `lowrank-da reproduce`"
        )
    return found


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help shows the options")


def run(
    benchmark: str,
    what: str,
    sizes: Mapping[str, S],
    measure: Callable[[str, S, "Machine"], timing.Record],
    argv: Sequence[str] | None = None,
) -> int:
    """Measure in the size asked for, save below `runs/benchmarks/`, and print the table.

    The exit code: 0 when it worked; 2, with one line on standard error, when the input is bad.
    """
    from lowrank_da.machine import DEVICES, Machine

    parser = Parser(prog=f"python -m experiments.benchmarks.{benchmark}", description=what)
    parser.add_argument("--size", default="small", help=", ".join(sizes))
    parser.add_argument("--device", default="auto", help=", ".join(DEVICES))
    parser.add_argument("--precision", default="auto", help="auto, bf16, fp32")
    try:
        chosen = parser.parse_args(argv)
        if chosen.size not in sizes:
            raise unknown("size", chosen.size, sizes)
        machine = Machine.choose(chosen.device, chosen.precision)
        done = measure(chosen.size, sizes[chosen.size], machine)
        path = done.save(timing.runs_folder(Checkout.here().root))
        print(f"{timing.markdown(done)}\n\n{path}")
    except UserError as error:
        print(f"{benchmark}: {error}", file=sys.stderr)
        return 2
    return 0
