"""SemEval-2024 task 8, subtask B: the thesis' corpus, 47,327 texts by three models and by people.

Read from the task's own files, or, when those are not there, rebuilt from the M4 files that the
task was made of:

    semeval/subtaskB_train.jsonl                     train, select, id
    semeval/subtaskB_dev.jsonl                       ood/peerread: reviews of papers
    semeval/subtaskB.jsonl (or subtaskB_test.jsonl)  ood/outfox: student essays
    semeval/m4/<domain>_<model>.jsonl                in place of the first two

BLOOMz and Dolly are left out, as in the thesis. The counts are the published ones or the files
are refused, unless a partial corpus is allowed. Three rules settle what the files leave open:

- A rebuilt corpus holds each human text once, though M4 repeats it for every model.
- The training file is split 80/10/10 within each class and domain, duplicates together: a
  duplicate goes where the class and domain of its first appearance send it.
- A text of an out-of-domain role that also stands in the training file (or in an earlier role) is
  left out there.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lowrank_da.corpora import _jsonl
from lowrank_da.corpus import ID, OOD, SELECT, TRAIN, Corpus, Example, Splits, normalised
from lowrank_da.errors import UserError
from lowrank_da.fetch import Source, fetch_all

NUMBERS = {0: "human", 1: "chatGPT", 2: "cohere", 3: "davinci", 4: "bloomz", 5: "dolly"}
"""The task's own class numbers, used to read its files and for nothing else."""
CLASS_COUNTS = {"chatGPT": 11_995, "cohere": 11_336, "davinci": 11_999, "human": 11_997}
"""Texts a class in the training file."""
DOMAIN_COUNTS = {
    "chatGPT": {"wikipedia": 2_995, "wikihow": 3_000, "reddit": 3_000, "arxiv": 3_000},
    "cohere": {"wikipedia": 2_336, "wikihow": 3_000, "reddit": 3_000, "arxiv": 3_000},
    "davinci": {"wikipedia": 3_000, "wikihow": 3_000, "reddit": 3_000, "arxiv": 2_999},
}
"""The same by domain; the overview's human counts by domain do not add up, so none stand here."""
DEV_COUNT, TEST_COUNT = 500, 3_000
"""Texts of every class in the task's dev and test files."""
PEERREAD, ESSAYS = f"{OOD}peerread", f"{OOD}outfox"
CUTS = (0.8, 0.9)
"""Where *train* ends and where *select* ends, as shares of a class and domain."""

TRAIN_FILE, DEV_FILE = "subtaskB_train.jsonl", "subtaskB_dev.jsonl"
TEST_FILES = ("subtaskB.jsonl", "subtaskB_test.jsonl")
DRIVE_FOLDERS = {
    "11YeloR2eTXcTzdwI04Z-M2QVvIeQAU6-": (TRAIN_FILE, DEV_FILE),
    "13aFJK4UyY3Gxg_2ceEAWfJvzopB1vkPc": (TEST_FILES[0],),
}
"""Google Drive folders named in the task's README (the second as its gold labels)."""

M4_COMMIT = "628bf0fcb2e8c6b7ffa71fd1af6be413aced8f7d"
M4_BLOBS = {
    "arxiv_chatGPT": "d3f1081d409cb6f66b4deaedf46005da05072b96",
    "arxiv_cohere": "d90f8b41d31b08ef1042a8c21bc08d030513fead",
    "arxiv_davinci": "3a88dc894423ed3626226790dc89c77e4c8fcb66",
    "reddit_chatGPT": "e2bba516d651f09d4faeab41cd7cde7da075ce0f",
    "reddit_cohere": "890909c78bb3e87948f160b49daedcb2c2c75b9a",
    "reddit_davinci": "33d48985b5362825c42a2aab87cf76f2dba9012b",
    "wikihow_chatGPT": "137f6f21e5a23c096f85baf36950339b5e7b2641",
    "wikihow_cohere": "6234503787b817cd29c6d963539c977ef92a0bb5",
    "wikihow_davinci": "7d8be78aef4e79030f3be5c281ba43c2ac9294d3",
    "wikipedia_chatgpt": "4f500eb7e11a42adc1d19e826c65490978f7933f",
    "wikipedia_cohere": "89426d242cde3fb78af03377df34b679be26d1bf",
    "wikipedia_davinci": "8a4882b9659d8a88e0d74bb427788c3a3af1f1e9",
    "peerread_chatgpt": "5aa48a7a8fec328f3bf79b28986b5f92d014bd66",
    "peerread_cohere": "f08190093e6762b620358eb0ad7c8eebc48bf6e3",
    "peerread_davinci": "2e640e8e5dd83199a40fa8b8d1a057ef5b4cdb43",
}
"""The M4 files `<domain>_<model>.jsonl` by git blob id."""

log = logging.getLogger(__name__)


def text_group(text: str) -> str:
    """The group of a text: the SHA-256 of its normalised form, so that duplicates share it."""
    return hashlib.sha256(normalised(text).encode("utf-8", "surrogatepass")).hexdigest()


