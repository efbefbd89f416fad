"""uncertainty.py against scipy's bootstrap, and against simulation: how often do intervals hold?"""

import numpy as np
import pytest
from scipy.stats import bootstrap, t, ttest_ind
from sklearn import metrics as sk

from lowrank_da import metrics, uncertainty
from lowrank_da.uncertainty import BySeed


def noisy(rng, true, classes, right):
    """Predictions that are `true` with probability `right`, else a uniform guess."""
    return np.where(rng.random(true.shape) < right, true, rng.integers(classes, size=true.shape))


def alone(n, first=0):
    """Every text in a group of its own."""
    return np.arange(first, first + n, dtype=np.uint64)


@pytest.fixture
def judged():
    """300 texts of unequal classes, two seeds of one classifier and three of a better one."""
    rng = np.random.default_rng(3)
    true = rng.choice(3, size=300, p=[0.5, 0.3, 0.2])
    worse = np.stack([noisy(rng, true, 3, 0.5) for _ in range(2)])
    better = np.stack([noisy(rng, true, 3, 0.8) for _ in range(3)])
    return true, worse, better


def f1_interval(true, predicted, **options):
    """Of macro-F1, every text alone."""
    groups = options.pop("groups", alone(len(true)))
    level = options.pop("level", 0.95)
    drawn = uncertainty.of_confusion(metrics.macro_f1, true, predicted, 3, groups, **options)
    return drawn.mean().interval(level)


def scipys(statistic, *columns):
    """SciPy's percentile bootstrap over rows."""
    found = bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=3000,
        rng=np.random.default_rng(6),
    )
    return found.confidence_interval


# -- texts


def test_texts_are_drawn_as_often_as_poisson_says_and_groups_together():
    groups = np.repeat(alone(400), 2)
    often = uncertainty.draws(groups, 2000)
    assert often.shape == (2000, 800)
    np.testing.assert_array_equal(often[:, ::2], often[:, 1::2])
    assert often.mean() == pytest.approx(1, abs=0.01)
    assert often.astype(float).var() == pytest.approx(1, abs=0.02)
    apart = np.corrcoef(often[:, ::2].T.astype(float))
    assert abs(apart[~np.eye(400, dtype=bool)]).max() < 0.12, "groups know nothing of each other"


def test_a_groups_draws_are_its_own_wherever_it_stands():
    whole, part = uncertainty.draws(alone(9)), uncertainty.draws(alone(9)[[7, 2, 2]])
    np.testing.assert_array_equal(part, whole[:, [7, 2, 2]])
    large = uncertainty.draws(np.array([2**63, 2**63 + 1], dtype=np.uint64))
    assert (large[:, 0] != large[:, 1]).any(), "hashes that are equal as floating point numbers"
    assert (uncertainty.draws(alone(9), seed=1) != whole).any()


def test_over_texts_alone_it_is_scipys_bootstrap(judged):
    true, worse, better = judged

    def f1(true, predicted):
        return metrics.macro_f1(metrics.confusion_matrix(true, predicted, 3))

    own, theirs = f1_interval(true, worse[:1]), scipys(f1, true, worse[0])
    assert (own.low, own.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)
    pair = uncertainty.paired(true, better[0], worse[0], 3, alone(300)).interval()
    theirs = scipys(lambda true, a, b: f1(true, a) - f1(true, b), true, better[0], worse[0])
    assert (pair.low, pair.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)


def test_the_interval_of_auroc_agrees_with_scipy():
    rng = np.random.default_rng(5)
    positive = rng.random(300) < 0.5
    score = rng.normal(size=300) + positive
    drawn = uncertainty.of_ranking(metrics.auroc, positive, score[np.newaxis], alone(300))
    own, theirs = drawn.mean().interval(), scipys(sk.roc_auc_score, positive, score)
    assert drawn.value == pytest.approx([sk.roc_auc_score(positive, score)])
    assert (own.low, own.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)


