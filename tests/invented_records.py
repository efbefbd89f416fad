"""Records without training: seeded random probabilities, leaning towards the truth."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from lowrank_da.corpus import ID, SELECT, TRAIN
from lowrank_da.coupling import Rule, combine
from lowrank_da.run import Predictions, Run, score

LABELS = ("ChatGPT", "Flan_T5", "davinci", "human")
RATE = {"full": 0.0003, "lora_published": 0.0003}
TEXTS = {SELECT: 60, ID: 120}


def predictions(
    name: str,
    seed: int,
    role: str,
    labels: Sequence[str],
    corpus_labels: Sequence[str],
    skill: float,
) -> Predictions:
    """Of every text of a role; the texts are the same for all names and seeds."""
    n = TEXTS.get(role, 40)
    label = (np.arange(n) % len(corpus_labels)).astype(np.int16)
    uid = np.random.default_rng(len(role)).integers(0, 2**63, size=n, dtype=np.uint64)
    rng = np.random.default_rng([seed, *name.encode(), *role.encode()])
    logits = rng.normal(size=(n, len(labels)))
    for column, own in enumerate(labels):
        logits[label == list(corpus_labels).index(own), column] += skill
    odds = np.exp(logits)
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float16)
    return Predictions(uid, uid // 2**62 + np.arange(n, dtype=np.uint64) // 2, label, probabilities)


def record(
    name: str,
    seed: int = 0,
    *,
    labels: Sequence[str] = (),
    corpus_labels: Sequence[str] = LABELS,
    skill: float = 2.0,
    roles: Sequence[str] = (SELECT, ID),
    corpus: str = "outfox",
    fingerprint: str = "one corpus",
    **experiment: object,
) -> Run:
    """One record of the study `thesis` in a setting named like its corpus."""
    own, every = tuple(labels or corpus_labels), tuple(corpus_labels)
    said = {role: predictions(name, seed, role, own, every, skill) for role in roles}
    counts = {role: dict.fromkeys(every, n) for role, n in ((TRAIN, 100), (SELECT, 15), (ID, 30))}
    setting = {"is": "setting", "corpus": {"is": corpus}, "backbone": "minilm"}
    return Run(
        study="thesis",
        setting=corpus,
        name=name,
        seed=seed,
        key=name,
        experiment={
            "is": "experiment",
            "setting": setting,
            "method": {"is": "lora"},
            "learning_rate": RATE.get(name, 0.002),
            **experiment,
        },
        labels=own,
        corpus_labels=every,
        result={
            "splits": {role: score(p, own, every) for role, p in said.items()},
            "parameters": {"trained": 1300, "head": 1000, "adapter": 300, "backbone": 20000},
            "corpus": {"texts": counts, "mean_words": dict.fromkeys(every, 101.6)},
        },
        measured={"train_seconds": 10.0 + len(name), "seconds": 50.0, "tokens_per_second": 4321.0},
        made_by={
            "fingerprint": fingerprint,
            "dirty": False,
            "device": "cpu",
            "precision": "64-true" if name == "tfidf" else "bf16-mixed",
            "threads": 2,
            "hardware": {"processor": "abacus", "cores": 2},
        },
        predictions=said,
    )


def with_values(run: Run, *values: list[float]) -> Run:
    """The same, with the singular values of a trained update for each map."""
    named = {f"{i}.query": list(own) for i, own in enumerate(values)}
    return replace(run, result=run.result | {"singular_values": named})


def study(
    seeds: Sequence[int] = (0, 1), corpus_labels: Sequence[str] = LABELS, corpus: str = "outfox"
) -> dict[str, list[Run]]:
    """Every record of the study, by name."""
    skills = {"full": 3.0, "lora_published": 0.5, "lora": 2.8, "tfidf": 1.5}
    one = partial(record, corpus_labels=corpus_labels, corpus=corpus)
    runs = {name: [one(name, s, skill=skill) for s in seeds] for name, skill in skills.items()}
    for label in corpus_labels[:-1]:
        name = f"{label.lower()}_vs_human"
        runs[name] = [one(name, s, labels=(label, "human")) for s in seeds]
    binaries = [runs[f"{label.lower()}_vs_human"] for label in corpus_labels[:-1]]
    rules: tuple[Rule, ...] = ("average", "coupled")
    for rule in rules:
        runs[f"binaries_{rule}"] = [combine(parts, rule) for parts in zip(*binaries, strict=True)]
    for arm in ("full", "lora"):
        for rate, skill in (("0.0003", 1.0), ("0.001", 2.0), ("0.003", 1.2)):
            name = f"grid/{arm}--lr{rate}"
            runs[name] = [one(name, skill=skill, roles=(SELECT,), learning_rate=float(rate))]
    return runs


def save(runs: dict[str, list[Run]], folder: Path) -> Path:
    """Write all records below `folder`."""
    for seeds in runs.values():
        for run in seeds:
            run.save(folder)
    return folder
