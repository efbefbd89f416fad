"""One classifier of all classes out of binary models that each tell one machine from the human.

Binary model i gives p_i(x) = P(machine i | x, machine i or human). Two ways to combine m of them:

- `average`: class i gets p_i / m, human gets the mean of 1 - p_i. It sums to 1 and is what
  "averaging the models" can mean, but it is no posterior: p = (.6, .6, .6) makes human (.4) the
  most likely class.
- `couple`: the exact posterior, through the human class that all models share. With the odds
  o_i = p_i / (1 - p_i) it is pi_i = c_i o_i / (1 + sum_j c_j o_j) and
  pi_human = 1 / (1 + sum_j c_j o_j), for the same p a human at 2/11, the *least* likely class
  (Begg & Gray 1984; Hastie & Tibshirani 1998). It needs calibrated models, hence `temperature`.

Probabilities here are (n, m) over the machine classes or (n, m + 1) with the human last; `combine`
puts them into the corpus' order. It reads records alone and trains nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax

from lowrank_da.corpus import SELECT, TRAIN, Corpus
from lowrank_da.errors import UserError
from lowrank_da.run import Run, one_fingerprint, score

Rule = Literal["average", "coupled"]
Floats = NDArray[np.float64]

TEMPERATURES = (1 / 16, 16.0)
"""Temperatures outside this range are not considered."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
"""2^-24, the smallest stored probability above 0: log odds lie within 24 log 2 = 16.6 of 0."""
SUMMED = (
    *("seconds", "train_seconds", "train_tokens", "needed_flops"),
    *("trunk_seconds", "trunk_flops", "energy_joules"),
)
"""What of `measured` adds up over trainings; where a part lacks one, the sum lacks it too."""


# The rules, as functions of arrays


def average(p: Floats) -> Floats:
    """(n, m) binary probabilities -> (n, m + 1): p_i / m a machine class, human mean(1 - p_i)."""
    human = 1 - p.mean(axis=1, keepdims=True)
    return np.concatenate([p / p.shape[1], human], axis=1)


def couple(log_odds: Floats, log_prior_ratio: Floats) -> Floats:
    """(n, m) binary log odds -> (n, m + 1) exact posterior: softmax of (log o_i + log c_i, 0).

    `log_prior_ratio` (m,) is log c_i with c_i = (t_i / t_human) (n_human^i / n_i^i): target
    priors t, and the texts n^i that model i was trained on, times their class weights.
    """
    shifted = log_odds + log_prior_ratio
    human = np.zeros((len(shifted), 1))
    posterior: Floats = softmax(np.concatenate([shifted, human], axis=1), axis=1)
    return posterior


