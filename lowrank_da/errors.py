"""The one error that a user is meant to read.

Everything that can go wrong through input (a typo, a missing file, a damaged record) raises
`UserError` with a single line: what is wrong, where, and what to do. Only the command lines catch
it; there it becomes that line on standard error and exit code 2. Any other exception is a bug and
keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input, told in one line: what, where, what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not there, with the nearest name that is.

    >>> str(unknown("corpus", "outfix", ["outfox", "semeval"]))
    "unknown corpus 'outfix'; did you mean 'outfox'? (known: outfox, semeval)"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names) or 'none'})")
