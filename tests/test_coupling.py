"""coupling.py: the posterior against Bayes' rule, temperature against statsmodels, and records."""

import dataclasses

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from lowrank_da import coupling, metrics, uncertainty
from lowrank_da.errors import UserError
from lowrank_da.run import Predictions, Run, hashed

LABELS = ("chatgpt", "cohere", "davinci", "human")
AMBIGUOUS = np.array([[0.6, 0.6, 0.6]])

# The rules


def test_averaging_calls_the_ambiguous_text_human_and_the_posterior_the_opposite():
    np.testing.assert_allclose(coupling.average(AMBIGUOUS), [[0.2, 0.2, 0.2, 0.4]])
    posterior = coupling.couple(logit(AMBIGUOUS), np.zeros(3))
    np.testing.assert_allclose(posterior, [[3 / 11, 3 / 11, 3 / 11, 2 / 11]])


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_exact_binaries_give_back_the_exact_posterior(seed, machines):
    rng = np.random.default_rng(seed)
    # The law of the texts of each class, human last, over 50 cells.
    law = rng.dirichlet(np.ones(50), size=machines + 1).T + 1e-6
    target = rng.dirichlet(np.ones(machines + 1)) + 0.01
    machine_texts, human_texts = rng.integers(10, 1000, size=(2, machines))
    own, human = machine_texts * law[:, :-1], human_texts * law[:, -1:]
    ratio = target[:-1] / target[-1] * human_texts / machine_texts
    posterior = coupling.couple(logit(own / (own + human)), np.log(ratio))
    joint = target * law
    np.testing.assert_allclose(posterior, joint / joint.sum(axis=1, keepdims=True), rtol=1e-8)


def test_the_posterior_agrees_with_every_binary_model():
    p = np.random.default_rng(1).uniform(0.001, 0.999, size=(100, 3))
    posterior = coupling.couple(logit(p), np.zeros(3))
    np.testing.assert_allclose(p * (posterior[:, :3] + posterior[:, 3:]), posterior[:, :3])
    np.testing.assert_allclose(posterior.sum(axis=1), 1)


def test_the_posterior_survives_odds_that_overflow():
    posterior = coupling.couple(np.array([[1000.0, -1000.0], [-1000.0, -1000.0]]), np.zeros(2))
    np.testing.assert_array_equal(posterior, [[1, 0, 0], [0, 0, 1]])


# Temperature


def test_temperature_is_the_regression_of_platts_targets_on_the_log_odds():
    rng = np.random.default_rng(2)
    log_odds = rng.normal(scale=3, size=400)
    positive = rng.random(400) < expit(log_odds / 2)
    up, down = positive.sum(), (~positive).sum()
    target = np.where(positive, (up + 1) / (up + 2), 1 / (down + 2))
    fit = sm.GLM(target, log_odds[:, None], family=sm.families.Binomial()).fit()
    assert coupling.temperature(log_odds, positive) == pytest.approx(1 / fit.params[0], rel=1e-4)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_finds_the_overconfidence_of_many_texts(true):
    rng = np.random.default_rng(3)
    log_odds = rng.normal(scale=4, size=40000)
    positive = rng.random(40000) < expit(log_odds / true)
    assert coupling.temperature(log_odds, positive) == pytest.approx(true, rel=0.05)


def test_separable_log_odds_are_not_sharpened_without_end():
    positive = np.repeat([True, False], 100)
    log_odds = np.where(positive, 5.0, -5.0)
    # 100 texts support odds of 101 to 1, whatever the scale they are told on.
    for scale in (1, 3):
        expected = 5 * scale / np.log(101)
        assert coupling.temperature(scale * log_odds, positive) == pytest.approx(expected, rel=1e-4)


