"""Claims with their mathematics changed, which `verify` must find at fault."""

from pathlib import Path
from types import ModuleType

import proofs
from proofs.claim import verify


def faults_with(name: str, old: str, new: str) -> tuple[str, ...]:
    """Of the claim in `proofs/<name>.py` when its text has `new` for its one `old`."""
    path = Path(proofs.__file__).with_name(f"{name}.py")
    text = path.read_text()
    assert text.count(old) == 1
    module = ModuleType(name)
    exec(compile(text.replace(old, new), path, "exec"), module.__dict__)
    return verify(module.CLAIM).faults
