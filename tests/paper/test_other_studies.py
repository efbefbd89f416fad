"""Tables and figures of studies that the thesis does not have, from invented records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from invented_records import LABELS, record, with_values
from scipy import stats
from sklearn.metrics import roc_curve
from sklearn.utils.extmath import randomized_svd

from lowrank_da import metrics, uncertainty
from lowrank_da.corpus import ID, SELECT
from lowrank_da.errors import UserError
from lowrank_da.run import PARTS, Run, score
from paper import estimate
from paper.figure import figures
from paper.figures.pareto import front
from paper.table import Records, SettingFacts, find
from paper.tables.comparison import compare
from paper.tables.effective_rank import effective_rank, first_share, random_rank
from paper.tables.spread import deviation

TWO = ("machine", "human")
FACTS = SettingFacts("without_arxiv", "machine_or_human", "minilm", TWO)
OOD = "ood/arxiv"
SKILLS = {"full": 2.0, "lp_ft": 2.6, "linear_probe": 1.0, "lora": 2.2}


def of(name: str, seed: int, skill: float) -> Run:
    roles = (SELECT, ID, OOD)
    return record(
        name, seed, corpus_labels=TWO, skill=skill, roles=roles, corpus="machine_or_human"
    )


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    return {name: [of(name, seed, skill) for seed in (0, 1, 2)] for name, skill in SKILLS.items()}


def rows(id: str, runs: dict[str, list[Run]]) -> list[tuple[str, ...]]:
    table = find(id)
    assert table.applies(runs)
    return [row for group in table.build(runs, FACTS, "en").body.groups for row in group]


# -- out of domain


def test_every_arm_has_a_row_at_home_and_elsewhere(runs: dict[str, list[Run]]) -> None:
    found = rows("out_of_domain", runs)
    assert [row[:2] for row in found] == [
        (name if role == ID else "", role) for name in sorted(SKILLS) for role in (ID, OOD)
    ]
    own = estimate.of_ranking(runs["lp_ft"], metrics.auroc, OOD).show()
    assert next(row for row in found[found.index(found[6]) :] if row[1] == OOD)[5] == own


def test_captions_count_the_texts_of_the_splits_shown(runs: dict[str, list[Run]]) -> None:
    for id, texts in (
        ("out_of_domain", "40–120 texts a split"),
        ("out_of_domain_against_full", "40 texts"),
    ):
        assert f"; {texts} evaluated; " in find(id).build(runs, FACTS, "en").caption


def test_an_arm_is_not_tested_against_itself(runs: dict[str, list[Run]]) -> None:
    twice = {"full": runs["full"], "lora": runs["lora"], "lp_ft": runs["full"]}
    for id, cells in (("out_of_domain_against_full", 4), ("against_full", 1)):
        found = {row[int("out" in id)]: row for row in rows(id, twice)}
        assert found["lp_ft"][2:] == ("the same training",) * cells + ("",) * (3 - cells)
        notes = " ".join(find(id).build(twice, FACTS, "en").body.notes)
        assert "out" in id or "1 of these differences" in notes


def test_the_home_threshold_is_set_on_select(runs: dict[str, list[Run]]) -> None:
    one = runs["lora"][:1]
    home, away = estimate.answers(one, SELECT), estimate.answers(one, OOD)
    fpr, _, thresholds = roc_curve(home.true == 0, home.machine_score[0], drop_intermediate=False)
    threshold = thresholds[fpr <= 0.05].min()
    blamed = away.machine_score[0] >= threshold
    alarms, hits = estimate.at_home_threshold(one, OOD).value[0]
    # Scores between the threshold and the next human text's at home are few.
    assert hits == pytest.approx(blamed[away.true == 0].mean(), abs=0.1)
    assert alarms == pytest.approx(blamed[away.true == 1].mean(), abs=0.1)
    there = estimate.at_home_threshold(one, SELECT)
    expected = metrics.tpr_at_fpr(home.true == 0, home.machine_score[0], max_fpr=0.05)
    assert there.value[0, 1] == pytest.approx(expected)
    assert there.value[0, 0] <= 0.05
    assert (there.drawn[:, 0, 0] <= 0.05).all(), "each resample sets its own threshold"


def test_a_threshold_found_on_few_texts_widens_the_rates(runs: dict[str, list[Run]]) -> None:
    one = runs["lora"][0]
    away = estimate.answers([one], OOD)
    alarms = estimate.at_home_threshold([one], OOD)
    home = estimate.answers([one], SELECT)
    threshold = metrics.threshold_at_fpr(home.true == 0, home.machine_score[0], max_fpr=0.05)
    human = (away.true == 1) * uncertainty.draws(away.group)
    taken_as_given = (human * (away.machine_score[0] >= threshold)).sum(axis=1) / human.sum(axis=1)
    assert alarms.drawn[:, 0, 0].std() > 1.2 * taken_as_given.std()


def test_pairs_elsewhere_are_tested_in_every_measure(runs: dict[str, list[Run]]) -> None:
    found = rows("out_of_domain_against_full", runs)
    names = [name for name in sorted(SKILLS) if name != "full"]
    assert [row[1] for row in found] == names
    assert [row[0] for row in found] == [OOD, "", ""]
    shown = {row[1]: row[2:] for row in found}["linear_probe"]
    values, p_values = zip(*(cell.split(", p ") for cell in shown), strict=True)

    def mean(name: str, of: Callable[[Run], float]) -> float:
        return float(np.mean([of(run) for run in runs[name]]))

    def balanced(run: Run, role: str) -> float:
        return float(metrics.balanced_accuracy(run.confusion(role)))

    measures: list[Callable[[Run], float]] = [
        lambda run: run.result["splits"][OOD]["macro_f1"],
        lambda run: run.result["splits"][OOD]["auroc"],
        lambda run: estimate.at_home_threshold([run], OOD).value[0, 0],
        lambda run: balanced(run, OOD) - balanced(run, ID),
    ]
    wanted = [mean("linear_probe", of) - mean("full", of) for of in measures]
    assert [float(v.split()[0]) for v in values] == pytest.approx(wanted, abs=0.00051)
    a, b = (
        estimate.confusion_by_seed(runs[n], metrics.macro_f1, OOD) for n in ("linear_probe", "full")
    )
    raw = uncertainty.difference(a, b).p_value
    assert raw <= float(p_values[0].removeprefix("< ")) <= 3 * raw + 1e-4
    assert (
        "over the tests of their column"
        in find("out_of_domain_against_full").build(runs, FACTS, "en").notes[0]
    )


def test_a_split_without_humans_has_no_ranking(runs: dict[str, list[Run]]) -> None:
    def bare(run: Run) -> Run:
        p = run.predictions[OOD]
        kept = p.label == 0
        cut = replace(p, **{part: getattr(p, part)[kept] for part in PARTS})
        splits = run.result["splits"] | {OOD: score(cut, run.labels, run.corpus_labels)}
        predictions = run.predictions | {OOD: cut}
        return replace(run, predictions=predictions, result=run.result | {"splits": splits})

    machines = {name: [bare(run) for run in runs[name]] for name in ("full", "lp_ft")}
    (row,) = rows("out_of_domain_against_full", machines)
    assert [bool(cell) for cell in row[2:]] == [True, False, False, True]
    assert {row[5:] for row in rows("out_of_domain", machines) if row[1] == OOD} == {("", "", "")}


def test_what_was_answered_on_other_texts_is_not_compared_elsewhere(
    runs: dict[str, list[Run]],
) -> None:
    fewer = []
    for run in runs["lora"]:
        p = run.predictions[OOD]
        cut = replace(p, **{part: getattr(p, part)[1:] for part in PARTS})
        fewer.append(replace(run, predictions=run.predictions | {OOD: cut}))
    with pytest.raises(UserError, match="lora and full answer different texts of ood/arxiv"):
        rows("out_of_domain_against_full", runs | {"lora": fewer})


def test_without_human_texts_rankings_are_blank() -> None:
    labels = ("ABBR", "LOC", "NUM")
    many = {
        name: [record(name, corpus_labels=labels, roles=(SELECT, ID, OOD), corpus="trec6")]
        for name in ("full", "prompt")
    }
    facts = SettingFacts("trec6", "trec6", "minilm", labels)
    built = find("out_of_domain").build(many, facts, "en").body
    assert {row[5:] for group in built.groups for row in group} == {("", "", "")}
    assert "AUROC" not in find("arms").build(many, facts, "en").body.header
    (row,) = find("out_of_domain_against_full").build(many, facts, "en").body.groups[0]
    assert [bool(cell) for cell in row] == [True, True, True, False, False, True]


# -- effective rank


def test_effective_rank_of_known_spectra() -> None:
    assert effective_rank(np.array([3.0, 3, 3, 3])) == pytest.approx(4)
    assert effective_rank(np.array([3.0, 0, 0])) == pytest.approx(1)
    assert effective_rank(np.zeros(3)) == first_share(np.zeros(3)) == 0
    assert first_share(np.array([3.0, 4.0])) == pytest.approx(0.64)
    spectrum = randomized_svd(np.random.default_rng(0).normal(size=(9, 4)), 4, random_state=0)[1]
    p = spectrum / spectrum.sum()
    assert effective_rank(spectrum) == pytest.approx(np.prod(p**-p))


def test_the_table_of_effective_ranks(runs: dict[str, list[Run]]) -> None:
    assert not find("effective_rank").applies(runs)
    lora = [with_values(run, [1.0, 1.0], [2.0, 0.0]) for run in runs["lora"]]
    (row,) = rows("effective_rank", runs | {"lora": lora})
    assert row[0] == "lora"
    chance = f"{random_rank(384, 384, 2):.2f}"
    assert row[2:] == ("2", "1.50 ± 0.00", "1.00–2.00", chance, "0.75 ± 0.00")


@pytest.mark.parametrize("shape", [(384, 1536, 8), (20, 10, 3)])
def test_random_factors_spread_over_nearly_all_directions(shape: tuple[int, int, int]) -> None:
    rows, columns, rank = shape
    rng = np.random.default_rng(1)
    factors = ((rng.normal(size=(rows, rank)), rng.normal(size=(rank, columns))) for _ in range(20))
    ranks = [effective_rank(np.linalg.svd(a @ b, compute_uv=False)) for a, b in factors]
    assert random_rank(*shape) == pytest.approx(np.mean(ranks), abs=4 * np.std(ranks) + 1e-9)
    assert 0.8 * rank < random_rank(*shape) < rank


# -- figures


def test_the_front_is_what_no_other_beats() -> None:
    def point(name: str, x: float, y: float) -> tuple[str, float, estimate.Estimate]:
        return name, x, estimate.Estimate(y, y, y, None)

    points = [point("a", 3, 0.5), point("b", 1, 0.4), point("c", 2, 0.3), point("d", 1, 0.2)]
    assert [name for name, *_ in front(points)] == ["b", "a"]


def test_figures_are_drawn_where_they_apply(runs: dict[str, list[Run]], tmp_path: Path) -> None:
    thesis = {"full": [record("full")], "lora": [record("lora")]}
    prompts = {
        f"prompt_{tokens}_{start}": [of(f"prompt_{tokens}_{start}", seed, 1.0) for seed in (0, 1)]
        for tokens in (1, 20)
        for start in ("random", "text")
    }
    for some, ids in (
        (thesis, {"confusion", "confusion_full", "confusion_lora", "cost"}),
        (runs, {"elsewhere", "pareto"}),
        (prompts, {"elsewhere", "pareto", "prompts"}),
    ):
        applying = [figure for figure in figures() if figure.applies(some)]
        assert {figure.id for figure in applying} <= ids
        assert applying
        if some is not thesis:
            assert {figure.id for figure in applying} == ids
            for figure in applying:
                paths = figure.write(Records(some, FACTS, "ru"), tmp_path)
                assert all(path.stat().st_size > 1000 for path in paths)


def test_the_thesis_keeps_its_own_tables() -> None:
    thesis = {"full": [record("full")], "lora": [record("lora")]}
    assert len(LABELS) == 4
    for id in ("out_of_domain", "out_of_domain_against_full", "effective_rank"):
        assert not find(id).applies(thesis)


# -- the spread of prompts over seeds


def prompts(seeds: int, skills: dict[str, float]) -> dict[str, list[Run]]:
    """Arms of two lengths; a start's seeds lie apart by its `skills`."""
    return {
        f"prompt_{tokens}_{start}": [
            of(f"prompt_{tokens}_{start}", seed, 0.5 + apart * seed) for seed in range(seeds)
        ]
        for tokens in (20, 1)
        for start, apart in skills.items()
    }