def test_temperature_stays_in_its_range():
    positive = np.repeat([True, False], 100)
    wrong_way, tiny = np.where(positive, -1.0, 1.0), np.where(positive, 1e-3, -1e-3)
    lowest, highest = coupling.TEMPERATURES
    assert coupling.temperature(wrong_way, positive) == pytest.approx(highest, rel=1e-4)
    assert coupling.temperature(tiny, positive) == pytest.approx(lowest, rel=1e-4)


# Records


def law(true, rng):
    """Points of the plane: each class a Gaussian around its corner, human around 0."""
    corners = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 2.0], [0.0, 0.0]])
    return corners[true] + rng.normal(size=(len(true), 2)), corners


def binaries(train, overconfident=(1.0, 1.0, 1.0), corpus_labels=LABELS, **changes):
    """The three exact one-against-human models of `law`, told with too sharp log odds.

    `train` are the training texts by class; both roles hold classes in those proportions.
    """
    rng = np.random.default_rng(4)
    share = np.array([train[label] for label in LABELS]) / sum(train.values())
    true = {role: rng.choice(4, size=n, p=share) for role, n in (("select", 4000), ("id", 4000))}
    points = {role: law(t, rng) for role, t in true.items()}
    runs = []
    for i, machine in enumerate(LABELS[:3]):
        predictions = {}
        for role, (x, corners) in points.items():
            distance = ((x[:, None] - corners) ** 2).sum(axis=-1) / 2
            log_odds = distance[:, 3] - distance[:, i] + np.log(train[machine] / train["human"])
            p = expit(overconfident[i] * log_odds)
            both = np.stack([p, 1 - p] if corpus_labels[-1] == "human" else [1 - p, p], axis=1)
            index = np.array([corpus_labels.index(label) for label in LABELS])
            predictions[role] = Predictions(
                *[np.array([hashed(f"{role}{n}") for n in range(len(x))], dtype=np.uint64)] * 2,
                index[true[role]].astype(np.int16),
                both.astype(np.float16),
            )
        runs.append(
            Run(
                study="thesis",
                setting="embedded",
                name=f"{machine}_vs_human",
                seed=0,
                key=f"key{i}",
                experiment={"is": "experiment", "labels": [machine, "human"]},
                labels=tuple(c for c in corpus_labels if c in (machine, "human")),
                corpus_labels=corpus_labels,
                result={
                    "corpus": {"texts": {"train": {k: train[k] for k in (machine, "human")}}},
                    "parameters": {"trained": 11, "head": 4, "adapter": 7, "backbone": 100},
                },
                measured={
                    "train_seconds": 2.0,
                    "train_tokens": 10,
                    "tokens_per_second": 5.0,
                    "needed_flops": None,
                    "peak_memory_bytes": 3 + i,
                },
                made_by={"fingerprint": "f", "dirty": False, "commit": "c"},
                predictions=predictions,
            )
        )
    return [dataclasses.replace(run, **changes) for run in runs]


BALANCED = dict.fromkeys(LABELS, 100)
UNEQUAL = {"chatgpt": 300, "cohere": 50, "davinci": 150, "human": 200}


def bayes(run, train, role="id"):
    """The most likely class of every text of `binaries(train)`, and the exact posterior."""
    rng = np.random.default_rng(4)
    share = np.array([train[label] for label in LABELS]) / sum(train.values())
    true = {r: rng.choice(4, size=len(p.uid), p=share) for r, p in run.predictions.items()}
    points = {r: law(t, rng) for r, t in true.items()}
    x, corners = points[role]
    joint = share * np.exp(-((x[:, None] - corners) ** 2).sum(axis=-1) / 2)
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("train", [BALANCED, UNEQUAL])
def test_coupled_records_are_the_bayes_classifier_up_to_calibration(train):
    runs = binaries(train, overconfident=(1.0, 2.0, 1.5))
    run = coupling.combine(runs, "coupled")
    assert run.labels == LABELS
    assert run.result["temperatures"] == pytest.approx(
        {"chatgpt": 1.0, "cohere": 2.0, "davinci": 1.5}, rel=0.1
    )
    assert list(run.result["prior_ratios"].values()) == pytest.approx([1, 1, 1])
    exact = bayes(run, train)
    found = run.predictions["id"].probabilities.astype(float)
    assert np.abs(found - exact).mean() < 0.02
    by_bayes = metrics.confusion_matrix(
        run.predictions["id"].label, exact.argmax(axis=1), len(LABELS)
    )
    assert run.result["splits"]["id"]["macro_f1"] == pytest.approx(
        metrics.macro_f1(by_bayes), abs=0.01
    )


