"""A corpus: a cheap recipe that loads labelled texts, already split, and refuses bad ones.

`Corpus` owns the labels (the only place class numbers come from), the licence and the citation.
`load()` gives `Splits`: *train* to learn from, *select* to choose on, *id* to report on, and any
number of *ood/...* roles from other domains. A group (one prompt, one module, one set of
duplicates) never crosses splits: `Splits` checks that itself, and raises otherwise.
"""

import copy
import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from lowrank_da import corpora, discover
from lowrank_da.errors import UserError

T = TypeVar("T")
TRAIN, SELECT, ID, OOD = "train", "select", "id", "ood/"
DATA_VARIABLE = "LOWRANK_DA_DATA"
CACHE_VARIABLE = "LOWRANK_DA_CACHE"


def cache_home() -> Path:
    """The folder for everything that can be made again: $LOWRANK_DA_CACHE, or the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "lowrank_da"


def data_home() -> Path:
    """The folder of the corpora: $LOWRANK_DA_DATA when set, else `data` in the cache.

    Raises `UserError` when the variable names a folder that is not there: never a silent fallback.
    """
    chosen = os.environ.get(DATA_VARIABLE)
    if not chosen:
        return cache_home() / "data"
    if not Path(chosen).is_dir():
        raise UserError(
            f"{DATA_VARIABLE}={chosen} is not a folder; create it or unset the variable"
        )
    return Path(chosen)


@dataclass(frozen=True, slots=True)
class Example:
    """One text with its class."""

    uid: str
    """Names the text for ever, within its corpus."""
    text: str
    label: str
    group: str
    """Texts that must stay in one split: same prompt, same module, duplicates."""
    domain: str = ""
    pair: str | None = None
    """The second text of a two-text task."""


def normalised(text: str) -> str:
    """The form in which two texts count as duplicates: lower case, single spaces."""
    return " ".join(text.lower().split())


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


class SealedError(RuntimeError):
    """Texts were touched that no trial may see: an error of ours, not of the user."""


class Sealed(Mapping[str, T]):
    """What a trial may know, by role: asked for any other role it raises `SealedError`."""

    def __init__(self, by_role: Mapping[str, T]) -> None:
        self._open = {role: by_role[role] for role in (TRAIN, SELECT)}

    def __getitem__(self, role: str) -> T:
        if role not in self._open:
            raise SealedError(
                f"the texts of {role} are sealed: trials are judged on {SELECT} alone"
            )
        return self._open[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)


@dataclass(frozen=True)
class Splits:
    """The texts of a corpus by role, checked when built."""

    corpus: str
    labels: tuple[str, ...]
    roles: Mapping[str, tuple[Example, ...]] = field(repr=False)
    by_group: bool = False
    """Whether a part of the texts is one of the groups, not of the texts of each class."""

    def __post_init__(self) -> None:
        """Raise `UserError` for an empty text, an unknown label, an empty class or a leak."""
        for role, examples in self.roles.items():
            for example in examples:
                if not example.text.strip():
                    raise UserError(f"{self.corpus}: text {example.uid!r} in {role} is empty")
                if example.label not in self.labels:
                    raise UserError(
                        f"{self.corpus}: text {example.uid!r} in {role} has the unknown label"
                        f" {example.label!r} (known: {', '.join(self.labels)})"
                    )
        for role in (TRAIN, SELECT, ID):
            counts = self.counts(role)
            for label in self.labels:
                if not counts[label]:
                    raise UserError(f"{self.corpus}: class {label!r} has no text in {role}")
        self._refuse_leaks()

    def _refuse_leaks(self) -> None:
        group_of: dict[str, str] = {}
        text_of: dict[bytes, str] = {}
        for role, examples in self.roles.items():
            for example in examples:
                if group_of.setdefault(example.group, role) != role:
                    raise UserError(
                        f"{self.corpus}: group {example.group!r} is in both"
                        f" {group_of[example.group]} and {role}; splits must not share groups"
                    )
                text = _digest(normalised(example.text), normalised(example.pair or ""))
                if text_of.setdefault(text, role) != role:
                    raise UserError(
                        f"{self.corpus}: the text of {example.uid!r} is in both"
                        f" {text_of[text]} and {role}; duplicates must share one split"
                    )

    def __getitem__(self, role: str) -> tuple[Example, ...]:
        return self.roles[role]

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The roles that a finished model predicts: all but *train*."""
        return tuple(role for role in self.roles if role != TRAIN)

    def counts(self, role: str) -> Counter[str]:
        """Texts a class in `role`."""
        return Counter(example.label for example in self.roles[role])

    def sealed(self) -> "Splits":
        """The same for a trial: of all roles but *train* and *select* the texts cannot be read.

        Reading one raises `SealedError`. The fingerprint stays that of all texts.
        """
        assert self.fingerprint  # computed now, and copied with the rest
        shut = copy.copy(self)
        object.__setattr__(shut, "roles", Sealed(self.roles))
        return shut

    def summary(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """For a record: texts by role and class, mean words by class, of these classes."""
        words = self.mean_words(role for role in (TRAIN, SELECT, ID) if role in list(self.roles))
        return {
            "texts": {role: {c: self.counts(role)[c] for c in labels} for role in self.roles},
            "mean_words": {c: words[c] for c in labels},
        }

    def mean_words(self, roles: Iterable[str] = (TRAIN, SELECT, ID)) -> dict[str, float]:
        """Mean white-space separated words a text, by class, over `roles` together."""
        words: dict[str, list[int]] = {label: [] for label in self.labels}
        for role in roles:
            for example in self.roles[role]:
                words[example.label].append(len(example.text.split()))
        return {label: sum(n) / len(n) for label, n in words.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every role, uid, label and text, whatever their order."""
        lines = sorted(
            _digest(role, e.uid, e.label, e.text, e.pair or "")
            for role, examples in self.roles.items()
            for e in examples
        )
        return hashlib.sha256(b"".join(lines)).hexdigest()

    def take(self, texts: Mapping[str, int | None]) -> "Splits":
        """At most `texts[role]` texts of each class, chosen by the hash of their uid.

        With `by_group` by the hash of their group first, so that classes are of the same groups
        where these hold one text of each.
        """

        def place(example: Example) -> tuple[bytes, ...]:
            own = _digest(example.uid)
            return (_digest(example.group), own) if self.by_group else (own,)

        def chosen(role: str) -> Iterator[Example]:
            left = Counter({label: texts.get(role) for label in self.labels})
            for example in sorted(self.roles[role], key=place):
                if texts.get(role) is None:
                    yield example
                elif left[example.label] > 0:
                    left[example.label] -= 1
                    yield example

        return replace(self, roles={role: tuple(chosen(role)) for role in self.roles})


class Corpus(ABC):
    """A recipe for `Splits`. A subclass is a frozen dataclass in a file of `corpora/`.

    Where it tells human from machine texts, `labels` end with `human`; the machine classes stand in
    the order in which the thesis prints them (chatGPT, cohere, davinci), so that each takes the
    place of the same published row.
    """

    labels: ClassVar[tuple[str, ...]]
    human: ClassVar[str] = "human"
    """The label of human texts, where a corpus has such a class."""
    description: ClassVar[str]
    """One line for captions and `data list`: what is human here, and what is not."""
    descriptions: ClassVar[Mapping[str, str]] = {}
    """A sentence on each label's texts, for zero-shot; empty where nobody has written them."""
    licence: ClassVar[str]
    citation: ClassVar[str]
    sources: ClassVar[tuple[str, ...]] = ()
    """Where `get` can fetch it from, the usual one first; empty: it is made from what is there."""

    @property
    def name(self) -> str:
        """The file's name, which is the command line's name for it."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return data_home() / self.name

    def versions(self) -> dict[str, str]:
        """Versions of what the texts are made from, beside the recipe; for the record."""
        return {}

    @abstractmethod
    def load(self) -> Splits:
        """Read, check and split the texts; `UserError` when they are missing or damaged."""

    def get(self, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        """Fetch the files into `folder` from `source`, one of `sources`.

        `accept_sha256` holds accepted hashes of files without pin, comma-separated (see `fetch`).
        Raises `UserError` when there is nothing to fetch, or when fetching fails.
        """
        raise UserError(f"corpus {self.name}: nothing to fetch; it is made when it is first loaded")


def corpus(name: str) -> Corpus:
    """The corpus whose file in `corpora/` is called `name`; `UserError` names the nearest one."""
    module = discover.find(corpora.__name__, name, "corpus")
    return discover.the_class(module, Corpus)()  # type: ignore[type-abstract]


@cache
def splits(corpus: Corpus) -> Splits:
    """The corpus' texts, loaded once a process."""
    return corpus.load()
