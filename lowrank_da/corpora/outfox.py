"""OUTFOX: student essays, and three language models answering the same essay prompts.

500 prompts of the published `valid` part and 500 of `test`, each answered by a student, gpt-3.5,
text-davinci-003 and FLAN-T5-XXL (which takes the place of the thesis' cohere). The parts are
pooled and split anew:

- *Layout is taken out*, because it alone tells the classes apart: every run of white space (line
  breaks and no-break spaces too) becomes one space, and a text ends with its last `.`, `!` or `?`.
  A text without any of them has nothing left and is dropped: three student essays.
- *Prompts are split, not texts*: the SHA-256 of the prompt puts it in *train* (60 %), *select*
  (15 %) or *id* (25 %). Prompts that share an essay or their wording (a few do, between the
  published parts too) form one group, and the smallest prompt of the group decides.
"""

import hashlib
import logging
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lowrank_da.corpora import _jsonl
from lowrank_da.corpora._layout import clean, role
from lowrank_da.corpus import (
    ID,
    SELECT,
    TRAIN,
    Corpus,
    Example,
    Splits,
    cache_home,
    normalised,
)
from lowrank_da.errors import UserError
from lowrank_da.fetch import Source, fetch_all

PARTS = ("valid", "test")
SHARES = ((TRAIN, 0.60), (SELECT, 0.75), (ID, 1.0))
"""Upper ends of the roles on the hash of a group's smallest prompt."""

_REPOSITORY = "github:ryuryukke/OUTFOX/80275f576058cbeca7f2edcb02ced5750b95a63f"
_PINS = {
    "data/common/valid/valid_humans.pkl": (
        1110888,
        "8915a7c635b3c0a4794ef8caa363da26eaf915eea1cdf6625125356cc5d227d6",
    ),
    "data/common/valid/valid_problem_statements.pkl": (
        144969,
        "34c1405c78191a2bd0951fc98da239230cd6b2c27da24f266d9b3be5bc77915f",
    ),
    "data/chatgpt/valid/valid_lms.pkl": (
        1551632,
        "3908dfc31c641c5d080fac5189f65b0cf943773a9879ab3d43b671eeaaf1d244",
    ),
    "data/text_davinci_003/valid/valid_lms.pkl": (
        1466363,
        "1d7ece3f010afb4cd03fa1832599d1a0cb0936f27941c67cd7d885acbef80409",
    ),
    "data/flan_t5_xxl/valid/valid_lms.pkl": (
        1005481,
        "97d37bce3c62ae157ebbe14b9d8aa3fa1a10c35cc688759f459f2bf9e9b17831",
    ),
    "data/common/test/test_humans.pkl": (
        1115696,
        "62c6e3ec8c7c1519b51573ac18bc3504957015c2326ad5137faaed33f098ea64",
    ),
    "data/common/test/test_problem_statements.pkl": (
        142407,
        "5f6cdf6e27611a8c7ee8b092f6490eeaa6f74557e08749604d95549f6944104d",
    ),
    "data/chatgpt/test/test_lms.pkl": (
        1554305,
        "6e4d3d5abfaea3aae925cd5e2c178c1108bcf6e4682a166621d22ded4db47cb8",
    ),
    "data/text_davinci_003/test/test_lms.pkl": (
        1453654,
        "386f9d1c6286ac03f4cb05edf5bff9bd77979ec0289e9c37de08a17388c8da0b",
    ),
    "data/flan_t5_xxl/test/test_lms.pkl": (
        998090,
        "09d9711f15f31c89bd9e60ec3eac154b1e1e44640e66b8df2ea6bc09690a8fc8",
    ),
}
SOURCES = tuple(
    Source(path, f"{_REPOSITORY}/{path}", size, sha256) for path, (size, sha256) in _PINS.items()
)
"""The published pickles that `get` reads."""

log = logging.getLogger(__name__)