def test_averaged_records_are_worse_than_coupled_ones_where_the_models_are_exact():
    runs = binaries(BALANCED)
    averaged, coupled = (coupling.combine(runs, rule) for rule in ("average", "coupled"))
    p = np.stack([run.predictions["id"].probabilities[:, 0].astype(float) for run in runs], axis=1)
    np.testing.assert_allclose(
        averaged.predictions["id"].probabilities, coupling.average(p), atol=2e-3
    )
    predicted = [r.predictions["id"].probabilities.argmax(axis=1) for r in (coupled, averaged)]
    p = coupled.predictions["id"]
    assert uncertainty.paired(p.label, *predicted, 4, p.group).interval().low > 0


def test_priors_and_class_weights_enter_the_ratios():
    priors = {"chatgpt": 0.1, "cohere": 0.2, "davinci": 0.3, "human": 0.4}
    given_priors = coupling.combine(binaries(UNEQUAL), "coupled", priors)
    assert given_priors.result["prior_ratios"] == pytest.approx(
        {"chatgpt": 0.1 / 0.4 * 200 / 300, "cohere": 0.2 / 0.4 * 4, "davinci": 0.3 / 0.4 * 4 / 3}
    )
    weighted = coupling.combine(binaries(UNEQUAL, experiment={"class_weights": True}), "coupled")
    assert weighted.result["priors"] == pytest.approx(
        {"chatgpt": 3 / 7, "cohere": 0.5 / 7, "davinci": 1.5 / 7, "human": 2 / 7}
    )
    assert weighted.result["prior_ratios"] == pytest.approx(
        {"chatgpt": 300 / 200, "cohere": 50 / 200, "davinci": 150 / 200}
    )
    with pytest.raises(UserError, match="'cohere'"):
        coupling.combine(binaries(UNEQUAL), "coupled", priors | {"cohere": 0.0})


@pytest.mark.parametrize("rule", ["average", "coupled"])
def test_a_combination_is_a_record_like_any_other(rule, tmp_path):
    runs = binaries(BALANCED)
    run = coupling.combine(list(reversed(runs)), rule)
    assert run.name == f"binaries_{rule}"
    assert run.result["parameters"] == {"trained": 33, "head": 12, "adapter": 21, "backbone": 100}
    assert run.measured == {"train_seconds": 6.0, "train_tokens": 30, "peak_memory_bytes": 5}
    assert [part["name"] for part in run.made_by["made_from"]] == [r.name for r in runs]
    assert run.experiment == {"is": rule, "of": [r.experiment for r in runs]}
    loaded = Run.load(run.save(tmp_path))
    assert loaded.result == run.result
    assert coupling.combine(runs, rule).key == run.key == loaded.key


def test_the_key_tells_rule_parts_and_priors_apart():
    runs = binaries(BALANCED)
    others = [dataclasses.replace(runs[0], key="other"), *runs[1:]]
    keys = {
        coupling.combine(runs, "average").key,
        coupling.combine(runs, "coupled").key,
        coupling.combine(runs, "coupled", dict.fromkeys(LABELS, 0.25)).key,
        coupling.combine(others, "coupled").key,
    }
    assert len(keys) == 4


def test_one_dirty_part_makes_the_combination_dirty():
    runs = binaries(BALANCED)
    runs[2] = dataclasses.replace(runs[2], made_by=runs[2].made_by | {"dirty": True})
    assert coupling.combine(runs, "average").made_by["dirty"] is True


