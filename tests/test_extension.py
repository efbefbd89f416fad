"""A corpus, a method, a study and a table are each one new file: added here to a copy of the code.

The copy is run as a user would run it, and no file but its own knows the number of a table.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowrank_da.run import Run, record_path
from paper.table import tables

ROOT = Path(__file__).parents[1]

CORPUS = '''
"""Riddles: what the sphinx asks, and what a passer-by answers."""

from dataclasses import dataclass

from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus, Example, Splits


@dataclass(frozen=True)
class Riddles(Corpus):
    """Twelve of each in every role."""

    labels = ("sphinx", "human")
    description = "invented riddles"
    licence = "invented"
    citation = "none"

    def load(self) -> Splits:
        says = {"sphinx": "what walks on {} legs, in {}?", "human": "a {}-legged thing, of {}!"}
        return Splits(
            self.name,
            self.labels,
            {
                role: tuple(
                    Example(f"{role}-{label}-{i}", says[label].format(i, role), label, f"{role}{i}")
                    for label in self.labels
                    for i in range(12)
                )
                for role in (TRAIN, SELECT, ID)
            },
        )
'''

METHOD = '''
"""Train the norms alone."""

from dataclasses import dataclass

from lowrank_da import anatomy
from lowrank_da.method import Method, Work


@dataclass(frozen=True)
class Norms(Method):
    """Scale and shift of every layer norm."""

    def change(self, encoder, backbone):
        for norm in anatomy.norms(encoder):
            norm.requires_grad_(True)

    def added_parameters(self, backbone):
        return 0

    def trained_parameters(self, backbone):
        return backbone.norm_parameters

    def work(self, backbone):
        touched = frozenset({"attention_output", "ffn_out"})
        return Work(embeddings=backbone.decoder, touched=touched)
'''

STUDY = '''
"""Question: are the norms enough for riddles? Command: see its test. Cost: seconds."""

from lowrank_da.backbone import TINY
from lowrank_da.corpora.riddles import Riddles
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.methods.norms import Norms

thebes = Setting(corpus=Riddles(), backbone=TINY, max_tokens=64, epochs=1)
SEEDS = {"thebes": (0,)}
THEORY = ()


def trials(setting):
    return {"norms": (Experiment(setting=setting, method=Norms(), learning_rate=0.01),)}


def arms(setting, rate):
    return {"norms": Experiment(setting=setting, method=Norms(), learning_rate=rate["norms"])}


def combinations(setting):
    return {}
'''

TABLE = '''
"""How many norms were trained."""

from dataclasses import dataclass

from paper.table import Body, Table
from paper.words import Text


@dataclass(frozen=True, kw_only=True)
class Norms(Table):
    """One row."""

    def needs(self, facts):
        return ("norms",)

    def body(self, records):
        runs = records.get("norms")
        trained = [str(r.result["parameters"]["trained"]) for r in runs] or ["-"]
        return Body(("method", "trained"), ((("norms", *trained),),))


TABLES = (Norms(id="NUMBER", title=Text("Norms", "Norms")),)
'''

(IA3,) = re.findall(
    r"^```python\n(from dataclasses.*?)```",
    (ROOT / "README.md").read_text(),
    re.DOTALL | re.MULTILINE,
)
"""The README's example of a method."""

NEXT = 1 + max(int(table.id) for table in tables() if table.id.isdigit())

COMMANDS = """
import sys
from lowrank_da.cli import main

sys.exit(main(["list"]) or main(["reproduce", "enough", "--setting", "thebes", "--device", "cpu"]))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code without its records, and four files more."""
    root = tmp_path_factory.mktemp("tree")
    unwanted = shutil.ignore_patterns("__pycache__", "generated", "results")
    for room in ("lowrank_da", "experiments", "paper"):
        shutil.copytree(ROOT / room, root / room, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "lowrank_da/corpora/riddles.py").write_text(CORPUS)
    (root / "lowrank_da/methods/norms.py").write_text(METHOD)
    (root / "lowrank_da/methods/ia3.py").write_text(IA3)
    (root / "experiments/enough.py").write_text(STUDY)
    (root / "paper/tables/norms.py").write_text(TABLE.replace("NUMBER", str(NEXT)))
    return root


@pytest.fixture(scope="module")
def printed(tree: Path) -> str:
    """What `list` and `reproduce` of the new study print."""
    environment = os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(tree / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_new_files_are_listed(printed: str) -> None:
    kinds = dict(re.findall(r"^(\w+): (.*)$", printed, re.MULTILINE))
    assert "riddles" in kinds["corpora"].split(", ")
    assert "norms" in kinds["methods"].split(", ")
    assert "enough" in kinds["studies"].split(", ")


def test_the_new_study_trains_the_new_method_on_the_new_corpus(tree: Path, printed: str) -> None:
    run = Run.load(record_path(tree / "runs", "enough", "thebes", "norms", 0))
    assert run.experiment["setting"]["corpus"] == {"is": "riddles"}
    assert run.experiment["method"] == {"is": "norms"}
    assert run.labels == ("sphinx", "human")
    norms = 4 * 2 * 16
    assert run.result["parameters"]["trained"] == norms + run.result["parameters"]["head"]


@pytest.mark.slow
def test_the_readmes_method_has_every_property_and_trains(tree: Path) -> None:
    shutil.copytree(ROOT / "tests", tree / "tests", dirs_exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(tree / "cache")}
    properties = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_methods.py",
        "tests/test_cost.py",
        "-k",
        "ia3",
    ]
    cell = ["run", "method_comparison", "ia3", "--setting", "tiny", "--device", "cpu"]
    for asked in (properties, ["-m", "lowrank_da.cli", *cell]):
        done = subprocess.run(
            [sys.executable, *asked],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    run = Run.load(record_path(tree / "runs", "method_comparison", "tiny", "ia3", 0))
    assert run.result["parameters"]["adapter"] == 2 * (16 + 16 + 32)


def test_the_new_table_stands_with_the_others(tree: Path, printed: str) -> None:
    assert f"**Table {NEXT}. Norms. Corpus: riddles" in printed
    generated = tree / "paper/generated/enough/thebes/en"
    run = json.loads(record_path(tree / "runs", "enough", "thebes", "norms", 0).read_text())
    trained = run["result"]["parameters"]["trained"]
    assert f"| norms | {trained} |" in (generated / f"table_{NEXT}.md").read_text()
    assert rf"\input{{\generated/table_{NEXT}}}" in (generated / "tables.tex").read_text()
    assert (generated / "table_arms.md").exists()
    assert not (generated / "table_01.md").exists(), "the thesis has no such arm"


# --- numbers of tables --------------------------------------------------------------------------


def strings(path: Path) -> Iterator[str]:
    """The text constants of a Python file, but for its documentation."""
    tree = ast.parse(path.read_text())
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and id(node) not in documentation and node.value
        if isinstance(text, str):
            yield text


def names_a_table(text: str) -> bool:
    """`7`, `07`, `table_07`, `tab:07`: a number by which a table could be looked up."""
    return bool(re.search(r"^\d{1,2}$|table_\d|tab:\d", text))


def test_only_a_tables_own_file_knows_its_number() -> None:
    numbers = {table.id: type(table).__module__ for table in tables() if table.id.isdigit()}
    assert list(numbers) == [str(n) for n in range(1, len(numbers) + 1)]
    for room in ("lowrank_da", "experiments", "paper"):
        for path in sorted((ROOT / room).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for text in strings(path):
                if names_a_table(text):
                    assert numbers.get(text) == module, f"{path} names a table: {text!r}"
    assert not names_a_table((ROOT / "paper/main.tex").read_text())
