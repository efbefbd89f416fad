"""The record of one training: one experiment under one seed, and what came of it.

A record is two files beside each other, `<name>--seed<n>.json` and `.npz`, below
`<folder>/<study>/<setting>/`. The JSON has three sections beside the identity:

- `result`: what the same experiment gives again (confusion matrices, AUROC, parameter counts);
- `measured`: what a clock or a meter said (seconds, tokens a second, memory);
- `made_by`: versions, commit, hardware, corpus fingerprint, and `made_from` for combinations.

The `.npz` holds hashed uids and groups, true classes and float16 probabilities of every evaluated
text, no text, so that every metric, test and combination is rebuilt without training. `result` is
computed from exactly these rounded probabilities: `Run.load` recomputes and refuses a mismatch.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lowrank_da import metrics
from lowrank_da.corpus import Corpus, Example
from lowrank_da.errors import UserError
from lowrank_da.files import atomic

SCHEMA = 2
TRIAL, HEAD = "grid/", ".head"
"""How names of learning-rate trials begin, and of trainings that another one starts from end."""
WINNER = "winner"
"""The name of the records of the experiment that a sweep has chosen."""
_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    zlib.error,
    BadZipFile,
)
"""What reading a damaged JSON or archive raises; `zipfile` says RuntimeError of a broken header."""
IDENTITY = ("study", "setting", "name", "seed", "key", "experiment", "labels", "corpus_labels")


def hashed(name: str) -> int:
    """The first 8 bytes of the SHA-256 of a uid or a group, as an unsigned integer."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier said of every text of one role, in the role's order."""

    uid: NDArray[np.uint64]
    """(n,) hashed uids, see `hashed`."""
    group: NDArray[np.uint64]
    """(n,) hashed groups: texts that share one are no independent witnesses."""
    label: NDArray[np.int16]
    """(n,) true class, as an index into the run's `corpus_labels`."""
    probabilities: NDArray[np.float16]
    """(n, k) over the run's `labels`, each row summing to 1 up to rounding."""

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        corpus_labels: tuple[str, ...],
        probabilities: NDArray[np.floating[Any]],
    ) -> "Predictions":
        """Join (n, k) probabilities with their n texts."""
        return cls(
            uid=np.array([hashed(e.uid) for e in examples], dtype=np.uint64),
            group=np.array([hashed(e.group) for e in examples], dtype=np.uint64),
            label=np.array([corpus_labels.index(e.label) for e in examples], dtype=np.int16),
            probabilities=probabilities.astype(np.float16),
        )


PARTS = tuple(part.name for part in fields(Predictions))


def machine_score(
    probabilities: NDArray[np.float64], labels: Sequence[str]
) -> NDArray[np.float64] | None:
    """(n,) of (n, k) probabilities the sum of all but human's; None where no class is human.

    1 - P(human) is the same number, but not of what a float16 stores: near 1 it is coarse.
    """
    if Corpus.human not in labels:
        return None
    machine = [i for i, label in enumerate(labels) if label != Corpus.human]
    total: NDArray[np.float64] = probabilities[:, machine].sum(axis=1)
    return total


def score(
    predictions: Predictions, labels: tuple[str, ...], corpus_labels: tuple[str, ...]
) -> dict[str, Any]:
    """The `result` of one role: counts and threshold-free metrics.

    Only texts whose class is among `labels` count (a binary model also predicts the others, for
    the combination). The confusion matrix has true classes in rows, in the order of `labels`.
    AUROC and TPR at 5 % FPR are machine against human, by `machine_score`; they are None where not
    both occur. Raises `UserError` when no text is of the model's classes.
    """
    index = np.array([labels.index(c) if c in labels else -1 for c in corpus_labels])
    true = index[predictions.label]
    own = true >= 0
    if not own.any():
        raise UserError(f"no text of the classes {', '.join(labels)} is there to score")
    true, probabilities = true[own], predictions.probabilities[own].astype(np.float64)
    confusion = metrics.confusion_matrix(true, probabilities.argmax(axis=1), len(labels))
    auroc = tpr = None
    of_machine = machine_score(probabilities, labels)
    if of_machine is not None:
        machine = true != labels.index(Corpus.human)
        if 0 < machine.sum() < len(machine):
            auroc = metrics.auroc(machine, of_machine)
            tpr = metrics.tpr_at_fpr(machine, of_machine, max_fpr=0.05)
    return {
        "texts": int(own.sum()),
        "confusion_matrix": confusion.tolist(),
        "macro_f1": metrics.macro_f1(confusion),
        "accuracy": metrics.accuracy(confusion),
        "auroc": auroc,
        "tpr_at_5_fpr": tpr,
    }


