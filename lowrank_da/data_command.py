"""What `lowrank-da data list | get NAME | check NAME` does."""

import logging
import os
import sys
from dataclasses import replace
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from lowrank_da import corpora, discover, fetch
from lowrank_da.backbone import BACKBONES, Backbone, refuse_other_hash
from lowrank_da.corpus import DATA_VARIABLE, Corpus, corpus, data_home
from lowrank_da.errors import UserError, unknown
from lowrank_da.fetch import WEIGHTS

NOTES = 1000
"""So many lines a corpus may say of itself before any is shown."""


def _state(of: Corpus, folder: Path) -> str:
    if not of.sources:
        return "nothing to fetch"
    there = folder.is_dir() and any(folder.iterdir())
    return f"present in {folder}" if there else f"missing, goes to {folder}"


def _origin(of: Backbone) -> str:
    """Where a backbone comes from, in words."""
    if of.random:
        return "random weights under a fixed seed, made when they are loaded"
    if of.package:
        return f"comes with the package {of.package.replace('_', '-')}"
    return f"fetched from {fetch.BACKBONES[of.name][-1].address.rpartition('/')[0]}"


def _backbone_state(of: Backbone) -> str:
    if of.random:
        return "nothing to fetch"
    try:
        folder = of.folder()
    except UserError as error:
        return f"missing: {error}"
    return f"{'present' if (folder / WEIGHTS).is_file() else 'missing'} in {folder}"


def _names() -> list[str]:
    return [*discover.names(corpora.__name__), *BACKBONES]


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder} ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into {folder}; set {DATA_VARIABLE} to another folder")


def list_data() -> None:
    """Print each corpus with its licence, each backbone with its origin, and whether it is there.

    No text and no weights are read.
    """
    data_home()  # a wrong one is refused before anything is printed
    for name in discover.names(corpora.__name__):
        one = corpus(name)
        print(f"{name}: {one.description}")
        print(f"    labels   {', '.join(one.labels)}")
        print(f"    licence  {one.licence}")
        print(f"    files    {_state(one, one.folder)}")
        if len(one.sources) > 1:
            others = ", ".join(f"{name}/{source}" for source in one.sources)
            print(f"    sources  {others}")
    for name, encoder in BACKBONES.items():
        print(f"{name}: backbone, {encoder.layers} layers, {encoder.width} wide")
        print(f"    origin   {_origin(encoder)}")
        print(f"    files    {_backbone_state(encoder)}")


def get(name: str, accept_sha256: str | None = None) -> None:
    """Fetch a corpus, `<corpus>` or `<corpus>/<source>`, or a backbone, and say where it lies.

    `accept_sha256`: accepted hashes of files that no pin vouches for, comma-separated. Raises
    `UserError` for an unknown name, for a corpus with nothing to fetch, for a backbone whose
    package is not installed, and as `fetch.fetch`.
    """
    if name in fetch.BACKBONES:
        print(f"{name}: in {fetch.fetch_backbone(name, accept_sha256=accept_sha256)}")
        return
    if name in BACKBONES:
        where = "" if BACKBONES[name].random else f", in {BACKBONES[name].folder()}"
        print(f"{name}: nothing to fetch: {_origin(BACKBONES[name])}{where}")
        return
    plain, _, source = name.partition("/")
    if plain not in discover.names(corpora.__name__):
        raise unknown("corpus or backbone", plain, _names())
    one = corpus(plain)
    if source and source not in one.sources:
        raise unknown(f"source of {plain}", source, one.sources)
    folder = one.folder
    if one.sources:
        _make_writable(folder)
    one.get(folder, source or "".join(one.sources[:1]), accept_sha256)
    print(f"{name}: in {folder}; `lowrank-da data check {plain}` counts it")


def check(name: str, allow_partial: bool = False) -> None:
    """Check a corpus or a backbone: read it, and raise `UserError` when it is missing or damaged.

    Also raises `UserError` for an unknown name, and when `allow_partial` means nothing to it.
    """
    if name in BACKBONES:
        if allow_partial:
            raise UserError(f"backbone {name} has no partial form; leave out --allow-partial")
        _check_backbone(BACKBONES[name])
        return
    if name not in discover.names(corpora.__name__):
        raise unknown("corpus or backbone", name, _names())
    _check_corpus(name, allow_partial)


def _check_backbone(one: Backbone) -> None:
    """Compare the weights, and every file whose hash was accepted, with that hash."""
    if one.random:
        print(f"{one.name}: nothing to check: {_origin(one)}")
        return
    folder = one.folder()
    for file, sha256 in (fetch.accepted_hashes(folder) | {WEIGHTS: one.pin()}).items():
        refuse_other_hash(folder / file, sha256)
        print(f"{folder / file}: present, with the pinned SHA-256 {sha256}")


def _check_corpus(name: str, allow_partial: bool) -> None:
    """Load a corpus with all its checks and print texts per role and class, and the fingerprint.

    What the recipe says about itself while loading (texts left out) goes to standard error, once
    it is loaded: a bad corpus gets the error's one line alone.
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