def temperature(log_odds: Floats, positive: NDArray[np.bool_]) -> float:
    """The T for which expit(log_odds / T) has the smallest negative log-likelihood (Guo 2017).

    `log_odds` and `positive` are (n,). The targets are Platt's (1999), (N+ + 1) / (N+ + 2) and
    1 / (N- + 2) in place of 1 and 0: they move T by O(1/n), and where the classes are separable,
    so that sharpening without end would win, they stop at the odds that N texts can support.
    The search is bounded to `TEMPERATURES`; log odds that point the wrong way end at its top.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    target = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(log_temperature: float) -> float:
        z = log_odds / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, z) - target * z))

    bounds = (float(np.log(TEMPERATURES[0])), float(np.log(TEMPERATURES[1])))
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


# The same on records


def combine(
    runs: Sequence[Run],
    rule: Rule,
    priors: Mapping[str, float] | None = None,
    human: str = Corpus.human,
) -> Run:
    """The one-against-human `runs` of one seed as one `Run` over all classes of the corpus.

    The result is called `binaries_average` or `binaries_coupled`. Coupling scales each model's
    log odds by its temperature on *select*. `priors` are the class frequencies to expect; by
    default those of the training texts of all parts together, the human texts counted once.

    Raises `UserError` when the parts are not one binary model for every machine class, or differ
    in texts, seed, study or setting.
    """
    runs = _in_corpus_order(runs, human)
    machines = [_machine(run, human) for run in runs]
    first = runs[0]
    roles = [role for role in first.predictions if all(role in run.predictions for run in runs)]
    _refuse_other_texts(runs, roles)
    odds = {role: np.stack([_log_odds(run, role, human) for run in runs], axis=1) for role in roles}
    result: dict[str, Any] = {}
    if rule == "average":
        posteriors = {role: average(expit(odds[role])) for role in roles}
    else:
        if SELECT not in roles:
            raise UserError(f"coupling needs the {SELECT!r} predictions of every binary run")
        temperatures = [_temperature(run, human) for run in runs]
        target = dict(priors) if priors is not None else _training_frequencies(runs, human)
        ratios = [_prior_ratio(run, target, human) for run in runs]
        posteriors = {
            role: couple(odds[role] / np.array(temperatures), np.log(ratios)) for role in roles
        }
        result["temperatures"] = dict(zip(machines, temperatures, strict=True))
        result["priors"] = target
        result["prior_ratios"] = dict(zip(machines, ratios, strict=True))

    corpus_labels = first.corpus_labels
    columns = [[*machines, human].index(label) for label in corpus_labels]
    predictions = {
        role: replace(
            first.predictions[role], probabilities=_as_float16(posteriors[role][:, columns])
        )
        for role in roles
    }
    splits = {r: score(p, corpus_labels, corpus_labels) for r, p in predictions.items()}
    experiment: dict[str, Any] = {"is": rule, "of": [run.experiment for run in runs]}
    if priors is not None:
        experiment["priors"] = dict(priors)
    return Run(
        study=first.study,
        setting=first.setting,
        name=f"binaries_{rule}",
        seed=first.seed,
        key=_key([run.key for run in runs], rule, priors),
        experiment=experiment,
        labels=corpus_labels,
        corpus_labels=corpus_labels,
        result={"splits": splits, "parameters": _parameters(runs)} | result,
        measured=_measured(runs),
        made_by=first.made_by
        | {
            "dirty": any(run.made_by["dirty"] for run in runs),
            "made_from": [{"name": r.name, "key": r.key, "seed": r.seed} for r in runs],
        },
        predictions=predictions,
    )


def _machine(run: Run, human: str) -> str:
    """The machine class that a one-against-human run knows."""
    others = [label for label in run.labels if label != human]
    if len(run.labels) != 2 or len(others) != 1:
        raise UserError(
            f"{run.name} (seed {run.seed}) tells {', '.join(run.labels)} apart;"
            f" a combination takes runs of one machine class and {human!r}"
        )
    return others[0]


def _in_corpus_order(runs: Sequence[Run], human: str) -> list[Run]:
    """`runs` in the order of the corpus' machine classes, or `UserError` if they are no set."""
    if not runs:
        raise UserError("nothing to combine: train the one-against-human models first")
    one_fingerprint(runs)
    for what in ("seed", "study", "setting", "corpus_labels"):
        seen = {getattr(run, what) for run in runs}
        if len(seen) != 1:
            raise UserError(
                f"cannot combine runs of different {what}: {sorted(map(str, seen))};"
                " give the runs of one seed of one study in one setting"
            )
    wanted = [label for label in runs[0].corpus_labels if label != human]
    machines = [_machine(run, human) for run in runs]
    if sorted(machines) != sorted(wanted):
        raise UserError(
            f"cannot combine models of {', '.join(machines)}: one each of {', '.join(wanted)}"
            " is needed; train the missing ones or leave out the doubled ones"
        )
    return sorted(runs, key=lambda run: wanted.index(_machine(run, human)))


