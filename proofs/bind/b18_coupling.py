"""C18 on real classifiers: three one-vs-human models, trained to calibration, coupled by our code.

Texts of six inputs have the classes of a known mixture, so that Bayes' posterior is known too.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lowrank_da import coupling
from lowrank_da.batches import pack
from lowrank_da.methods.linear_probe import LinearProbe
from proofs import c18_coupling as claim
from proofs.bind.real import SETTING, classifier, minimise, tokens
from proofs.binding import Binding, Reading, wrong

LENGTHS = (7, 5, 9, 6, 8, 10)
MACHINES = ((4, 2, 1, 1, 3, 1), (1, 1, 5, 2, 2, 1), (2, 6, 1, 3, 1, 1))
"""Texts of each machine on each input, which is its law too."""
HUMAN = (1, 2, 2, 3, 1, 4)
SHARES = (3, 1, 2, 6)
"""To be expected of the three machines and the human: not those trained on."""
Floats = NDArray[np.float64]
CALIBRATED = "log odds less those of the texts"
BAYES, SAME = "our coupling less Bayes' posterior", "our coupling less the claim's"
DECISIONS = "inputs whose most likely class the claim's rule names"
TEMPERATURE = "temperature found for log odds 3 times too large"


def log_odds(machine: tuple[int, ...], label: str, sharpened: float) -> Floats:
    """(inputs,) of a binary classifier, its last map at the least log-loss on all the texts."""
    human = SETTING.corpus.human
    model = classifier(LinearProbe(), labels=(label, human))
    inputs = pack(tokens(LENGTHS))
    own, other = (model.experiment.classes.index(name) for name in (label, human))
    counts = torch.zeros(len(LENGTHS), 2).double()
    counts[:, own], counts[:, other] = torch.tensor(machine), torch.tensor(HUMAN)
    minimise(
        list(model.head.out_proj.parameters()),
        lambda: functional.cross_entropy(model(inputs), counts, reduction="sum"),
    )
    logits = model(inputs).detach().numpy()
    odds: Floats = sharpened * (logits[:, own] - logits[:, other])
    return odds


def by_claim(odds: Floats, log_ratios: Floats) -> tuple[Floats, list[int]]:
    """The claim's own `couple` and `decide`, in exact arithmetic on the models' floats."""
    p = [tuple(Fraction(x) for x in row) for row in 1 / (1 + np.exp(-odds))]
    ratios = tuple(Fraction(x) for x in np.exp(log_ratios))
    coupled = np.array([[float(q) for q in claim.couple(row, ratios)] for row in p])
    return coupled, [claim.decide(row, ratios) for row in p]


def read(
    couple: Callable[[Floats, Floats], Floats] = coupling.couple, sharpened: float = 1
) -> Iterator[Reading]:
    """The models' calibration, then the coupling against Bayes and against the claim."""
    labels = [label for label in SETTING.corpus.labels if label != SETTING.corpus.human]
    odds = np.stack(
        [log_odds(*pair, sharpened) for pair in zip(MACHINES, labels, strict=True)], axis=1
    )
    true = np.log(np.array(MACHINES).T / np.array(HUMAN)[:, None])
    yield Reading(CALIBRATED, np.abs(odds - true).max(), "=", 0, 1e-5)
    texts_of = [(sum(machine), sum(HUMAN)) for machine in MACHINES]
    ratios = np.log([float(c) for c in claim.true_ratios(SHARES, texts_of)])
    got, laws = couple(odds, ratios), [*MACHINES, HUMAN]
    weights = [
        [Fraction(s * n, sum(law)) for n in law] for s, law in zip(SHARES, laws, strict=True)
    ]
    posterior = [claim.bayes(column) for column in zip(*weights, strict=True)]
    yield Reading(BAYES, np.abs(got - np.array(posterior, dtype=float)).max(), "=", 0, 1e-5)
    exact, named = by_claim(odds, ratios)
    yield Reading(SAME, np.abs(got - exact).max(), "=", 0, 1e-12)
    agreed = sum(int(row.argmax()) == c for row, c in zip(got, named, strict=True))
    yield Reading(DECISIONS, agreed, "=", len(LENGTHS))
    found = temperature(3 * odds[:, 0], MACHINES[0])
    yield Reading(TEMPERATURE, found, "=", 3, 0.05)


def temperature(odds: Floats, machine: tuple[int, ...]) -> float:
    """By our code, on 1,000 times the texts."""
    each = np.array([machine, HUMAN]) * 1000
    positive = np.repeat([True, False], each.sum(axis=1))
    return coupling.temperature(np.repeat(np.tile(odds, 2), each.ravel()), positive)


def averaged(odds: Floats, log_ratios: Floats) -> Floats:
    """What the thesis means by averaging, in the coupling's place."""
    return coupling.average(1 / (1 + np.exp(-odds)))


def unshared(odds: Floats, log_ratios: Floats) -> Floats:
    """As if the shares to be expected were those trained on."""
    return coupling.couple(odds, 0 * log_ratios)


BINDING = Binding(
    id="C18",
    title="three one-vs-human heads on RoBERTa's states, coupled by `lowrank_da.coupling`",
    read=read,
    twins={
        "logits three times too large": wrong(BAYES, sharpened=3),
        "the same, seen in the log odds": wrong(CALIBRATED, sharpened=3),
        "the same, seen in the temperature": wrong(TEMPERATURE, sharpened=3),
        "averaged": wrong(SAME, couple=averaged),
        "no ratios of shares": wrong(DECISIONS, couple=unshared),
    },
)
