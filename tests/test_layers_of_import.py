"""Which rooms may be entered without which: checked in fresh interpreters."""

import subprocess
import sys

import pytest

import paper
import proofs
from lowrank_da import corpora, discover
from paper import figures, tables

LIGHT = [
    *(f"lowrank_da.{name}" for name in ("corpus", "metrics", "run", "cost", "coupling", "energy")),
    *(f"{corpora.__name__}.{name}" for name in discover.names(corpora.__name__)),
    *(f"paper.{name}" for name in discover.names(paper.__name__)),
    *(f"{tables.__name__}.{name}" for name in discover.names(tables.__name__)),
    *(f"{figures.__name__}.{name}" for name in discover.names(figures.__name__)),
    *(f"{proofs.__name__}.{name}" for name in discover.names(proofs.__name__)),
    f"{proofs.__name__}.__main__",
]

EVERYTHING = """
import importlib, pkgutil, sys
import lowrank_da
for module in pkgutil.walk_packages(lowrank_da.__path__, "lowrank_da."):
    importlib.import_module(module.name)
"""


def loaded(code: str) -> set[str]:
    """The top-level packages in a fresh interpreter after running `code`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def everything() -> set[str]:
    return loaded(EVERYTHING)


def test_corpora_records_metrics_costs_and_tables_need_no_torch() -> None:
    heavy = {"torch", "transformers", "peft", "pytorch_lightning", "torchmetrics"}
    code = "import importlib, sys\n"
    code += f"for name in {LIGHT!r}:\n"
    code += "    importlib.import_module(name)\n"
    code += f"    found = {heavy!r} & set(sys.modules)\n"
    code += "    assert not found, (name, found)\n"
    assert "lowrank_da" in loaded(code)


def test_the_command_line_starts_without_torch() -> None:
    assert "torch" not in loaded("import lowrank_da.cli; lowrank_da.cli.parser()")


def test_the_library_does_not_import_the_checkout(everything: set[str]) -> None:
    assert "pytorch_lightning" in everything
    assert not everything & {"experiments", "proofs", "paper"}


def test_one_lightning_alone_is_loaded(everything: set[str]) -> None:
    assert "lightning" not in everything
