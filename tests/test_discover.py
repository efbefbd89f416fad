"""discover.py: a file in a package is a thing; nothing is listed anywhere else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowrank_da import discover
from lowrank_da.errors import UserError

PACKAGE = "zoo_of_things"
FILES = {
    "__init__.py": "class Base:\n    pass\n",
    "one.py": (
        "from dataclasses import dataclass\nfrom zoo_of_things import Base\n"
        "@dataclass(frozen=True)\nclass One(Base):\n    pass\n"
    ),
    "two.py": (
        "from zoo_of_things.one import Base, One\n"
        "class Two(Base):\n    pass\nclass Too(One):\n    pass\n"
    ),
    "none.py": "from zoo_of_things.one import One\n",
    "inner.py": (
        "from abc import ABC, abstractmethod\n"
        "from zoo_of_things.one import Base, One\n"
        "class _Helper(Base):\n    pass\n"
        "class Sketch(Base, ABC):\n    @abstractmethod\n    def f(self): ...\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Whole(Sketch):\n    def f(self): ...\n"
    ),
    "sketch.py": (
        "from abc import ABC, abstractmethod\n"
        "from zoo_of_things import Base\n"
        "class Sketch(Base, ABC):\n    @abstractmethod\n    def count(self): ...\n"
    ),
    "plain.py": "from zoo_of_things import Base\nclass Plain(Base):\n    pass\n",
    "inherited.py": "from zoo_of_things.one import One\nclass Again(One):\n    pass\n",
    "thawed.py": (
        "from dataclasses import dataclass\nfrom zoo_of_things import Base\n"
        "@dataclass\nclass Thawed(Base):\n    pass\n"
    ),
    "_private.py": "raise RuntimeError('imported')\n",
    "broken.py": "raise RuntimeError('imported')\n",
}


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of things, one of which cannot be imported."""
    (tmp_path / PACKAGE).mkdir()
    for name, text in FILES.items():
        (tmp_path / PACKAGE / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def the_class(name: str) -> type[object]:
    """The class that the module of this name defines."""
    module = discover.find(PACKAGE, name, "thing")
    base: type[object] = sys.modules[PACKAGE].Base
    return discover.the_class(module, base)


def test_names_are_the_public_files_and_none_is_imported() -> None:
    public = sorted(name.removesuffix(".py") for name in FILES if not name.startswith("_"))
    assert discover.names(PACKAGE) == public
    assert f"{PACKAGE}.one" not in sys.modules


def test_only_the_asked_for_is_imported() -> None:
    assert the_class("one").__name__ == "One"
    assert f"{PACKAGE}.two" not in sys.modules
    with pytest.raises(RuntimeError, match="imported"):
        discover.find(PACKAGE, "broken", "thing")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown thing 'tow'; did you mean 'two'"):
        discover.find(PACKAGE, "tow", "thing")
    with pytest.raises(UserError, match="unknown thing '_private'"):
        discover.find(PACKAGE, "_private", "thing")


@pytest.mark.parametrize("name", ["none", "two"])
def test_a_file_without_or_with_two_classes_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{PACKAGE}.{name} must define exactly one Base"):
        the_class(name)


def test_what_an_unfinished_class_lacks_is_named() -> None:
    with pytest.raises(UserError, match="it has Sketch, which lacks count"):
        the_class("sketch")


@pytest.mark.parametrize("name", ["plain", "inherited", "thawed"])
def test_a_class_that_is_no_frozen_dataclass_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"put @dataclass\(frozen=True\) above"):
        the_class(name)


def test_private_abstract_and_imported_classes_do_not_count() -> None:
    assert the_class("inner").__name__ == "Whole"