def test_the_spread_has_its_interval_and_one_test_a_length() -> None:
    runs = prompts(5, {"random": 1.0, "text": 0.0})
    found = rows("spread", runs)
    assert [row[:2] for row in found] == [
        (tokens, start) for tokens in ("1", "20") for start in ("random", "text")
    ]
    f1 = {
        name: np.array([float(metrics.macro_f1(run.confusion(ID))) for run in several])
        for name, several in runs.items()
    }
    for tokens, start, *_, said, ends, _ in found:
        own = f1[f"prompt_{tokens}_{start}"]
        assert said.startswith(f"{own.std(ddof=1):.3f} [")
        assert ends == f"{own.min():.3f}–{own.max():.3f}"
    # Brown-Forsythe: an analysis of variance of distances from the median.
    raw = {
        tokens: stats.f_oneway(
            *(np.abs(own - np.median(own)) for name, own in f1.items() if f"_{tokens}_" in name)
        ).pvalue
        for tokens in (1, 20)
    }
    adjusted = metrics.holm(list(raw.values()))
    said = ["< 0.0001" if p < 0.0001 else f"{p:.4f}" for p in adjusted]
    assert [row[7] for row in found] == ["", said[0], "", said[1]]
    for row, tokens in ((found[1], 1), (found[3], 20)):
        test = compare(runs[f"prompt_{tokens}_text"], runs[f"prompt_{tokens}_random"])
        assert test.difference.show().startswith(f"{row[3]} ±")
        assert test.p_value < float(row[4]) <= 2 * test.p_value + 1e-4
    assert [row[3:5] for row in found[::2]] == [("", ""), ("", "")]