def split(examples: Iterable[Example]) -> dict[str, tuple[Example, ...]]:
    """`examples` as *train*, *select* and *id*, 80/10/10 of the groups of each class and domain.

    Groups are ordered by their hash, so the split depends on the texts alone; a group belongs to
    the class and domain of its first example.
    """
    texts = list(examples)
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    placed: set[str] = set()
    for example in texts:
        if example.group not in placed:
            placed.add(example.group)
            strata[example.label, example.domain].append(example.group)
    role_of: dict[str, str] = {}
    for members in strata.values():
        first, second = (round(cut * len(members)) for cut in CUTS)
        for index, group in enumerate(sorted(members)):
            role_of[group] = TRAIN if index < first else SELECT if index < second else ID
    return {
        role: tuple(example for example in texts if role_of[example.group] == role)
        for role in (TRAIN, SELECT, ID)
    }


@dataclass(frozen=True)
class SemEval(Corpus):
    """See the module: 4 classes, 47,327 texts in domain, and two other domains beside them."""

    labels = ("chatGPT", "cohere", "davinci", "human")
    description = (
        "Wikipedia, WikiHow, Reddit and arXiv texts by people against chatGPT, cohere and davinci"
        " (SemEval-2024 task 8, subtask B)"
    )
    descriptions: ClassVar[Mapping[str, str]] = {
        "chatGPT": "A polished and well-ordered text, written by the chat model ChatGPT.",
        "cohere": "A text with loose ends, written by Cohere's language model.",
        "davinci": "A plain and orderly text, written by the language model text-davinci-003.",
        Corpus.human: "A text by a person, as people write on Wikipedia, WikiHow, Reddit or arXiv.",
    }
    licence = "Apache-2.0 (code of the task); the texts keep the terms of their sources"
    citation = (
        "Wang et al.: SemEval-2024 Task 8: Multidomain, Multimodel and Multilingual"
        " Machine-Generated Text Detection. SemEval 2024"
    )
    sources = ("official", "m4")

    allow_partial: bool = False
    """Take what is there: other counts than the published ones, missing files, blank texts."""

    def load(self) -> Splits:
        """The texts by role, from the task's files or else rebuilt from M4.

        Raises `UserError` for a missing, truncated or damaged file, a row without text or with an
        unknown label, and for other counts than the published ones.
        """
        rebuilt = not (self.folder / TRAIN_FILE).exists() and (self.folder / "m4").is_dir()
        log.info("%s: read from %s", self.name, "M4's files" if rebuilt else "the task's files")
        if rebuilt:
            in_domain, peerread = self._rebuilt()
        else:
            in_domain = self._official(self.folder / TRAIN_FILE, "")
            peerread = self._official_role(self.folder / DEV_FILE, "peerread", DEV_COUNT)
        self._require_published(in_domain)
        roles = split(in_domain)
        test_file = next(
            (self.folder / name for name in TEST_FILES if (self.folder / name).exists()),
            self.folder / TEST_FILES[0],
        )
        others = {PEERREAD: peerread}
        # M4 holds no essays, so a rebuilt corpus has this role only if the task's file is there.
        if test_file.exists() or not rebuilt:
            others[ESSAYS] = self._official_role(test_file, "outfox", TEST_COUNT)
        seen = {example.group for example in in_domain}
        for role, examples in others.items():
            fresh = tuple(example for example in examples if example.group not in seen)
            log.info(
                "%s: %d texts of %s left out as duplicates of another role",
                self.name,
                len(examples) - len(fresh),
                role,
            )
            seen |= {example.group for example in fresh}
            if fresh:
                roles[role] = fresh
        return Splits(self.name, self.labels, roles)

    def _official_role(self, path: Path, domain: str, count: int) -> list[Example]:
        """A dev or test file with its count a class; no texts when it may be missing and is."""
        if self.allow_partial and not path.exists():
            return []
        examples = self._official(path, domain)
        found = Counter(example.label for example in examples)
        self._require(str(path), found, dict.fromkeys(self.labels, count))
        return examples

    def _official(self, path: Path, domain: str) -> list[Example]:
        """The texts of one of the task's files; `domain` where its rows name no source."""
        examples: list[Example] = []
        uids: set[str] = set()
        for row in _jsonl.read(path, self.name):
            label = self._label(row)
            if label not in self.labels:
                continue
            if "id" not in row.fields:
                raise UserError(f"{row.where}: no 'id'; fetch the file again")
            uid = f"{path.stem}:{row.fields['id']}"
            if uid in uids:
                raise UserError(f"{row.where}: id {row.fields['id']!r} is there twice")
            uids.add(uid)
            source = str(row.fields.get("source") or domain).lower()
            examples += self._examples(uid, row, "text", label, source)
        return examples

    def _label(self, row: _jsonl.Row) -> str:
        """The class by the task's number table, checked against the model's name where given."""
        number, model = row.fields.get("label"), row.fields.get("model")
        label = NUMBERS.get(number) if type(number) is int else None
        if label is None:
            known = ", ".join(f"{n} {name}" for n, name in NUMBERS.items())
            raise UserError(f"{row.where}: unknown label {number!r} (known: {known})")
        if model is not None and str(model).lower() != label.lower() and label in self.labels:
            raise UserError(
                f"{row.where}: label {number} means {label}, but the model is {model!r}"
            )
        return label

    def _rebuilt(self) -> tuple[list[Example], list[Example]]:
        """In-domain and PeerRead texts from M4's files."""
        by_name = {label.lower(): label for label in self.labels}
        found: dict[str, Example] = {}
        for stem in M4_BLOBS:
            path = self.folder / "m4" / f"{stem}.jsonl"
            if self.allow_partial and not path.exists():
                continue
            domain, _, model = stem.partition("_")
            for row in _jsonl.read(path, f"{self.name}/m4"):
                uid = f"{stem}:{row.number}"
                label = by_name[model.lower()]
                for machine in self._examples(uid, row, "machine_text", label, domain):
                    found[machine.uid] = machine
                for human in self._examples("", row, "human_text", self.human, domain):
                    found.setdefault(f"human:{human.group}", human)
        unique = [
            Example(uid, e.text, e.label, e.group, domain=e.domain) for uid, e in found.items()
        ]
        return (
            [example for example in unique if example.domain != "peerread"],
            [example for example in unique if example.domain == "peerread"],
        )

    def _examples(
        self, uid: str, row: _jsonl.Row, field: str, label: str, domain: str
    ) -> Iterator[Example]:
        """The text of a row as an example, or one for each text where the field is a list."""
        value = row.fields.get(field)
        texts = value if isinstance(value, list) else [value]
        for index, text in enumerate(texts):
            if not isinstance(text, str) or (not text.strip() and not self.allow_partial):
                raise UserError(f"{row.where}: no text in {field!r}; fetch the file again")
            if text.strip():
                name = f"{uid}.{index}" if index else uid
                yield Example(name, text, label, text_group(text), domain=domain)

    def _require_published(self, examples: Iterable[Example]) -> None:
        """Raise `UserError` unless the in-domain counts are the published ones."""
        texts = list(examples)
        self._require(str(self.folder), Counter(e.label for e in texts), CLASS_COUNTS)
        for label, published in DOMAIN_COUNTS.items():
            found = Counter(e.domain for e in texts if e.label == label)
            self._require(f"{self.folder}, {label}", found, published)

    def _require(self, where: str, found: Mapping[str, int], published: Mapping[str, int]) -> None:
        """Raise `UserError` unless the counts are equal or need not be."""
        if self.allow_partial or dict(found) == dict(published):
            return
        wrong = [
            f"{name} {found.get(name, 0)} texts (published {published.get(name, 0)})"
            for name in sorted(found.keys() | published.keys())
            if found.get(name, 0) != published.get(name, 0)
        ]
        raise UserError(
            f"{where}: {', '.join(wrong)}; delete and fetch again, or accept them: SemEval("
            "allow_partial=True) in experiments/settings.py,"
            " `lowrank-da data check semeval --allow-partial`"
        )

    def get(self, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        """Fetch into `folder`: the task's files from Google Drive, or M4's files from GitHub.

        No hash of the task's files is known: they are checked by their counts. M4's are pinned.
        """
        if source == "m4":
            m4 = f"github:mbzuai-nlp/M4/{M4_COMMIT}/data"
            files = (
                Source(f"m4/{stem}.jsonl", f"{m4}/{stem}.jsonl", git_blob=blob)
                for stem, blob in M4_BLOBS.items()
            )
            fetch_all(files, folder, accept_sha256=accept_sha256)
            return
        fetch_drive(DRIVE_FOLDERS, folder)
        self.load()


def fetch_drive(wanted: Mapping[str, tuple[str, ...]], folder: Path) -> None:
    """Fetch the named files of public Google Drive folders into `folder`, flat.

    `wanted` maps a Drive folder's id to file names. Raises `UserError` when gdown is not
    installed, when Drive cannot be read, or when a folder does not hold a name.
    """
    try:
        import gdown
    except ImportError as error:
        raise UserError(
            "Google Drive needs gdown: pip install -e '.[data]' in the checkout,"
            " or rebuild the corpus with `lowrank-da data get semeval/m4`"
        ) from error
    for drive, names in wanted.items():
        try:
            listed = gdown.download_folder(
                id=drive, output=str(folder), skip_download=True, quiet=True
            )
            there = {Path(file.path).name: file.id for file in listed or ()}
            for name in there.keys() & set(names):
                gdown.download(id=there[name], output=str(folder / name), resume=True)
        # gdown raises errors of its own, of requests and of its parser, and renames them at will.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"Google Drive folder {drive} cannot be read ({reason});"
                " check the network and run again to resume"
            ) from error
        for name in names:
            if not (folder / name).is_file():
                raise UserError(
                    f"Google Drive folder {drive} gave no {name}; fetch it by hand into {folder}"
                )
