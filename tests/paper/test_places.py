"""LoRA by place and start: the mean over other choices, and the picture."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from invented_records import record
from scipy import stats

from lowrank_da.corpus import ID
from lowrank_da.run import Run
from paper.figure import figures
from paper.table import Records, SettingFacts, find
from paper.tables.main_effects import FACTORS, placed

TWO = ("machine", "human")
FACTS = SettingFacts("without_arxiv", "machine_or_human", "minilm", TWO)


def places(seeds: Sequence[int] = (0, 1, 2)) -> dict[str, list[Run]]:
    """Every arm of the study over places; those on all maps are the best."""
    names = ["_".join(levels) for levels in itertools.product(*FACTORS.values())]
    return {n: [record(n, s, skill=2 + n.startswith("all")) for s in seeds] for n in names}


def test_a_choice_is_judged_in_the_mean_over_the_others() -> None:
    every = places()
    built = find("main_effects").build(every, FACTS, "en").body
    assert [row[1] for group in built.groups for row in group] == list(
        itertools.chain(*FACTORS.values())
    )

    def mean(factor: str, level: str) -> float:
        own = [n for n, levels in placed(every).items() if levels[factor] == level]
        return float(np.mean([r.result["splits"][ID]["macro_f1"] for n in own for r in every[n]]))

    for factor, group in zip(FACTORS, built.groups, strict=True):
        for row in group:
            assert float(row[2].split()[0]) == pytest.approx(mean(factor, row[1]), abs=0.00051)
        for row in group[1:]:
            wanted = mean(factor, row[1]) - mean(factor, group[0][1])
            assert float(row[3].split()[0]) == pytest.approx(wanted, abs=0.00051)
    (maps, layers, start) = built.groups
    assert all(float(row[4].removeprefix("< ")) < 0.05 for row in maps[1:]), "made worse"
    assert all(float(row[4]) > 0.05 for row in (*layers[1:], *start[1:])), "made alike"


def test_a_choice_is_tested_seed_by_seed() -> None:
    every = places()
    (*_, start) = find("main_effects").build(every, FACTS, "en").body.groups
    by_seed = {
        level: np.mean(
            [
                [run.result["splits"][ID]["macro_f1"] for run in runs]
                for name, runs in every.items()
                if name.endswith(level)
            ],
            axis=0,
        )
        for level in FACTORS["start"]
    }
    of_seeds = stats.ttest_ind(by_seed["gaussian"], by_seed["kaiming"], equal_var=False)
    low, high = of_seeds.confidence_interval(0.95)
    numbers = re.findall(r"-?\d\.\d+", start[1][3])
    assert float(numbers[1]) < low < high < float(numbers[2]), "texts move it, too"


def test_with_a_combination_missing_no_choice_is_judged() -> None:
    table, fewer, one_seed = find("main_effects"), places((0,)), places((0, 1))
    del fewer["qv_half_kaiming"]
    one_seed["ffn_two_gaussian"].pop()
    for runs, missing in (
        (fewer, "qv_half_kaiming (seed 0)"),
        (one_seed, "ffn_two_gaussian (seed 1)"),
    ):
        built = table.build(runs, FACTS, "en")
        assert {row[2:] for group in built.body.groups for row in group} == {("-", "-", "-")}
        assert built.notes[-1] == f"Missing runs: {missing}."
    assert not table.applies({"all_all_kaiming": fewer["all_all_kaiming"]})


def test_a_level_that_is_nowhere_is_not_missed() -> None:
    two = {n: r for n, r in places((0,)).items() if "_all_" not in n and "gaussian" not in n}
    built = find("main_effects").build(two, FACTS, "en")
    assert [[row[1] for row in group] for group in built.body.groups] == [
        ["all", "qv", "attention", "ffn"],
        ["half", "two"],
        ["kaiming"],
    ]
    assert built.missing == ()
    assert built.body.groups[1][1][3], "held against the first level that is there"


def test_the_legend_of_places_names_both_starts_whatever_is_missing() -> None:
    (picture,) = (figure for figure in figures() if figure.id == "places")
    fewer = {n: r for n, r in places((0,)).items() if n != "all_two_gaussian"}
    *_, last = picture.drawing(Records(fewer, FACTS, "en")).axes
    legend = last.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(FACTORS["start"])


def test_24_places_have_a_picture_and_no_pareto_front(tmp_path: Path) -> None:
    drawn = {figure.id for figure in figures() if figure.applies(places((0,)))}
    assert "places" in drawn
    assert "pareto" not in drawn
    (picture,) = (figure for figure in figures() if figure.id == "places")
    paths = picture.write(Records(places((0,)), FACTS, "en"), tmp_path)
    assert all(path.stat().st_size > 5000 for path in paths)