def _agree(fresh: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Whether two results of one role are equal, numbers up to the last digits."""
    if fresh.keys() != recorded.keys():
        return False
    for name, value in fresh.items():
        other = recorded[name]
        if (value is None) != (other is None):
            return False
        if value is not None and not np.allclose(value, other, rtol=0, atol=1e-9):
            return False
    return True


@dataclass(frozen=True, eq=False)
class Run:
    """One record; see the module's docstring for its sections."""

    study: str
    setting: str
    name: str
    seed: int
    key: str
    """The experiment's key: what `runs/` is searched for."""
    experiment: dict[str, Any]
    """The experiment's canonical JSON."""
    labels: tuple[str, ...]
    """The classes this model tells apart, in the order of its probabilities."""
    corpus_labels: tuple[str, ...]
    result: dict[str, Any]
    measured: dict[str, Any]
    made_by: dict[str, Any]
    predictions: Mapping[str, Predictions] = field(default_factory=dict, repr=False)

    @property
    def fingerprint(self) -> str:
        """Of the corpus this run read; within one comparison all must be equal."""
        return str(self.made_by["fingerprint"])

    def confusion(self, role: str) -> NDArray[np.int64]:
        """(k, k) counts on `role`, true classes in rows."""
        return np.array(self.result["splits"][role]["confusion_matrix"], dtype=np.int64)

    def path(self, folder: Path) -> Path:
        """Where this record's JSON lies below `folder`."""
        return record_path(folder, self.study, self.setting, self.name, self.seed)

    def save(self, folder: Path) -> Path:
        """Write both files by atomic rename, the JSON last: a record is there or it is not."""
        path = self.path(folder)
        arrays = {
            f"{role}/{part}": getattr(p, part)
            for role, p in self.predictions.items()
            for part in PARTS
        }
        body = {"schema": SCHEMA} | {key: getattr(self, key) for key in IDENTITY}
        body |= {"result": self.result, "measured": self.measured, "made_by": self.made_by}
        with atomic(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(body, indent=1, sort_keys=False) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> "Run":
        """Read a record and check it against its own probabilities.

        Raises `UserError` for a missing, damaged or foreign record, naming the file.
        """
        advice = "delete it and run the cell again, or restore it from git"
        try:
            body = json.loads(path.read_text())
            if body["schema"] != SCHEMA:
                raise UserError(
                    f"{path}: record schema {body['schema']}, this code reads {SCHEMA};"
                    " move the records of that version away, and run the cells again"
                )
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            roles = dict.fromkeys(name.rpartition("/")[0] for name in arrays)
            predictions = {
                role: Predictions(**{part: arrays[f"{role}/{part}"] for part in PARTS})
                for role in roles
            }
            identity = {key: body[key] for key in IDENTITY}
            identity |= {key: tuple(body[key]) for key in ("labels", "corpus_labels")}
            sections: dict[str, Any] = {
                key: dict(body[key]) for key in ("result", "measured", "made_by")
            }
            run = cls(**identity, **sections, predictions=predictions)
            for role in run.result["splits"]:
                own = score(run.predictions[role], run.labels, run.corpus_labels)
                if not _agree(own, run.result["splits"][role]):
                    raise UserError(f"{path}: its numbers on {role} do not follow from its .npz")
        except FileNotFoundError as error:
            raise UserError(f"record {error.filename} is missing; {advice}") from error
        except _DAMAGE as error:
            raise UserError(f"{path}: the record is damaged ({error}); {advice}") from error
        return run


def record_path(folder: Path, study: str, setting: str, name: str, seed: int) -> Path:
    """`<folder>/<study>/<setting>/<name>--seed<n>.json`; a name may hold one level of folders."""
    return folder / study / setting / f"{name}--seed{seed}.json"


def finished(path: Path, key: str, fingerprint: str) -> Run | None:
    """The record at `path`, if it is there and of this experiment on these texts."""
    if not path.exists():
        return None
    record = Run.load(path)
    return record if (record.key, record.fingerprint) == (key, fingerprint) else None


def load_all(folder: Path, study: str, setting: str) -> dict[str, list[Run]]:
    """Every record of a study in a setting, by name, each name's runs in the order of seeds."""
    found: dict[str, list[Run]] = {}
    for path in sorted((folder / study / setting).rglob("*--seed*.json")):
        run = Run.load(path)
        found.setdefault(run.name, []).append(run)
    return {name: sorted(runs, key=lambda r: r.seed) for name, runs in found.items()}


def one_training(first: Sequence[Run], second: Sequence[Run]) -> bool:
    """Whether two arms are the same experiment under the same seeds: one training, two names."""
    own, other = ({(run.key, run.seed) for run in runs} for runs in (first, second))
    return own == other


def one_fingerprint(runs: Iterable[Run]) -> str:
    """The fingerprint that all `runs` share; `UserError` when they read different texts."""
    seen = {run.fingerprint: f"{run.name} (seed {run.seed})" for run in runs}
    if len(seen) != 1:
        raise UserError(
            f"runs on different texts cannot be compared: {' and '.join(seen.values())};"
            " run them again on one corpus"
        )
    return next(iter(seen))
