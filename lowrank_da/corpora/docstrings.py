"""The embedded corpus: documentation prose against three n-gram models of it.

Everything is made from the libraries that are installed anyway, so nothing is downloaded and
nothing redistributed:

    library files --ast--> docstrings --prose filter--> paragraphs of a module, as tokens
    some modules   ------------------------------------> human texts
    other modules  --> n-gram models --sampling--> the same filter --> machine texts

Human and sampled paragraphs pass one filter (`is_prose`), and one function (`texts_of`) joins
them and writes them down. So layout tells next to nothing, and a label is true by construction.
The texts follow from the versions of the libraries: records are comparable only within one
fingerprint.
"""

import ast
import gc
import gzip
import hashlib
import importlib.metadata
import json
import logging
import platform
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus, Example, Splits, cache_home, normalised
from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from lowrank_da.ngram import NGram

RECIPE = 3
"""Raised with every change of what is built: it names the cached file and seeds the sampling."""
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "sympy",
    "transformers",
    "scikit-learn",
    "pandas",
    "peft",
    "torchmetrics",
    "optuna",
    "pytorch-lightning",
)
WORDS = range(90, 111)
"""Words a text may have, separated by white space."""
BREAK = "¶"
"""The token between two paragraphs, for the models alone; no text holds it."""

MACHINES: Mapping[str, Callable[[NDArray[np.int64], int], NGram]] = {
    "bigram": partial(NGram.fit, order=2),
    "trigram": partial(NGram.fit, order=3, top_k=200),
    "fourgram": partial(NGram.fit, order=4, temperature=0.8),
}
"""The machine classes: how each one's model is fitted and decoded."""
BATCH = 512
"""Samples drawn at once, each giving at most one text."""
SAMPLED_TOKENS = 5 * WORDS[-1]
"""Tokens in a sample: enough that most give a text, though the filter drops paragraphs."""

log = logging.getLogger(__name__)


# --- from library files to paragraphs -----------------------------------------------------------


def sources(library: str) -> Iterator[tuple[str, bytes]]:
    """Yield the dotted name and source of every file that the library installed, tests left out.

    Raises `UserError` when the library does not say what it installed, or a file of it is gone.
    """
    files = [f for f in importlib.metadata.files(library) or () if f.suffix == ".py"]
    if not files:
        raise UserError(f"docstrings: {library} lists no Python files; reinstall it with pip")
    for file in sorted(files, key=str):
        if not {"..", "test", "tests"} & set(file.parts):
            try:
                source = Path(str(file.locate())).read_bytes()
            except FileNotFoundError as error:
                raise UserError(
                    f"docstrings: {library} has lost its file {file}; reinstall it with pip"
                ) from error
            yield ".".join(file.with_suffix("").parts), source


DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings_of(source: bytes) -> Iterator[str]:
    """Yield the docstrings of a file's module, classes and functions, in order; run nothing.

    What stands inside a function is private to it and left out.
    """
    if b'"""' not in source:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's invalid escapes are its own affair
        try:
            nodes: list[ast.AST] = [ast.parse(source)]
        except SyntaxError:  # a template, or a dialect that this Python does not read
            return
    while nodes:
        node = nodes.pop()
        if isinstance(node, DOCUMENTED):
            yield ast.get_docstring(node) or ""
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes.extend(reversed(getattr(node, "body", ())))


MARKUP = (
    (re.compile(r":[a-z:]+:`[~!.]*([^`<]+?)(?:\s*<[^`]*>)?`"), r"\1"),  # :func:`~a.b`
    (re.compile(r"\[?``?([^`]+)``?\]?_{0,2}"), r"\1"),  # ``a``, `a`, [`a`], `a`_
    (re.compile(r"\*\*?([^*\s][^*]*)\*\*?"), r"\1"),  # *a*, **a**
    (re.compile('"'), ""),
    (re.compile(r"\s*\([^()]*\)"), ""),  # an aside; left in, only the models would leave it open
)
TOKEN = re.compile(
    r"e\.g\.|i\.e\.|etc\.(?= [a-z])|et al\."
    r"|[A-Za-z0-9]+(?:[-'_./][A-Za-z0-9]+)*"  # a word, a number, a dotted or underscored name
    r"|[.,;:?!]"
)
BLANK_LINE = re.compile(r"\n\s*\n")
SENTENCE_END = frozenset(".?!")
MARKS = frozenset(".,;:?!")
PLAIN_WORD = re.compile(r"[a-z]+")