def _refuse_other_texts(runs: Sequence[Run], roles: Sequence[str]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for role in roles:
            if not np.array_equal(run.predictions[role].uid, first.predictions[role].uid):
                raise UserError(
                    f"{run.name} and {first.name} (seed {run.seed}) predict different texts of"
                    f" {role}; run them again so that each predicts all of them"
                )


def _log_odds(run: Run, role: str, human: str) -> Floats:
    """(n,) log odds of machine against human, from both stored columns.

    A float16 near 1 is coarse, one near 0 is not: the quotient of the two columns keeps what
    1 - p would lose. Both are clipped at `SMALLEST`.
    """
    columns = np.log(np.clip(run.predictions[role].probabilities.astype(np.float64), SMALLEST, 1))
    own = run.labels.index(human)
    log_odds: Floats = columns[:, 1 - own] - columns[:, own]
    return log_odds


def _temperature(run: Run, human: str) -> float:
    """The temperature of one binary run on its own two classes of *select*."""
    label = run.predictions[SELECT].label
    positive = label == run.corpus_labels.index(_machine(run, human))
    own = positive | (label == run.corpus_labels.index(human))
    return temperature(_log_odds(run, SELECT, human)[own], positive[own])


def _training_texts(run: Run) -> dict[str, int]:
    return dict(run.result["corpus"]["texts"][TRAIN])


def _training_frequencies(runs: Sequence[Run], human: str) -> dict[str, float]:
    """Class frequencies of the union of the parts' training texts.

    The parts share their human texts, so the union holds as many as the part with most.
    """
    counts = {_machine(run, human): _training_texts(run)[_machine(run, human)] for run in runs}
    counts[human] = max(_training_texts(run)[human] for run in runs)
    total = sum(counts.values())
    return {label: counts[label] / total for label in runs[0].corpus_labels}


def _prior_ratio(run: Run, target: Mapping[str, float], human: str) -> float:
    """c_i of `couple`: 1 where the model was trained on classes in their target proportion."""
    machine = _machine(run, human)
    if not all(target.get(label, 0) > 0 for label in (machine, human)):
        raise UserError(f"priors: {machine!r} and {human!r} each need a frequency above 0")
    n = _training_texts(run)
    # Class weights n / (K n_c) make both classes weigh the same.
    trained = 1.0 if run.experiment.get("class_weights") else n[human] / n[machine]
    return target[machine] / target[human] * trained


def _as_float16(probabilities: Floats) -> NDArray[np.float16]:
    """Rounded for storage, each row's most likely class kept the most likely.

    Where several models are sure, averages differ by less than a float16 can tell; left tied,
    the class that stands first would win. The winner moves up by one float16 step instead.
    """
    rounded = probabilities.astype(np.float16)
    winner = probabilities.argmax(axis=1)
    lost = np.flatnonzero(rounded.argmax(axis=1) != winner)
    step_up = np.nextafter(rounded[lost, winner[lost]], np.float16(np.inf))
    rounded[lost, winner[lost]] = step_up
    return rounded


def _parameters(runs: Sequence[Run]) -> dict[str, int]:
    """What was trained, added up; the frozen backbone is one and the same."""
    parts = [run.result["parameters"] for run in runs]
    summed = {what: sum(p[what] for p in parts) for what in ("trained", "head", "adapter")}
    return summed | {"backbone": parts[0]["backbone"]}


def _measured(runs: Sequence[Run]) -> dict[str, float]:
    """The sums of `SUMMED`, and the greatest peak memory: the parts are trained in turn."""
    parts = [run.measured for run in runs]
    in_all = {key for key in parts[0] if all(p.get(key) is not None for p in parts)}
    body = {key: sum(p[key] for p in parts) for key in SUMMED if key in in_all}
    if "peak_memory_bytes" in in_all:
        body["peak_memory_bytes"] = max(p["peak_memory_bytes"] for p in parts)
    return body


def _key(parts: Sequence[str], rule: Rule, priors: Mapping[str, float] | None) -> str:
    """16 hexadecimal digits over the parts' keys, the rule and, where given, the priors."""
    body: dict[str, Any] = {"is": rule, "of": list(parts)}
    if priors is not None:
        body["priors"] = dict(priors)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