def groups(linked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The smallest prompt that each prompt is tied to, by wording or by a shared text.

    `linked` holds (prompt, text) pairs; two prompts are tied when a chain of pairs with equal
    prompts or equal texts (up to case and white space) joins them.
    """
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    pairs = list(linked)
    for prompt, text in pairs:
        for key in (f"prompt {normalised(prompt)}", f"text {normalised(text)}"):
            parent[root(key)] = root(f"raw {prompt}")
    smallest: dict[str, str] = {}
    for prompt in sorted({prompt for prompt, _ in pairs}):
        smallest.setdefault(root(f"raw {prompt}"), prompt)
    return {prompt: smallest[root(f"raw {prompt}")] for prompt, _ in pairs}


class _NothingButData(pickle.Unpickler):
    """An unpickler for lists, strings and numbers: whatever names code is refused."""

    def find_class(self, module: str, name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_pickle(path: Path) -> list[str]:
    """The list of strings in a pickle; `UserError` for anything else, running nothing of it."""
    try:
        with open(path, "rb") as file:
            value = _NothingButData(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} is no plain list ({error}); delete it and fetch again") from error
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{path} is not a list of texts; delete it and fetch again")
    return value


@dataclass(frozen=True)
class Outfox(Corpus):
    """See the module: 4 classes, 3,997 texts."""

    labels = ("chatGPT", "flan_t5", "davinci", "human")
    description = (
        "student essays against gpt-3.5-turbo, FLAN-T5-XXL and text-davinci-003"
        " on the same prompts (OUTFOX)"
    )
    descriptions: ClassVar[Mapping[str, str]] = {
        "chatGPT": "A polished essay in balanced paragraphs, written by the chat model ChatGPT.",
        "flan_t5": "A short and repetitive essay, written by the language model FLAN-T5.",
        "davinci": "A plain and orderly essay, written by the language model text-davinci-003.",
        Corpus.human: "An essay by a school student, with opinions and spelling mistakes.",
    }
    licence = "Apache-2.0 (OUTFOX); the students' essays derive from the Kaggle Feedback Prize data"
    citation = (
        "Koike, Kaneko, Okazaki: OUTFOX: LLM-Generated Essay Detection Through In-Context Learning"
        " with Adversarially Generated Examples. AAAI 2024, arXiv:2307.11729"
    )
    sources = ("github",)

    by_prompt: bool = False
    """Whether a setting that takes fewer texts takes the same prompts of every class."""

    def load(self) -> Splits:
        """The essays by role; `UserError` when a file is missing or damaged, or a row is bad."""
        rows = [
            row
            for part in PARTS
            for row in _jsonl.read(self.folder / f"{part}.jsonl.gz", self.name)
        ]
        essays = [(row, clean(row.string("text"))) for row in rows]
        essays = [(row, text) for row, text in essays if text]
        log.info("%s: %d texts without a sentence end left out", self.name, len(rows) - len(essays))
        group_of = groups((row.string("prompt"), text) for row, text in essays)
        roles: dict[str, list[Example]] = {TRAIN: [], SELECT: [], ID: []}
        for row, text in essays:
            label = row.string("label")
            if label not in self.labels:
                raise UserError(
                    f"{row.where}: unknown label {label!r} (known: {', '.join(self.labels)})"
                )
            group = hashlib.sha256(group_of[row.string("prompt")].encode()).hexdigest()
            roles[role(group, SHARES)].append(
                Example(
                    uid=f"{row.string('pair_id')}-{label}",
                    text=text,
                    label=label,
                    group=group,
                    domain="essays",
                )
            )
        found = {name: tuple(examples) for name, examples in roles.items()}
        return Splits(self.name, self.labels, found, by_group=self.by_prompt)

    def get(self, folder: Path, source: str, accept_sha256: str | None = None) -> None:
        """Fetch the published pickles and write {valid,test}.jsonl.gz into `folder` from them."""
        downloads = cache_home() / "downloads" / self.name
        fetch_all(SOURCES, downloads, accept_sha256=accept_sha256)
        for part in PARTS:
            _jsonl.write_gzip(folder / f"{part}.jsonl.gz", _rows(downloads / "data", part))


def _rows(folder: Path, part: str) -> Iterator[dict[str, Any]]:
    """The rows of one published part: for each prompt the student's essay, then the models'."""
    prompts = read_pickle(folder / "common" / part / f"{part}_problem_statements.pkl")
    essays = {
        "human": read_pickle(folder / "common" / part / f"{part}_humans.pkl"),
        "chatGPT": read_pickle(folder / "chatgpt" / part / f"{part}_lms.pkl"),
        "davinci": read_pickle(folder / "text_davinci_003" / part / f"{part}_lms.pkl"),
        "flan_t5": read_pickle(folder / "flan_t5_xxl" / part / f"{part}_lms.pkl"),
    }
    for label, texts in essays.items():
        if len(texts) != len(prompts):
            raise UserError(
                f"{folder}: {len(texts)} {label} essays for {len(prompts)} prompts in {part};"
                " delete the folder and fetch again"
            )
    for index, prompt in enumerate(prompts):
        for label, texts in essays.items():
            yield {
                "text": texts[index],
                "label": label,
                "source": "outfox",
                "split": part,
                "pair_id": f"{part}-{index}",
                "prompt": prompt,
            }
