"""metrics.py against scikit-learn, torchmetrics, scipy, statsmodels, and against simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from lowrank_da import metrics

# Confusion matrices


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_confusion_metrics_are_those_of_scikit_learn(pairs):
    true, predicted = np.array(pairs).T
    confusion = metrics.confusion_matrix(true, predicted, 4)
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(true, predicted, labels=range(4)))
    expected = sk.precision_recall_fscore_support(
        true, predicted, labels=range(4), zero_division=0
    )[:3]
    np.testing.assert_allclose(metrics.class_metrics(confusion), np.transpose(expected))
    macro = sk.f1_score(true, predicted, labels=range(4), average="macro", zero_division=0)
    assert metrics.macro_f1(confusion) == pytest.approx(macro)
    assert metrics.accuracy(confusion) == pytest.approx(sk.accuracy_score(true, predicted))


def test_macro_f1_and_accuracy_are_those_of_torchmetrics():
    rng = np.random.default_rng(1)
    true = rng.integers(4, size=500)
    predicted = np.where(rng.random(500) < 0.6, true, rng.integers(4, size=500))
    confusion = metrics.confusion_matrix(true, predicted, 4)
    tensors = torch.tensor(predicted), torch.tensor(true)
    f1 = multiclass_f1_score(*tensors, num_classes=4, average="macro")
    share = multiclass_accuracy(*tensors, num_classes=4, average="micro")
    assert metrics.macro_f1(confusion) == pytest.approx(float(f1), abs=1e-6)
    assert metrics.accuracy(confusion) == pytest.approx(float(share), abs=1e-6)


def test_balanced_accuracy_is_that_of_scikit_learn():
    rng = np.random.default_rng(6)
    true = rng.choice(3, size=200, p=[0.8, 0.15, 0.05])
    predicted = np.where(rng.random(200) < 0.5, true, 0)
    confusion = metrics.confusion_matrix(true, predicted, 4)
    expected = sk.balanced_accuracy_score(true, predicted)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(expected), "class 3 never occurs"


def test_a_stack_of_matrices_gives_what_each_gives_alone():
    stack = np.random.default_rng(2).integers(0, 9, size=(2, 5, 3, 3))
    functions = (metrics.macro_f1, metrics.accuracy, metrics.balanced_accuracy)
    for function in (metrics.class_metrics, *functions):
        alone = [[function(matrix) for matrix in row] for row in stack]
        np.testing.assert_array_equal(function(stack), np.array(alone))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_class_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"0\.\.2"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([0, wrong]), 3)


# Class weights


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_class_weights_are_scikit_learns_balanced_ones(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    own = metrics.class_weights({f"class {i}": n for i, n in enumerate(counts)})
    assert list(own) == [f"class {i}" for i in range(len(counts))]
    assert list(own.values()) == pytest.approx(expected)


# Ranking


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40).filter(
        lambda rows: len({positive for positive, _ in rows}) == 2
    ),
    st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]),
)
def test_auroc_and_tpr_are_those_of_scikit_learn_ties_included(rows, max_fpr):
    positive = np.array([row[0] for row in rows])
    score = np.array([row[1] / 6 for row in rows])
    assert metrics.auroc(positive, score) == pytest.approx(sk.roc_auc_score(positive, score))
    fpr, tpr, _ = sk.roc_curve(positive, score, drop_intermediate=False)
    expected = tpr[fpr <= max_fpr].max()
    assert metrics.tpr_at_fpr(positive, score, max_fpr=max_fpr) == pytest.approx(expected)


def test_a_false_positive_rate_of_exactly_the_limit_is_allowed():
    # One of 20 negatives lies above all positives, so the first threshold that pays costs 0.05.
    positive = np.arange(30) >= 20
    score = np.where(positive, 0.5, 0.1)
    score[0] = 0.9
    assert metrics.tpr_at_fpr(positive, score, max_fpr=0.05) == 1.0
    assert metrics.tpr_at_fpr(positive, score, max_fpr=0.049) == 0.0


def weighted():
    """40 texts in few scores, and three ways to weigh them: all alike, at random, some away."""
    rng = np.random.default_rng(2)
    positive, score = rng.random(40) < 0.5, rng.integers(8, size=40) / 8
    weights = np.stack([np.ones(40, int), rng.poisson(1.0, 40), 3 * (rng.random(40) < 0.3)])
    return positive, score, weights


def test_a_weight_is_how_often_a_text_is_there():
    positive, score, weights = weighted()
    auroc = metrics.auroc(positive, score, weights)
    tpr = metrics.tpr_at_fpr(positive, score, weights, max_fpr=0.2)
    threshold = metrics.threshold_at_fpr(positive, score, weights, max_fpr=0.2)
    for i, often in enumerate(weights):
        rows = np.repeat(np.arange(40), often)
        assert auroc[i] == pytest.approx(sk.roc_auc_score(positive, score, sample_weight=often))
        own = positive[rows], score[rows]
        assert auroc[i] == pytest.approx(metrics.auroc(*own))
        assert tpr[i] == pytest.approx(metrics.tpr_at_fpr(*own, max_fpr=0.2))
        blamed = (own[1] >= threshold[i])[~own[0]].mean()
        lower = (own[1] >= threshold[i] - 1 / 8)[~own[0]].mean()
        assert blamed <= 0.2 < lower
    assert metrics.auroc(positive, score) == auroc[0]
    assert metrics.tpr_at_fpr(positive, score, max_fpr=0.2) == tpr[0]
    assert metrics.threshold_at_fpr(positive, score, max_fpr=0.2) == threshold[0]


def lowest_allowed(positive, score, often, max_fpr):
    """By counting: the lowest of all thresholds between scores that blames few enough."""
    allowed = max_fpr * often[~positive].sum()
    scores = np.unique(score)
    between = [-np.inf, *((scores[1:] + scores[:-1]) / 2), np.inf]
    return min(t for t in between if often[~positive & (score >= t)].sum() <= allowed)


@pytest.mark.parametrize("max_fpr", [0.0, 0.05, 0.3, 1.0])
def test_a_threshold_is_the_lowest_that_is_allowed(max_fpr):
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        positive, score = rng.random(12) < 0.4, rng.integers(6, size=12) / 6
        often = rng.poisson(1.0, size=12)
        if positive.all() or not often[~positive].any():
            continue
        own = metrics.threshold_at_fpr(positive, score, often[np.newaxis], max_fpr=max_fpr)[0]
        assert own == lowest_allowed(positive, score, often, max_fpr)
        found.append(own)
    assert any(np.isinf(found))
    assert (max_fpr == 1.0) == all(np.isneginf(found))


def test_without_negatives_there_is_no_threshold():
    score = np.arange(3.0)
    with pytest.raises(ValueError, match="without negatives"):
        metrics.threshold_at_fpr(np.ones(3, dtype=bool), score, max_fpr=0.05)
    positive, weights = np.array([True, False, True]), np.array([[1, 0, 1], [1, 1, 1]])
    found = metrics.threshold_at_fpr(positive, score, weights, max_fpr=0.05)
    assert np.isnan(found).tolist() == [True, False]
    shares = metrics.shares(score >= found[:, np.newaxis], ~positive, weights)
    np.testing.assert_array_equal(shares, [np.nan, 0.0])


def test_a_class_that_is_weighed_away_leaves_no_ranking():
    positive, score, _ = weighted()
    gone = np.stack([positive, ~positive]).astype(int)
    assert np.isnan(metrics.auroc(positive, score, gone)).all()
    assert np.isnan(metrics.tpr_at_fpr(positive, score, gone, max_fpr=0.05)).all()


@pytest.mark.parametrize("only", [True, False])
def test_ranking_one_class_alone_is_undefined(only):
    positive, score = np.full(5, only), np.arange(5.0)
    assert np.isnan(metrics.auroc(positive, score))
    assert np.isnan(metrics.tpr_at_fpr(positive, score, max_fpr=0.05))


# Seeds


def test_mean_and_spread_over_seeds():
    mean, spread = metrics.mean_and_spread([0.7, 0.8, 0.9])
    assert (mean, spread) == (pytest.approx(0.8), pytest.approx(0.1))
    assert metrics.mean_and_spread([0.7]) == (0.7, None)


# Chance


@pytest.mark.parametrize("shares", [(100, 100, 100, 100), (300, 60, 30, 10)])
def test_no_guess_is_expected_to_beat_the_chance_level(shares):
    rng = np.random.default_rng(7)
    true = np.repeat(np.arange(4), shares)
    guesses = [np.eye(4)[0], np.full(4, 1 / 4), np.array(shares) / sum(shares)]
    guesses += list(rng.dirichlet(np.ones(4), size=5))
    means = []
    for guess in guesses:
        predicted = rng.choice(4, p=guess, size=(200, len(true)))
        stack = np.stack([metrics.confusion_matrix(true, p, 4) for p in predicted])
        means.append(metrics.macro_f1(stack).mean())
    assert max(means) <= metrics.chance_macro_f1(4) + 0.002
    # Guessing in proportion to the classes reaches it: the level is no needless hurdle.
    assert means[2] == pytest.approx(metrics.chance_macro_f1(4), abs=0.01)


# Paired tests


def flags(only_a, only_b, both=30):
    """Correctness of two classifiers with so many texts that only one of them gets right."""
    a = [True] * only_a + [False] * only_b + [True] * both
    b = [False] * only_a + [True] * only_b + [True] * both
    return np.array(a), np.array(b)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (3, 9), (12, 12), (20, 4)])
def test_mcnemar_is_the_exact_binomial_test_for_few_discordant_texts(only_a, only_b):
    expected = binomtest(only_a, only_a + only_b, 0.5).pvalue
    assert metrics.mcnemar(*flags(only_a, only_b)) == pytest.approx(expected)


@pytest.mark.parametrize(("only_a", "only_b"), [(20, 5), (60, 40), (30, 31)])
def test_mcnemar_is_chi_squared_with_continuity_correction_for_many(only_a, only_b):
    statistic = (abs(only_a - only_b) - 1) ** 2 / (only_a + only_b)
    assert metrics.mcnemar(*flags(only_a, only_b)) == pytest.approx(chi2.sf(statistic, 1))


def test_mcnemar_of_classifiers_that_err_alike_is_one():
    assert metrics.mcnemar(*flags(0, 0)) == 1.0


def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order():
    np.testing.assert_allclose(metrics.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert metrics.holm([0.2])[0] == 0.2
