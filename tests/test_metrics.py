"""metrics.py against scikit-learn, torchmetrics, scipy, statsmodels, and against simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, chi2
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from lowrank_da import metrics


def noisy(rng, true, classes, right):
    """Predictions that are `true` with probability `right`, else a uniform guess."""
    return np.where(rng.random(true.shape) < right, true, rng.integers(classes, size=true.shape))


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
    predicted = noisy(rng, true, 4, 0.6)
    confusion = metrics.confusion_matrix(true, predicted, 4)
    tensors = torch.tensor(predicted), torch.tensor(true)
    f1 = multiclass_f1_score(*tensors, num_classes=4, average="macro")
    share = multiclass_accuracy(*tensors, num_classes=4, average="micro")
    assert metrics.macro_f1(confusion) == pytest.approx(float(f1), abs=1e-6)
    assert metrics.accuracy(confusion) == pytest.approx(float(share), abs=1e-6)


def test_a_stack_of_matrices_gives_what_each_gives_alone():
    stack = np.random.default_rng(2).integers(0, 9, size=(2, 5, 3, 3))
    for function in (metrics.class_metrics, metrics.macro_f1, metrics.accuracy):
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
    assert metrics.tpr_at_fpr(positive, score, max_fpr) == pytest.approx(expected)


def test_a_false_positive_rate_of_exactly_the_limit_is_allowed():
    # One of 20 negatives lies above all positives, so the first threshold that pays costs 0.05.
    positive = np.arange(30) >= 20
    score = np.where(positive, 0.5, 0.1)
    score[0] = 0.9
    assert metrics.tpr_at_fpr(positive, score, 0.05) == 1.0
    assert metrics.tpr_at_fpr(positive, score, 0.049) == 0.0


@pytest.mark.parametrize("only", [True, False])
def test_ranking_one_class_alone_is_undefined(only):
    positive, score = np.full(5, only), np.arange(5.0)
    assert np.isnan(metrics.auroc(positive, score))
    assert np.isnan(metrics.tpr_at_fpr(positive, score, 0.05))


# Intervals


@pytest.fixture
def judged():
    """300 texts of unequal classes, two seeds of one classifier and three of a better one."""
    rng = np.random.default_rng(3)
    true = rng.choice(3, size=300, p=[0.5, 0.3, 0.2])
    worse = np.stack([noisy(rng, true, 3, 0.5) for _ in range(2)])
    better = np.stack([noisy(rng, true, 3, 0.8) for _ in range(3)])
    return true, worse, better


def test_the_multinomial_bootstrap_is_the_bootstrap_over_texts(judged):
    true, worse, _ = judged

    def by_index(true, predicted):
        return metrics.macro_f1(metrics.confusion_matrix(true, predicted, 3))

    fast = metrics.mean_interval(true, worse[:1], 3, resamples=20000)
    naive = metrics.interval(by_index, true, worse[0], resamples=4000, seed=1)
    assert fast.low == pytest.approx(naive.low, abs=0.005)
    assert fast.high == pytest.approx(naive.high, abs=0.005)
    assert fast.low < by_index(true, worse[0]) < fast.high


def test_a_statistic_of_any_shape_has_an_interval_for_each_number(judged):
    true, worse, _ = judged
    every = metrics.mean_interval(true, worse, 3, metrics.class_metrics)
    assert every.low.shape == every.high.shape == (3, 3)
    one = metrics.mean_interval(true, worse, 3, lambda c: metrics.class_metrics(c)[..., 2, 1])
    assert (every.low[2, 1], every.high[2, 1]) == (one.low, one.high)


def test_the_mean_over_seeds_is_resampled_by_texts_shared_among_seeds_and_by_seeds(judged):
    true, worse, _ = judged
    rng = np.random.default_rng(5)

    def by_index(true, *seeds):
        both = [metrics.confusion_matrix(true, one, 3) for one in seeds]
        f1 = metrics.macro_f1(np.stack(both))
        return float(f1.mean() + (f1[rng.integers(2, size=2)].mean() - f1.mean()) * 2**0.5)

    fast = metrics.mean_interval(true, worse, 3, resamples=20000)
    naive = metrics.interval(by_index, true, *worse, resamples=4000, seed=1)
    assert fast.low == pytest.approx(naive.low, abs=0.005)
    assert fast.high == pytest.approx(naive.high, abs=0.005)


def test_seeds_that_lie_apart_widen_the_interval(judged):
    true, worse, better = judged
    apart = np.stack([worse[0], better[0]])
    over_texts = metrics.bootstrap_confusions(true, apart, 3)
    f1 = metrics.macro_f1(over_texts).mean(axis=1)
    found = metrics.mean_interval(true, apart, 3)
    assert found.high - found.low > 2 * np.subtract(*np.quantile(f1, [0.975, 0.025]))


def test_drawn_seeds_are_a_bootstrap_over_seeds():
    values = np.tile([[1.0, 2.0, 6.0]], (20000, 1))
    means = metrics.mean_of_drawn_seeds(values, 0)
    assert means.mean() == pytest.approx(3, abs=0.05)
    assert means.var() == pytest.approx(np.var([1, 2, 6], ddof=1) / 3, rel=0.05)
    assert (metrics.mean_of_drawn_seeds(values, 0, 2) != means).any()
    one = np.arange(12.0).reshape(4, 1, 3)
    np.testing.assert_array_equal(metrics.mean_of_drawn_seeds(one, 0), one[:, 0])


def test_seeds_that_agree_on_every_text_do_not_narrow_the_interval(judged):
    true, worse, _ = judged
    same = np.repeat(worse[:1], 3, axis=0)
    once = metrics.mean_interval(true, worse[:1], 3)
    again = metrics.mean_interval(true, same, 3)
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_bootstrap_confusions_keep_the_number_of_texts_and_the_mean(judged):
    true, worse, _ = judged
    stacks = metrics.bootstrap_confusions(true, worse, 3, resamples=4000)
    assert stacks.shape == (4000, 2, 3, 3)
    assert (stacks.sum(axis=(-2, -1)) == len(true)).all()
    # Both classifiers saw the same resampled texts.
    np.testing.assert_array_equal(stacks[:, 0].sum(-1), stacks[:, 1].sum(-1))
    own = np.stack([metrics.confusion_matrix(true, one, 3) for one in worse])
    np.testing.assert_allclose(stacks.mean(axis=0), own, atol=1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    cells = rng.dirichlet(np.ones(16)) + np.eye(4).ravel() / 4
    cells /= cells.sum()
    truth = metrics.macro_f1((cells * 10**9).astype(np.int64).reshape(4, 4))
    samples = rng.multinomial(400, cells, size=500).reshape(-1, 4, 4)
    true, predicted = np.divmod(np.arange(16), 4)
    found = [
        metrics.mean_interval(np.repeat(true, n), np.repeat(predicted, n)[None], 4, resamples=500)
        for n in samples.reshape(-1, 16)
    ]
    coverage = np.mean([own.low <= truth <= own.high for own in found])
    # 500 trials at 0.95 have a standard error of 0.01.
    assert 0.92 < coverage < 0.98


def test_the_same_seed_gives_the_same_interval_and_a_higher_level_a_wider_one(judged):
    true, worse, _ = judged

    def of(**arguments):
        return metrics.mean_interval(true, worse, 3, metrics.macro_f1, **arguments)

    assert of() == of()
    assert of(seed=1) != of()
    assert of(level=0.99).low < of().low < of().high < of(level=0.99).high


def test_the_interval_of_auroc_agrees_with_scipy():
    rng = np.random.default_rng(5)
    positive = rng.random(300) < 0.5
    score = rng.normal(size=300) + positive
    own = metrics.interval(metrics.auroc, positive, score)
    scipys = bootstrap(
        (positive, score),
        sk.roc_auc_score,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=1000,
        rng=np.random.default_rng(6),
    ).confidence_interval
    assert own.low == pytest.approx(scipys.low, abs=0.01)
    assert own.high == pytest.approx(scipys.high, abs=0.01)


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


def test_the_paired_bootstrap_finds_a_difference_and_is_antisymmetric(judged):
    true, worse, better = judged
    test = metrics.paired_bootstrap(true, better, worse, 3)
    f1 = {
        name: np.mean([sk.f1_score(true, one, average="macro") for one in predicted])
        for name, predicted in (("worse", worse), ("better", better))
    }
    assert test.difference == pytest.approx(f1["better"] - f1["worse"])
    assert 0 < test.interval.low < test.difference < test.interval.high
    assert test.p_value == pytest.approx(2 / 2001)
    back = metrics.paired_bootstrap(true, worse, better, 3)
    assert back.difference == pytest.approx(-test.difference)
    assert back.interval.high == pytest.approx(-test.interval.low, abs=0.01)


def test_the_paired_bootstrap_is_the_one_over_texts(judged):
    true, worse, better = judged

    def by_index(true, a, b):
        f1 = [metrics.macro_f1(metrics.confusion_matrix(true, one, 3)) for one in (a, b)]
        return f1[0] - f1[1]

    fast = metrics.paired_bootstrap(true, better[0], worse[0], 3, resamples=20000).interval
    naive = metrics.interval(by_index, true, better[0], worse[0], resamples=4000, seed=1)
    assert fast.low == pytest.approx(naive.low, abs=0.005)
    assert fast.high == pytest.approx(naive.high, abs=0.005)


def test_equal_predictions_differ_by_nothing_with_p_one(judged):
    true, worse, _ = judged
    test = metrics.paired_bootstrap(true, worse[0], worse[0], 3)
    assert test == metrics.PairedTest(0.0, metrics.Interval(0.0, 0.0), 1.0)


def test_the_paired_bootstrap_rejects_equally_good_classifiers_about_as_often_as_it_says():
    rng = np.random.default_rng(9)
    true = np.repeat(np.arange(3), 60)
    p_values = [
        metrics.paired_bootstrap(
            true, noisy(rng, true, 3, 0.6), noisy(rng, true, 3, 0.6), 3, resamples=300
        ).p_value
        for _ in range(400)
    ]
    # 400 trials at 0.05 have a standard error of 0.011.
    assert 0.015 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order():
    np.testing.assert_allclose(metrics.holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert metrics.holm([0.2])[0] == 0.2
