"""What `lowrank-da data list | get NAME | check NAME` does."""

import logging
import os
import sys
from dataclasses import replace
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from lowrank_da import corpora, discover, fetch
from lowrank_da.corpus import DATA_VARIABLE, Corpus, corpus, data_home
from lowrank_da.errors import UserError, unknown

NOTES = 1000
"""So many lines a corpus may say of itself before any is shown."""


def _state(of: Corpus, folder: Path) -> str:
    if not of.sources:
        return "nothing to fetch"
    there = folder.is_dir() and any(folder.iterdir())
    return f"present in {folder}" if there else f"missing, goes to {folder}"


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into {folder}; set {DATA_VARIABLE} to another folder")


def list_data() -> None:
    """Print each corpus with its licence and whether its files are there; no text is read."""
    home = data_home()
    for name in discover.names(corpora.__name__):
        one = corpus(name)
        print(f"{name}: {one.description}")
        print(f"    labels   {', '.join(one.labels)}")
        print(f"    licence  {one.licence}")
        print(f"    files    {_state(one, home / name)}")
        if len(one.sources) > 1:
            others = ", ".join(f"{name}/{source}" for source in one.sources)
            print(f"    sources  {others}")


def get(name: str, accept_sha256: str | None = None) -> None:
    """Fetch a corpus, `<corpus>` or `<corpus>/<source>`, or a backbone, and say where it lies.

    `accept_sha256`: accepted hashes of files that no pin vouches for, comma-separated. Raises
    `UserError` for an unknown name, for a corpus with nothing to fetch, and as `fetch.fetch`.
    """
    if name in fetch.BACKBONES:
        print(f"{name}: in {fetch.fetch_backbone(name, accept_sha256=accept_sha256)}")
        return
    known = discover.names(corpora.__name__)
    plain, _, source = name.partition("/")
    if plain not in known:
        raise unknown("corpus or backbone", plain, [*known, *fetch.BACKBONES])
    one = corpus(plain)
    if source and source not in one.sources:
        raise unknown(f"source of {plain}", source, one.sources)
    folder = data_home() / plain
    if one.sources:
        _make_writable(folder)
    one.get(folder, source or "".join(one.sources[:1]), accept_sha256)
    print(f"{name}: in {folder}; `lowrank-da data check {plain}` counts it")


def check(name: str, allow_partial: bool = False) -> None:
    """Load a corpus with all its checks and print texts per role and class, and the fingerprint.

    What the recipe says about itself while loading (texts left out) goes to standard error, once
    it is loaded: a bad corpus gets the error's one line alone.
    Raises `UserError` as the corpus does, or when `allow_partial` means nothing to it.
    """
    one = corpus(name)
    if allow_partial:
        if not hasattr(one, "allow_partial"):
            raise UserError(f"corpus {name} has no partial form; leave out --allow-partial")
        options: dict[str, Any] = {"allow_partial": True}
        one = replace(one, **options)  # type: ignore[type-var]
    notes = logging.getLogger("lowrank_da.corpora")
    handler = MemoryHandler(NOTES, logging.CRITICAL, logging.StreamHandler(sys.stderr))
    before = notes.level
    notes.addHandler(handler)
    notes.setLevel(logging.INFO)
    try:
        splits = one.load()
    finally:
        notes.removeHandler(handler)
        notes.setLevel(before)
    handler.flush()
    width = max(len(role) for role in splits.roles)
    for role in splits.roles:
        counts = splits.counts(role)
        by_class = "  ".join(f"{label} {counts[label]}" for label in splits.labels)
        print(f"{role:<{width}}  {len(splits[role]):>6} texts  {by_class}")
    print(f"fingerprint {splits.fingerprint}")
