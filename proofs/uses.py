"""Where a claim is used: its file, its binding, and the studies that bear on it.

All of it is read from names and texts of files, so that no torch is loaded.
"""

import ast
import importlib
import re
from pathlib import Path

from lowrank_da import discover


def files(package: str = "proofs") -> dict[str, str]:
    """By id, the files that hold a claim, `c<number>_<word>.py`; of `proofs.bind` the bindings."""
    found: dict[str, str] = {}
    for name in discover.names(package):
        if re.fullmatch(r"[bc]\d\d_\w+", name):
            other = found.setdefault(f"C{name[1:3]}", name)
            if other != name:
                folder = package.replace(".", "/")
                raise ValueError(f"{folder}/{other}.py and {folder}/{name}.py have one id")
    return found


def studies() -> dict[str, list[str]]:
    """By id, the studies whose `THEORY` names the claim."""
    (folder,) = importlib.import_module("experiments").__path__
    found: dict[str, list[str]] = {}
    for name in discover.names("experiments"):
        for statement in ast.parse((Path(folder) / f"{name}.py").read_text()).body:
            match statement:
                case ast.Assign([ast.Name("THEORY")], value) | ast.AnnAssign(
                    ast.Name("THEORY"), _, ast.expr() as value
                ):
                    for one in ast.literal_eval(value):
                        found.setdefault(one, []).append(name)
    return found
