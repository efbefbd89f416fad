"""Files from their public homes: pinned, resumable, checked, and moved into place only when right.

A download grows in `<path>.part`. When it breaks off, the part stays and the next run asks for the
rest (HTTP Range). Only a complete file with the pinned hash gets its name. A file whose pin is not
known is refused with its size and SHA-256, until that very hash is accepted by the caller; it is
then written down in `SHA256SUMS` beside the files and is the pin from there on.
"""

import errno
import hashlib
import http.client
import os
import re
import shutil
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from lowrank_da.corpus import cache_home
from lowrank_da.errors import UserError, unknown
from lowrank_da.files import atomic

ACCEPTED = "SHA256SUMS"
"""The file beside fetched ones that holds the accepted hashes, as `sha256sum` writes them."""
HOMES = {
    "github": "https://raw.githubusercontent.com",
    "huggingface": "https://huggingface.co",
}
"""Where `<home>:<path>` addresses lead."""
CHUNK = 1 << 20
"""Bytes read and written at a time."""
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""


@dataclass(frozen=True)
class Source:
    """One file, where it comes from, and what is known about its content."""

    path: str
    """Where it goes, below the folder it is fetched into."""
    url: str
    """A full URL, or `<home>:<path>` with a key of `HOMES`."""
    bytes: int | None = None
    sha256: str | None = None
    git_blob: str | None = None
    """Git's object id: the SHA-1 of `blob <bytes>\\0` and the content."""
    reported_sha256: str | None = None
    """Seen in a public place but never confirmed: shown beside the real one, never trusted."""

    @property
    def address(self) -> str:
        """The full URL."""
        home, _, path = self.url.partition(":")
        return f"{HOMES[home]}/{path}" if home in HOMES else self.url

    @property
    def pinned(self) -> bool:
        """Whether a hash says which content is the right one."""
        return bool(self.sha256 or self.git_blob)


class UnpinnedError(UserError):
    """A complete file that no pin vouches for: the reader must decide."""

    def __init__(self, source: Source, file: Path, size: int, sha256: str) -> None:
        reported = source.reported_sha256
        self.sha256 = sha256
        self.facts = f"{source.path}: {size} bytes, SHA-256 {sha256}"
        if reported:
            same = "the same" if reported == sha256 else reported
            self.facts += f" (reported elsewhere, unconfirmed: {same})"
        super().__init__(
            f"{self.facts}; no pin is known: delete {file},"
            f" or if you trust it, run again with --accept-sha256 {sha256}"
        )


def _hashes(file: Path) -> tuple[int, str, str]:
    """Bytes, SHA-256 and git blob id of a file."""
    size = file.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            blob.update(chunk)
    return size, sha256.hexdigest(), blob.hexdigest()


def _check(source: Source, file: Path, accepted: frozenset[str]) -> None:
    """Raise `UserError` unless `file` is what `source` pins, or what was accepted."""
    size, sha256, blob = _hashes(file)
    for what, found, pin in (
        ("bytes", size, source.bytes),
        ("SHA-256", sha256, source.sha256),
        ("git blob id", blob, source.git_blob),
    ):
        if pin is not None and found != pin:
            raise UserError(
                f"{source.address}: {what} {found}, pinned {pin}; it was not kept:"
                " run again, and if it happens again the public file has changed"
            )
    if not source.pinned and sha256 not in accepted:
        raise UnpinnedError(source, file, size, sha256)


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    """The whole file's size as the server tells it; None when it does not."""
    length = response.headers.get("Content-Length")
    return have + int(length) if length is not None else None