def test_texts_in_groups_of_alike_ones_tell_less(judged):
    true, worse, _ = judged
    four = np.repeat(true, 4), np.repeat(worse[:1], 4, axis=1)
    by_group = f1_interval(*four, groups=np.repeat(alone(300), 4))
    by_text = f1_interval(*four)
    once = f1_interval(true, worse[:1])
    assert (by_group.low, by_group.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert by_group.high - by_group.low > 1.8 * (by_text.high - by_text.low)


def test_confusions_are_those_of_the_drawn_texts(judged):
    true, worse, _ = judged
    often = uncertainty.draws(alone(300), 50)
    stacks = uncertainty.confusions(true, worse, 3, often)
    for r in (0, 49):
        for s in (0, 1):
            expected = sk.confusion_matrix(true, worse[s], sample_weight=often[r], labels=range(3))
            np.testing.assert_array_equal(stacks[r, s], expected)


def test_a_statistic_of_any_shape_has_an_interval_for_each_number(judged):
    true, worse, _ = judged
    every = uncertainty.of_confusion(metrics.class_metrics, true, worse, 3, alone(300)).mean()
    assert every.value.shape == every.interval().low.shape == (3, 3)

    def recall_of_two(confusion):
        return metrics.class_metrics(confusion)[..., 2, 1]

    one = uncertainty.of_confusion(recall_of_two, true, worse, 3, alone(300)).mean().interval()
    assert every.interval().low[2, 1] == one.low
    assert every.interval().high[2, 1] == one.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    cells = rng.dirichlet(np.ones(9)) + np.eye(3).ravel() / 3
    cells /= cells.sum()
    truth = metrics.macro_f1((cells * 10**9).astype(np.int64).reshape(3, 3))
    true, predicted = np.divmod(np.arange(9), 3)
    found = [
        f1_interval(np.repeat(true, n), np.repeat(predicted, n)[np.newaxis], resamples=500)
        for n in rng.multinomial(400, cells, size=500)
    ]
    # 500 trials at 0.95 have a standard error of 0.01.
    assert 0.92 < np.mean([own.low <= truth <= own.high for own in found]) < 0.98


# -- seeds


def test_without_texts_that_vary_the_interval_is_students():
    values = np.array([0.7, 0.75, 0.9])
    own = BySeed(values, np.tile(values, (200_000, 1))).mean().interval()
    theirs = t.interval(0.95, 2, loc=values.mean(), scale=values.std(ddof=1) / 3**0.5)
    assert (own.low, own.high) == pytest.approx(theirs, abs=0.01)


def test_one_seed_says_nothing_of_seeds(judged):
    true, worse, _ = judged
    drawn = uncertainty.of_confusion(metrics.macro_f1, true, worse[:1], 3, alone(300))
    np.testing.assert_array_equal(drawn.mean().drawn, drawn.drawn[:, 0])


def test_seeds_that_agree_on_every_text_do_not_narrow_the_interval(judged):
    true, worse, _ = judged
    once, again = (f1_interval(true, np.repeat(worse[:1], n, axis=0)) for n in (1, 3))
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize("spread", [0.01, 0.06])
def test_with_three_seeds_it_holds_at_least_as_often_as_it_says(spread):
    rng, held, drawn_again = np.random.default_rng(1), [], []
    for _ in range(400):
        skill = 0.8 + spread * rng.standard_normal(3)
        right = rng.random(300)[np.newaxis] < skill[:, np.newaxis]
        rest = (np.ones(300, dtype=int), right.astype(int), 2, alone(300))
        by_seed = uncertainty.of_confusion(metrics.accuracy, *rest, resamples=500)
        own = by_seed.mean().interval()
        held.append(own.low <= 0.8 <= own.high)
        which = rng.integers(3, size=(500, 3))
        low, high = np.quantile(np.take_along_axis(by_seed.drawn, which, 1).mean(1), [0.025, 0.975])
        drawn_again.append(low <= 0.8 <= high)
    assert np.mean(held) > 0.93, "400 trials at 0.95 have a standard error of 0.011"
    if spread == 0.06:
        assert np.mean(drawn_again) < 0.9, "seeds drawn again: why Student's t is needed"


def still(of_seeds, resamples=1000):
    """Numbers of seeds that other texts do not move."""
    return BySeed(np.asarray(of_seeds), np.tile(of_seeds, (resamples, 1)))


def test_a_difference_of_means_has_the_degrees_of_freedom_of_welch():
    a, b = np.array([0.7, 0.75, 0.9]), np.array([0.5, 0.52, 0.51, 0.56])
    test = uncertainty.difference(still(a, 200_000), still(b, 200_000))
    theirs = ttest_ind(a, b, equal_var=False)
    ends = theirs.confidence_interval(0.95)
    assert (test.interval().low, test.interval().high) == pytest.approx(tuple(ends), abs=0.01)
    assert test.p_value == pytest.approx(theirs.pvalue, rel=0.05)


@pytest.mark.parametrize("compared", [False, True], ids=["a mean", "a difference"])
def test_what_a_seed_does_to_several_arms_does_not_average_out(compared):
    rng, held = np.random.default_rng(12), {"seed by seed": [], "as if apart": []}

    def arms():
        """Eight, whose three seeds do something to all of them alike."""
        shared = rng.standard_normal(3)
        return [shared + rng.standard_normal(3) for _ in range(8)]

    for _ in range(300):
        groups = [arms() for _ in range(1 + compared)]
        averaged = [BySeed.average([still(own) for own in group]) for group in groups]
        apart = [still(np.concatenate(group)) for group in groups]
        for how, several in (("seed by seed", averaged), ("as if apart", apart)):
            mean = uncertainty.difference(*several) if compared else several[0].mean()
            held[how].append(mean.interval().low <= 0 <= mean.interval().high)
    assert np.mean(held["seed by seed"]) > 0.91, "300 trials at 0.95: a standard error of 0.013"
    assert np.mean(held["as if apart"]) < 0.8, "why several arms are averaged seed by seed"


def test_numbers_of_one_classifier_are_subtracted_and_averaged_seed_by_seed():
    a, b = (
        BySeed(np.array([3.0]), np.array([[3.0], [4]])),
        BySeed(np.ones(1), np.array([[2.0], [1]])),
    )
    assert ((a - b).value.tolist(), (a - b).drawn.tolist()) == ([2], [[1], [3]])
    both = BySeed.average([a, b])
    assert (both.value.tolist(), both.drawn.tolist()) == ([2], [[2.5], [2.5]])


# -- tests


def test_a_difference_is_found_and_antisymmetric(judged):
    true, worse, better = judged
    test = uncertainty.paired(true, better, worse, 3, alone(300))
    f1 = [
        np.mean([sk.f1_score(true, one, average="macro") for one in predicted])
        for predicted in (better, worse)
    ]
    assert test.value == pytest.approx(f1[0] - f1[1])
    sure = uncertainty.paired(true, better[0], worse[0], 3, alone(300))
    assert 0 < sure.interval().low < sure.value < sure.interval().high
    assert sure.p_value == pytest.approx(2 / 2001)
    back = uncertainty.paired(true, worse[0], better[0], 3, alone(300))
    assert back.value == -sure.value
    assert back.interval().high == pytest.approx(-sure.interval().low)


def test_equal_predictions_differ_by_nothing_with_p_one(judged):
    true, worse, _ = judged
    test = uncertainty.paired(true, worse[0], worse[0], 3, alone(300))
    assert (test.value, test.interval(), test.p_value) == (0, uncertainty.Interval(0, 0), 1)


def test_draws_without_a_number_count_neither_for_nor_against():
    drawn = np.linspace(-1, 9, 1000)
    half = np.where(np.arange(1000) % 2, drawn, np.nan)
    whole, part = (uncertainty.Mean(np.array(4.0), one) for one in (drawn, half))
    assert part.p_value == pytest.approx(whole.p_value, abs=0.005)
    assert np.isnan(uncertainty.Mean(np.array(np.nan), np.full(9, np.nan)).p_value)


def test_equally_good_classifiers_are_told_apart_about_as_often_as_it_says():
    rng = np.random.default_rng(9)
    true = np.repeat(np.arange(3), 60)
    p_values = [
        uncertainty.paired(
            true,
            noisy(rng, true, 3, 0.6),
            noisy(rng, true, 3, 0.6),
            3,
            alone(180, first=180 * i),
            resamples=300,
        ).p_value
        for i in range(400)
    ]
    # 400 trials at 0.05 have a standard error of 0.011.
    assert 0.015 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_three_seeds_each_are_told_apart_no_more_often_than_it_says():
    rng = np.random.default_rng(10)
    true, p_values = np.repeat(np.arange(3), 40), []
    for i in range(200):
        said = [
            np.stack([noisy(rng, true, 3, 0.6 + 0.08 * rng.standard_normal()) for _ in range(3)])
            for _ in range(2)
        ]
        groups = alone(120, first=120 * i)
        p_values.append(uncertainty.paired(true, *said, 3, groups, resamples=300).p_value)
    assert np.mean(np.array(p_values) <= 0.05) < 0.08
