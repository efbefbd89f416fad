"""DetectRL: human texts of four domains, and four language models writing in the same domains.

arXiv abstracts, XSum news, Reddit stories and Yelp reviews against ChatGPT, Claude-instant,
Google-PaLM and Llama-2-70b. Only what was written plainly is taken (direct and few-shot prompts,
no attacks), and of each domain 600 human texts and 150 of each model, chosen by the texts' hashes.

- *Refusals are left out*: texts that speak of a "language model" or say "as an AI", of any class.
- *Damage is repaired, in all classes alike*, because most of it is in human texts alone: a literal
  `nn` where line breaks were, spaces lost behind full stops, and torn-off endings as in `they' ll`.
- *Layout is taken out*: single spaces, no asterisks of Markdown, and a text ends with its last `.`,
  `!` or `?`.
- Equal texts, up to case and white space, count once. The SHA-256 of the text puts it in *train*
  (60 %), *select* (15 %) or *id* (25 %). No link between a human text and a model's on the same
  title is known, so such pairs may lie in different splits.

What is left is no damage that could be undone: LaTeX and words joined over lost line breaks in
human abstracts, quotations in human news, brackets, lengths.
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from lowrank_da.corpora import _jsonl
from lowrank_da.corpora._layout import clean, role
from lowrank_da.corpus import ID, SELECT, TRAIN, Corpus, Example, Splits, normalised
from lowrank_da.errors import UserError

DOMAINS = ("arxiv", "xsum", "writing_prompt", "yelp_review")
PLAIN = ("none", "direct_prompt", "prompt_few_shot")
"""Kinds of rows that are taken: human texts, and two plain ways to prompt."""
HUMAN_TEXTS, MODEL_TEXTS = 600, 150
"""Of each domain; of each domain and model."""
SHARES = ((TRAIN, 0.60), (SELECT, 0.75), (ID, 1.0))
"""Upper ends of the roles on the text's hash."""
REFUSAL = re.compile(r"language model|as an AI\b", re.IGNORECASE)
REPAIRS = (
    (re.compile(r"(?<![A-Za-z])(?:nn+(?=[^a-z])|n(?=[A-Z][a-z' ]))"), " "),
    (re.compile(r"\*+"), ""),
    (re.compile(r"(?<=[A-Za-z])' (?=(?:ll|re|ve|s|d|m|t)\b)"), "'"),
    (re.compile(r"(?<=[A-Za-z]) (?=n't\b)"), ""),
    (re.compile(r"(?<=[a-z0-9)\"\]][.!?])(?=[\"(]?[A-Z])"), " "),
    (re.compile(r"(?<=[.!?]\")(?=\"?[A-Z])"), " "),
    (re.compile(r"\s+(?=[.,!?;:)])|(?<=\()\s+"), ""),
    (re.compile(r"``|''"), '"'),
)
"""What is replaced by what, in this order."""

log = logging.getLogger(__name__)


def repaired(text: str) -> str:
    """Without the damage that the corpus did to its texts, in the layout of all classes."""
    for pattern, by in REPAIRS:
        text = pattern.sub(by, text)
    return clean(text)


@dataclass(frozen=True)
class Detectrl(Corpus):
    """See the module: 5 classes, 4,800 texts."""

    labels = ("ChatGPT", "Claude-instant", "Google-PaLM", "Llama-2-70b", "human")
    description = (
        "arXiv abstracts, news, stories and reviews against ChatGPT, Claude-instant, Google-PaLM"
        " and Llama-2-70b (DetectRL)"
    )
    licence = "none stated by DetectRL; the human texts keep the terms of their sources"
    citation = (
        "Wu et al.: DetectRL: Benchmarking LLM-Generated Text Detection in Real-World Scenarios."
        " NeurIPS 2024 Datasets and Benchmarks, arXiv:2410.23746"
    )

    def load(self) -> Splits:
        """The texts by role; `UserError` when the file is missing or damaged, or a row is bad."""
        path = self.folder / "clean_union.jsonl.gz"
        texts: dict[tuple[str, str], dict[str, str]] = {}
        read = refused = 0
        for row in _jsonl.read(path, self.name):
            domain, label, text = (row.string(name) for name in ("domain", "label", "text"))
            for what, value, known in (("domain", domain, DOMAINS), ("label", label, self.labels)):
                if value not in known:
                    listed = ", ".join(known)
                    raise UserError(f"{row.where}: unknown {what} {value!r} (known: {listed})")
            if row.string("attack") not in PLAIN:
                continue
            read += 1
            line = repaired(text)
            if REFUSAL.search(line) or not line:
                refused += 1
                continue
            texts.setdefault((domain, label), {}).setdefault(_digest(line), line)
        log.info("%s: %d of %d texts are refusals or empty, and left out", self.name, refused, read)
        return self._split(texts)

    def _split(self, texts: dict[tuple[str, str], dict[str, str]]) -> Splits:
        roles: dict[str, list[Example]] = {TRAIN: [], SELECT: [], ID: []}
        taken: set[str] = set()
        for domain in DOMAINS:
            for label in self.labels:
                wanted = HUMAN_TEXTS if label == self.human else MODEL_TEXTS
                there = {d: t for d, t in texts.get((domain, label), {}).items() if d not in taken}
                for digest in sorted(there)[:wanted]:
                    taken.add(digest)
                    uid = f"{domain}-{label}-{digest[:16]}"
                    one = Example(uid, there[digest], label, digest, domain)
                    # Its first digits were used to choose the texts, so others choose the role.
                    roles[role(digest[32:], SHARES)].append(one)
        return Splits(self.name, self.labels, {name: tuple(e) for name, e in roles.items()})

    def get(self, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        """Nothing is fetched, for lack of a licence: raises `UserError` that says what to do."""
        raise UserError(
            f"corpus {self.name} carries no licence and is not fetched: put the rows of the test"
            f" files of NLP2CT/DetectRL into {self.folder / 'clean_union.jsonl.gz'}, one JSON"
            " object a line with text, label, domain and attack"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(normalised(text).encode()).hexdigest()
