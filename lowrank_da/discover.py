"""Things are found by looking: one file in a package is one thing, and its name is the file's.

There is no registry and no list to edit. `names("lowrank_da.corpora")` is what the folder holds;
`find(...)` imports one of them, and only that one.
"""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

from lowrank_da.errors import UserError, unknown

T = TypeVar("T")
ABSTRACT = "__abstractmethods__"


def names(package: str) -> list[str]:
    """The names of the public modules of `package`, sorted, packages within it left out.

    Nothing but the package is imported.
    """
    path = importlib.import_module(package).__path__
    found = pkgutil.iter_modules(path)
    return sorted(m.name for m in found if not m.ispkg and not m.name.startswith("_"))


def find(package: str, name: str, kind: str) -> ModuleType:
    """Import the module called `name`.

    Raises `UserError` with the nearest known name when there is none; `kind` is the word for it.
    """
    known = names(package)
    if name not in known:
        raise unknown(kind, name, known)
    return importlib.import_module(f"{package}.{name}")


def the_class(module: ModuleType, base: type[T]) -> type[T]:
    """The one public concrete subclass of `base` that `module` itself defines, a frozen dataclass.

    Raises `UserError` where it is another number, and where one lacks a part or its decorator.
    """
    own = [
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, base)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
    found = [value for value in own if not inspect.isabstract(value)]
    if len(found) != 1:
        has = [value.__name__ for value in found] or [
            f"{value.__name__}, which lacks {', '.join(sorted(getattr(value, ABSTRACT)))}"
            for value in own
        ]
        raise UserError(
            f"{module.__name__} must define exactly one {base.__name__}; it has"
            f" {' and '.join(has) or 'none'}"
        )
    made = vars(found[0]).get("__dataclass_params__")
    if made is None or not made.frozen:
        raise UserError(
            f"{module.__name__}: put @dataclass(frozen=True) above {found[0].__name__}; its fields"
            " are its name in records"
        )
    return found[0]