def tokens_of(block: str) -> list[str] | None:
    """Split a block of lines into tokens; None unless it is a paragraph of English prose.

    Besides `is_prose`, it has no heading, starts with a capital, and holds no character outside
    words and `.,;:?!` once bracketed asides and the marks of reStructuredText and Markdown are
    taken off. That leaves out code, doctests, tables, lists, formulas, directives and references.
    """
    lines = block.strip().splitlines()
    if not lines or lines[0].rstrip().endswith(":") or lines[-1].rstrip()[-1:] not in SENTENCE_END:
        return None
    text = " ".join(block.split())
    for pattern, plain in MARKUP:
        text = pattern.sub(plain, text)
    if not text[:1].isupper() or not text.isascii() or TOKEN.sub("", text).strip():
        return None
    tokens: list[str] = TOKEN.findall(text)
    return tokens if is_prose(tokens) else None


def is_prose(tokens: Sequence[str]) -> bool:
    """Tell whether a paragraph ends with a sentence and has enough plain words.

    Enough is 8 words, at least three in four of them plain and lower-case.
    """
    words = [token for token in tokens if token[0].isalnum()]
    plain_words = sum(PLAIN_WORD.fullmatch(word) is not None for word in words)
    return len(words) >= 8 and 4 * plain_words >= 3 * len(words) and tokens[-1] in SENTENCE_END


def paragraphs(libraries: Sequence[str]) -> dict[str, list[list[str]]]:
    """Read the prose of every module: a list of paragraphs, each a list of tokens.

    A paragraph that occurs again is kept only where it stands first; two are the same when their
    plain lower-case words are (documentation is often copied with just the names changed).
    """
    seen: set[str] = set()
    prose: dict[str, list[list[str]]] = {}
    with no_collection():
        for module, source in chain.from_iterable(map(sources, libraries)):
            for block in chain.from_iterable(map(BLANK_LINE.split, docstrings_of(source))):
                tokens = tokens_of(block)
                same = " ".join(filter(PLAIN_WORD.fullmatch, tokens or ()))
                if tokens and same not in seen:
                    seen.add(same)
                    prose.setdefault(module, []).append(tokens)
    return prose