def test_the_human_class_may_stand_anywhere():
    first = ("human", *LABELS[:3])
    last = coupling.combine(binaries(UNEQUAL), "coupled")
    moved = coupling.combine(binaries(UNEQUAL, corpus_labels=first), "coupled")
    assert moved.labels == first
    np.testing.assert_array_equal(
        moved.predictions["id"].probabilities[:, [1, 2, 3, 0]],
        last.predictions["id"].probabilities,
    )
    assert moved.result["splits"]["id"]["auroc"] == last.result["splits"]["id"]["auroc"]


def with_probabilities(run, probabilities):
    """`run` saying the same two `probabilities` of every text."""
    predictions = {
        role: dataclasses.replace(
            p, probabilities=np.tile(np.float16(probabilities), (len(p.uid), 1))
        )
        for role, p in run.predictions.items()
    }
    return dataclasses.replace(run, predictions=predictions)


def test_stored_probabilities_bound_the_log_odds():
    run = with_probabilities(binaries(BALANCED)[0], (1.0, 0.0))
    bound = 24 * np.log(2)
    np.testing.assert_allclose(coupling._log_odds(run, "id", "human"), bound)
    back = with_probabilities(run, (0.0, 1.0))
    np.testing.assert_allclose(coupling._log_odds(back, "id", "human"), -bound)


def test_the_human_column_tells_what_a_machine_column_of_one_cannot():
    run = with_probabilities(binaries(BALANCED)[0], (1 - 1e-5, 1e-5))
    assert np.float16(1 - 1e-5) == 1
    np.testing.assert_allclose(expit(-coupling._log_odds(run, "id", "human")), 1e-5, rtol=2**-8)


def test_averages_too_close_for_float16_keep_their_winner():
    runs = binaries(BALANCED)
    sure = [(0.9999, 1e-4), (0.99999, 1e-5), (0.9999, 1e-4)]
    told = [with_probabilities(run, p) for run, p in zip(runs, sure, strict=True)]
    averaged = coupling.combine(told, "average").predictions["id"].probabilities
    assert (averaged.argmax(axis=1) == 1).all()
    np.testing.assert_allclose(averaged[:, :3].astype(float), 1 / 3, atol=2**-10)


def shuffled(run):
    predictions = {
        role: dataclasses.replace(p, uid=p.uid[::-1]) for role, p in run.predictions.items()
    }
    return dataclasses.replace(run, predictions=predictions)


def without_select(run):
    return dataclasses.replace(run, predictions={"id": run.predictions["id"]})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda r: [], "nothing to combine"),
        (lambda r: r[:2], "davinci"),
        (lambda r: [r[0], *r], "one each of"),
        (lambda r: [*r[:2], dataclasses.replace(r[2], seed=1)], "different seed"),
        (lambda r: [*r[:2], dataclasses.replace(r[2], setting="thesis")], "different setting"),
        (lambda r: [*r[:2], dataclasses.replace(r[2], labels=LABELS)], "one machine class"),
        (lambda r: [*r[:2], dataclasses.replace(r[2], labels=LABELS[:2])], "one machine class"),
        (
            lambda r: [*r[:2], dataclasses.replace(r[2], made_by={"fingerprint": "other"})],
            "different texts",
        ),
        (lambda r: [*r[:2], shuffled(r[2])], "predict different texts"),
        (lambda r: [*r[:2], without_select(r[2])], "'select'"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused_in_one_line(broken, message):
    with pytest.raises(UserError, match=message) as caught:
        coupling.combine(broken(binaries(BALANCED)), "coupled")
    assert "\n" not in str(caught.value)


def test_averaging_needs_no_select_texts():
    run = coupling.combine([without_select(r) for r in binaries(BALANCED)], "average")
    assert list(run.result["splits"]) == ["id"]