def _open(source: Source, have: int) -> tuple[http.client.HTTPResponse, int]:
    """The response that continues after `have` bytes, or starts over; and the bytes to keep."""
    request = urllib.request.Request(source.address)
    if have:
        request.add_header("Range", f"bytes={have}-")
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return response, 0
    if (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        return response, have
    response.close()
    return _open(source, 0)


def _receive(source: Source, part: Path) -> None:
    """Download into `part`, after what is already there; `UserError` when it does not complete."""
    have = part.stat().st_size if part.exists() else 0
    response, have = _open(source, have)
    with response:
        total = _total(response, have)
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - have > free:
            raise OSError(errno.ENOSPC, f"{total - have} bytes needed, {free} free")
        with (
            open(part, "ab" if have else "wb") as stream,
            tqdm(
                desc=source.path,
                initial=have,
                total=total,
                unit="B",
                unit_scale=True,
                disable=not sys.stderr.isatty(),
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                stream.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _download(source: Source, part: Path) -> None:
    """`_receive`, with every way in which it fails told in one line."""
    address, host = source.address, urlsplit(source.address).netloc
    try:
        _receive(source, part)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.exists():
            return  # nothing is left to fetch; the hash decides whether the part is the file
        raise UserError(
            f"{address}: the server answers {error.code} {error.reason};"
            " try again later, and if it stays so the public home has moved"
        ) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        kept = part.stat().st_size if part.exists() else 0
        raise UserError(
            f"{address}: the download broke off after {kept} bytes; run again to resume"
        ) from error
    except urllib.error.URLError as error:
        raise UserError(
            f"cannot reach {host} ({error.reason}) for {source.path};"
            " check the network and run again"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"no space left on the disk for {part} ({error.strerror}); free some and run again"
            ) from error
        raise UserError(f"cannot write {part} ({error.strerror or error})") from error


def accepted_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by path of the files in `folder` that were accepted without a public pin.

    Raises `UserError` when the list cannot be read.
    """
    path = folder / ACCEPTED
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it and fetch again") from error
    matches = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in lines]
    if None in matches:
        raise UserError(
            f"{path}, line {matches.index(None) + 1}: not a SHA-256 and a file;"
            " delete it and fetch again"
        )
    return {match[2]: match[1] for match in matches if match}


def _accept(source: Source, file: Path, folder: Path) -> None:
    """Write the hash of a file without public pin down, for every later look at it."""
    known = accepted_hashes(folder) | {source.path: _hashes(file)[1]}
    with atomic(folder / ACCEPTED) as temporary:
        temporary.write_text("".join(f"{known[path]}  {path}\n" for path in sorted(known)))


def fetch(source: Source, folder: Path, *, accept_sha256: str | None = None) -> Path:
    """The file of `source` below `folder`, downloaded unless it is there already and right.

    `accept_sha256` holds the accepted SHA-256 of a file without pin (several: comma-separated).
    Raises `UserError` when the download fails or breaks off (what came is kept for the next run)
    or the content is not the pinned one (nothing is kept); `UnpinnedError` when there is no pin.
    """
    accepted = frozenset((accept_sha256 or "").lower().replace(" ", "").split(","))
    target = folder / source.path
    part = target.with_name(f"{target.name}.part")
    if not source.pinned:
        source = replace(source, sha256=accepted_hashes(folder).get(source.path))
    if target.is_file():
        if not source.pinned:
            _check(source, target, accepted)
            _accept(source, target, folder)
            return target
        with suppress(UserError):
            _check(source, target, accepted)
            return target
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {part.parent} ({error.strerror})") from error
    _download(source, part)
    try:
        _check(source, part, accepted)
    except UnpinnedError:
        raise  # the part stays, so that accepting it downloads nothing
    except UserError:
        part.unlink()
        raise
    if not source.pinned:
        _accept(source, part, folder)
    os.replace(part, target)
    return target


def fetch_all(
    sources: Iterable[Source], folder: Path, *, accept_sha256: str | None = None
) -> list[Path]:
    """`fetch` each; files without pin are all downloaded first, then refused together."""
    files: list[Path] = []
    refused: list[UnpinnedError] = []
    for source in sources:
        try:
            files.append(fetch(source, folder, accept_sha256=accept_sha256))
        except UnpinnedError as unpinned:
            refused.append(unpinned)
    if refused:
        for error in refused:
            print(error.facts)
        hashes = ",".join(error.sha256 for error in refused)
        raise UserError(
            f"no pin is known for {len(refused)} files of {folder.name}, listed above:"
            f" delete {folder}, or if you trust them, run again with --accept-sha256 {hashes}"
        )
    return files


WEIGHTS = "model.safetensors"
"""The weights' file in a backbone's folder."""


def _at_revision(
    repository: str, revision: str, reported_sha256: str | None = None
) -> tuple[Source, ...]:
    """Configuration, tokenizer and, last, the weights of a repository at one revision."""
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
    address = f"huggingface:{repository}/resolve/{revision}"
    weights = Source(path=WEIGHTS, url=f"{address}/{WEIGHTS}", reported_sha256=reported_sha256)
    return (*(Source(path=name, url=f"{address}/{name}") for name in names), weights)


BACKBONES: dict[str, tuple[Source, ...]] = {
    # The default revision of transformers' own fill-mask pipeline.
    "distilroberta": _at_revision(
        "distilbert/distilroberta-base",
        "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b",
        "2b11ca9cf3d2cbb44cc1a93ad96aedc2894231ae6e33e2d2268c3d7b1ff97663",
    ),
    "smollm": _at_revision("HuggingFaceTB/SmolLM-135M", "08113aee5325d8b522b49ed5fbad3f24cc27eeb2"),
}
"""The backbones that are fetched; the others come with a package."""


def fetch_backbone(name: str, *, accept_sha256: str | None = None) -> Path:
    """The folder of a backbone, complete; `UserError` as in `fetch`."""
    if name not in BACKBONES:
        raise unknown("backbone to fetch", name, BACKBONES)
    folder = cache_home() / "backbones" / name
    fetch_all(BACKBONES[name], folder, accept_sha256=accept_sha256)
    return folder