@contextmanager
def no_collection() -> Iterator[None]:
    """Hold the garbage collector: syntax trees have no cycles, and looking for some takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# --- from tokens to texts -----------------------------------------------------------------------


def cut(tokens: Sequence[str]) -> str | None:
    """Write `tokens` down, up to the last sentence end that gives a length in `WORDS`.

    None when no sentence ends there, or when the tokens do not reach past the longest length.
    """
    written: list[str] = []
    best: int | None = None
    for token in tokens:
        if len(written) > WORDS[-1]:
            break
        if written and token in MARKS:
            written[-1] += token
        else:
            written.append(token)
        if token in SENTENCE_END and len(written) in WORDS:
            best = len(written)
    else:
        return None
    return None if best is None else " ".join(written[:best])


def texts_of(prose: Iterable[Sequence[str]]) -> Iterator[str]:
    """Join paragraphs, in order and each in at most one text, until they can be cut to length."""
    tokens: list[str] = []
    for paragraph in prose:
        tokens += paragraph
        text = cut(tokens)
        if text is not None:
            yield text
        if text is not None or len(tokens) > 2 * WORDS[-1]:
            tokens = []


def machine_texts(label: str, prose: Sequence[Sequence[str]], taken: set[str]) -> Iterator[str]:
    """Yield texts from the model of class `label`, fitted on `prose`: as many as are asked for.

    `taken` holds, normalised, the texts that must not come again, and grows. Raises `UserError`
    when a whole batch of samples gives no new text.
    """
    numbers = {BREAK: 0}
    stream = [0]
    for paragraph in prose:
        stream += [numbers.setdefault(token, len(numbers)) for token in paragraph] + [0]
    words = list(numbers)
    model = MACHINES[label](np.array(stream), len(words))
    random = np.random.default_rng(seed(label))
    while True:
        before = len(taken)
        for row in model.sample(BATCH, SAMPLED_TOKENS, random):
            breaks = np.flatnonzero(row == 0)
            sampled = [[words[t] for t in part[1:]] for part in np.split(row, breaks)[1:-1]]
            text = next(texts_of(filter(is_prose, sampled)), None)
            if text is not None and normalised(text) not in taken:
                taken.add(normalised(text))
                yield text
        if len(taken) == before:
            raise too_little(f"the {label} model, fitted on {len(stream)} tokens, repeats itself")


# --- the corpus ---------------------------------------------------------------------------------


def seed(name: str) -> int:
    """Draw a number that depends on the recipe and `name` alone, to order or to seed by chance."""
    return int.from_bytes(hashlib.sha256(f"{RECIPE}:{name}".encode()).digest()[:8], "big")


def too_little(what: str) -> UserError:
    """Make the error for libraries that do not give enough texts."""
    return UserError(f"docstrings: too little prose: {what}; name more libraries or fewer texts")


@dataclass(frozen=True)
class Docstrings(Corpus):
    """Prose from the docstrings of installed libraries, against three n-gram models of it."""

    labels = (*MACHINES, Corpus.human)
    description = (
        "prose from the documentation strings of installed Python libraries, against text sampled"
        " from three n-gram models of it"
    )
    descriptions: ClassVar[Mapping[str, str]] = {
        "bigram": "Text without sense, in which no word knows more than the word before it.",
        "trigram": "Text of phrases of three words that make sense each, but not together.",
        "fourgram": "Fluent text of common phrases that drifts from one subject to another.",
        Corpus.human: "Documentation of a Python library that a programmer has written.",
    }
    licence = "each library's own; made on the spot, never distributed"
    citation = "made by lowrank_da from the documentation strings of installed Python libraries"

    libraries: tuple[str, ...] = LIBRARIES
    """What to read, by the names under which pip installs it."""
    train_texts: int = 600
    """Training texts a class."""
    select_texts: int = 150
    """Texts a class to choose on."""
    id_texts: int = 300
    """Texts a class to report on."""

    @property
    def sizes(self) -> dict[str, int]:
        """Texts a class by role, in the order in which modules are dealt to the roles."""
        return {ID: self.id_texts, SELECT: self.select_texts, TRAIN: self.train_texts}

    def versions(self) -> dict[str, str]:
        """Name what the texts are made from: each library's version, and Python's, which parses.

        Raises `UserError` for a library that is not installed.
        """
        python = ".".join(platform.python_version_tuple()[:2])
        try:
            found = {library: importlib.metadata.version(library) for library in self.libraries}
        except importlib.metadata.PackageNotFoundError as error:
            raise UserError(
                f"docstrings: the library {error.name} is not installed, and the corpus is made"
                f" from it; pip install {error.name}"
            ) from error
        return {"python": python} | found

    def cached(self) -> Path:
        """Name the file of the built texts after all that they are made from."""
        made_from = json.dumps([RECIPE, self.versions(), self.sizes])
        key = hashlib.sha256(made_from.encode()).hexdigest()[:16]
        return cache_home() / "docstrings" / f"{key}.jsonl.gz"

    def load(self) -> Splits:
        """Read the cached texts; build them first, in about half a minute, when there are none.

        Raises `UserError` when a library is missing, the libraries hold too little prose, or the
        cached file is damaged.
        """
        path = self.cached()
        if not path.exists():
            log.info("building the corpus from installed libraries, once, into %s", path)
            _write(path, self.build())
        roles = _read(path)
        if {role: len(texts) for role, texts in roles.items()} != {
            role: size * len(self.labels) for role, size in self.sizes.items()
        }:
            raise _damaged(path, "it does not hold the texts its name stands for")
        return Splits(self.name, self.labels, roles)

    def build(self) -> dict[str, tuple[Example, ...]]:
        """Make the texts anew, by role.

        Modules are dealt by a hash of their names: to the human texts of one role after the other
        until each has enough, and all the others to the three models, which must not get less.
        Raises `UserError` when the prose does not suffice.
        """
        prose = paragraphs(self.libraries)
        modules = sorted(prose, key=seed)
        roles: dict[str, list[Example]] = {}
        for role, size in self.sizes.items():
            texts: list[Example] = []
            while len(texts) < size:
                if not modules:
                    raise too_little(f"only {len(texts)} of {size} human texts for {role}")
                module = modules.pop(0)
                texts += [
                    Example(f"{self.human}/{module}/{number}", text, self.human, group=module)
                    for number, text in enumerate(texts_of(prose[module]))
                ]
            roles[role] = texts[:size]
        to_fit = [paragraph for module in modules for paragraph in prose[module]]
        fitted, own = sum(map(len, to_fit)), WORDS[-1] * sum(self.sizes.values())
        if fitted < own:
            raise too_little(f"{fitted} tokens are left for the models, {own} are needed")
        taken = {normalised(example.text) for texts in roles.values() for example in texts}
        for label in MACHINES:
            numbered = enumerate(machine_texts(label, to_fit, taken))
            for role, size in self.sizes.items():
                for number, text in islice(numbered, size):
                    uid = f"{label}/{number}"
                    roles[role].append(Example(uid, text, label, group=uid))
        return {role: tuple(texts) for role, texts in roles.items()}


def _write(path: Path, roles: Mapping[str, Sequence[Example]]) -> None:
    rows = [{"role": role} | asdict(example) for role in roles for example in roles[role]]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def _read(path: Path) -> dict[str, tuple[Example, ...]]:
    roles: dict[str, list[Example]] = {}
    try:
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            row = json.loads(line)
            roles.setdefault(row.pop("role"), []).append(Example(**row))
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise _damaged(path, str(error)) from error
    return {role: tuple(examples) for role, examples in roles.items()}


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path}: the cached corpus is damaged ({why}); delete it and run again")