def test_prompts_are_held_to_the_spread_of_lora_where_it_is() -> None:
    runs = prompts(5, {"random": 1.0, "text": 0.0})
    assert "lora" not in find("spread").build(runs, FACTS, "en").body.header[-1]
    others = {
        "lora": [of("lora", seed, 0.5 + 0.02 * seed) for seed in range(5)],
        "linear_probe": [of("linear_probe", seed, 0.5) for seed in range(5)],
    }
    body = find("spread").build(runs | others, FACTS, "en").body
    assert body.header[-1] == "p, equal spread to lora (Holm)"
    assert [len(group) for group in body.groups] == [2, 2, 2]
    *rows_, probe, lora = [row for group in body.groups for row in group]
    assert (probe[:2], lora[:2]) == (("linear_probe", ""), ("lora", ""))
    assert lora[-1] == ""
    f1 = {
        row[:2]: [float(metrics.macro_f1(run.confusion(ID))) for run in several]
        for row, several in zip(
            (*rows_, probe),
            [runs[f"prompt_{row[0]}_{row[1]}"] for row in rows_] + [others["linear_probe"]],
            strict=True,
        )
    }
    reference = [float(metrics.macro_f1(run.confusion(ID))) for run in others["lora"]]
    raw = [stats.levene(own, reference, center="median").pvalue for own in f1.values()]
    said = ["< 0.0001" if p < 0.0001 else f"{p:.4f}" for p in metrics.holm(raw)]
    assert [row[-1] for row in (*rows_, probe)] == said


def test_a_deviations_interval_covers_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(scale=2.0, size=(4000, 5))
    ends = np.array([deviation(sample)[1:] for sample in samples])
    covered = (ends[:, 0] < 2.0) & (ends[:, 1] > 2.0)
    assert 0.94 < covered.mean() < 0.96


def test_a_spread_needs_seeds() -> None:
    assert all(row[5] == "-" and row[7] == "" for row in rows("spread", prompts(1, {"text": 0.0})))
    both = rows("spread", prompts(1, {"random": 0.0, "text": 0.0}))
    assert [row[7] for row in both] == [""] * 4
    one_length = {n: r for n, r in prompts(3, {"text": 0.0}).items() if "_20_" in n}
    assert not find("spread").applies(one_length)


def test_trials_alone_fill_no_table_of_the_thesis() -> None:
    for name in ("grid/adapter--lr1.0e-03", "grid/rank_8"):
        trials = {name: [record(name, roles=(SELECT,))]}
        for id in ("1", "4", "summary", "arms", "comparisons"):
            assert not find(id).applies(trials), (name, id)
    own = {"grid/lora--lr1.0e-03": [record("grid/lora--lr1.0e-03", roles=(SELECT,))]}
    assert find("summary").applies(own)
