"""The table over several settings, against means taken by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest
from invented_records import record
from matplotlib.axes import Axes

from lowrank_da import uncertainty
from lowrank_da.corpus import ID, SELECT
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.run import Run
from lowrank_da.study import Checkout
from lowrank_da.uncertainty import BySeed
from paper import across, estimate, parts
from paper.figure import MARKERS
from paper.figures import elsewhere
from paper.table import Records, SettingFacts

TWO = ("machine", "human")
OODS = {"without_arxiv": ("ood/arxiv",), "against_llama": ("ood/ChatGPT", "ood/PaLM")}
OTHERS, COLLECTIONS = across.KINDS
SKILLS = {"full": 1.0, "linear_probe": 0.5, "lp_ft": 3.0}


def of(name: str, seed: int, roles: tuple[str, ...], labels: tuple[str, ...] = TWO) -> Run:
    every = (SELECT, ID, *roles)
    return record(name, seed, corpus_labels=labels, skill=SKILLS[name], roles=every)


def records(setting: str, labels: tuple[str, ...] = TWO) -> Records:
    runs = {n: [of(n, seed, OODS[setting], labels) for seed in (0, 1)] for n in SKILLS}
    return Records(runs, SettingFacts(setting, "machine_or_human", "minilm", labels), "en")


EVERY = [records(setting) for setting in OODS]


def accuracies(name: str, roles: dict[str, tuple[str, ...]]) -> float:
    by_setting = []
    for one in EVERY:
        of_roles = [
            np.mean([run.result["splits"][role]["accuracy"] for run in one.get(name)])
            for role in roles[one.facts.setting]
        ]
        by_setting.append(np.mean(of_roles))
    return float(np.mean(by_setting))


def over_settings(name: str, every: list[Records]) -> BySeed:
    """Balanced accuracy out of distribution of every seed, in the mean over settings."""
    return BySeed.average([across.elsewhere(r, name, across.accuracy, OTHERS) for r in every])


def cells(row: tuple[str, ...]) -> list[list[float]]:
    """The numbers of each cell."""
    return [[float(number) for number in re.findall(r"-?\d+\.\d+", cell)] for cell in row]


def test_every_setting_and_within_it_every_split_counts_the_same() -> None:
    built = across.build(EVERY, OTHERS, "en")
    assert built is not None
    (rows,) = built.body.groups
    assert [row[0] for row in rows] == sorted(SKILLS)
    for row in rows:
        home, away = cells(row[3:5])
        assert home[0] == pytest.approx(
            100 * accuracies(row[0], dict.fromkeys(OODS, (ID,))), abs=0.051
        )
        assert away[0] == pytest.approx(100 * accuracies(row[0], OODS), abs=0.051)
        assert away[1] < away[0] < away[2]


def test_published_numbers_stand_beside() -> None:
    built = across.build(EVERY, OTHERS, "ru")
    assert built is not None
    (rows,) = built.body.groups
    assert {row[0]: row[1:3] for row in rows} == {
        "full": ("85.1", "59.3"),
        "linear_probe": ("82.9", "66.2"),
        "lp_ft": ("85.7", "68.9"),
    }


def test_differences_are_those_of_the_means_and_are_tested() -> None:
    built = across.build(EVERY, OTHERS, "en")
    assert built is not None
    by_name = {row[0]: row for row in built.body.groups[0]}
    assert by_name["full"][-4:] == ("", "", "", "")
    home = dict.fromkeys(OODS, (ID,))
    for name in ("linear_probe", "lp_ft"):
        (away,), (carried,) = cells(by_name[name][7:8]), cells(by_name[name][9:10])
        wanted = 100 * (accuracies(name, OODS) - accuracies("full", OODS))
        assert away[0] == pytest.approx(wanted, abs=0.051)
        wanted -= 100 * (accuracies(name, home) - accuracies("full", home))
        assert carried[0] == pytest.approx(wanted, abs=0.051)
        assert away[1] < away[0] < away[2]
        assert carried[1] < carried[0] < carried[2]
    raw = uncertainty.difference(
        *(over_settings(name, EVERY) for name in ("lp_ft", "full"))
    ).p_value
    assert float(by_name["lp_ft"][8]) == pytest.approx(4 * raw, abs=0.0001)
    assert "over the 4 tests" in built.notes[1]


def test_splits_of_another_collection_stand_in_a_table_of_their_own() -> None:
    roles = {"against_chatgpt": ("ood/PaLM", "ood/outfox/davinci"), "against_llama": ("ood/PaLM",)}
    runs = [
        Records({n: [of(n, 0, roles[s])] for n in SKILLS}, records("against_llama").facts, "en")
        for s in roles
    ]
    assert COLLECTIONS.away(runs[0]) == ["ood/outfox/davinci"]
    assert OTHERS.away(runs[0]) == ["ood/PaLM"]
    assert across.build(runs, COLLECTIONS, "en") is None, "one setting has such splits"
    assert across.build([runs[0], runs[0]], COLLECTIONS, "en") is not None


def test_without_a_known_one_nothing_is_held_against() -> None:
    kept = {"linear_probe", "lp_ft"}
    built = across.build(
        [Records({n: one.get(n) for n in kept}, one.facts, "en") for one in EVERY], OTHERS, "en"
    )
    assert built is not None
    assert len(built.body.header) == 5, "neither tests nor the lecture's numbers, which want all"
    assert not any("Holm" in note for note in built.notes)


def test_there_is_none_without_two_settings_or_without_splits_elsewhere() -> None:
    assert across.build(EVERY[:1], OTHERS, "en") is None
    assert across.build([], OTHERS, "en") is None
    at_home = Records({"full": [record("full", corpus_labels=TWO)]}, EVERY[0].facts, "en")
    assert across.build([at_home, at_home], OTHERS, "en") is None


def test_arms_that_some_setting_lacks_are_left_out() -> None:
    fewer = Records({n: r for n, r in EVERY[1].runs.items() if n != "lp_ft"}, EVERY[1].facts, "en")
    assert across.arms([EVERY[0], fewer], OTHERS) == ["full", "linear_probe"]
    one_seed = Records(EVERY[1].runs | {"full": EVERY[1].get("full")[:1]}, EVERY[1].facts, "en")
    assert across.arms([EVERY[0], one_seed], OTHERS) == ["linear_probe", "lp_ft"]
    built = across.build([EVERY[0], one_seed], OTHERS, "en")
    assert built is not None
    assert built.notes[-1].endswith("under the same seeds, and left out: full.")
    assert len(built.body.header) == 5, "held against nothing, rather than against another one"


def test_without_human_texts_there_is_no_ranking() -> None:
    classes = ("ABBR", "LOC", "NUM")
    built = across.build([records(setting, classes) for setting in OODS], OTHERS, "en")
    assert built is not None
    assert {row[5:7] for row in built.body.groups[0]} == {("-", "-")}


# -- the picture


def seen(axes: Axes) -> dict[str, list[tuple[float, float, float]]]:
    """By arm: where its marker and the ends of its whisker are, row by row from above."""
    found = {}
    for container in axes.containers:
        x, y = container[0].get_data()
        assert [round(place) for place in y] == list(range(len(y)))
        ends = [line[:, 0] for line in container[2][0].get_segments()]
        found[container.get_label()] = [(v, *e) for v, e in zip(x, ends, strict=True)]
    return found


def test_the_picture_has_a_marker_where_an_arm_is_good_on_a_split() -> None:
    accuracy, blamed = elsewhere.drawn(EVERY).axes
    labels = [label.get_text() for label in accuracy.get_yticklabels()]
    llama = ["against_llama: at home", "ChatGPT", "PaLM"]
    assert labels == ["without_arxiv: at home", "arxiv", *llama]
    splits = [(one, role) for one in EVERY for role in (ID, *OODS[one.facts.setting])]
    assert list(seen(accuracy)) == list(seen(blamed)) == sorted(SKILLS)
    for name in SKILLS:
        for (one, role), (value, low, high) in zip(splits, seen(accuracy)[name], strict=True):
            matrices = [run.confusion(role) for run in one.get(name)]
            recall = [np.diagonal(m) / m.sum(axis=1) for m in matrices]
            assert value == pytest.approx(np.mean(recall))
            assert 0 <= low <= value <= high <= 1
            assert (low < high) == (0 < value < 1)
        for (one, role), (value, *_) in zip(splits, seen(blamed)[name], strict=True):
            rates = estimate.at_home_threshold(one.get(name), role).value
            assert value == pytest.approx(rates[:, 0].mean())
    (promised,) = (line for line in blamed.get_lines() if line.get_linestyle() == "--")
    assert set(promised.get_xdata()) == {0.05}


def test_the_picture_has_the_arms_that_all_were_judged_on() -> None:
    alone = {"full": EVERY[0].runs["full"]}
    assert elsewhere.judged([alone, EVERY[1].runs]) == ["full"]
    assert elsewhere.possible([alone, EVERY[1].runs])
    (figure,) = elsewhere.FIGURES
    assert figure.applies(EVERY[0].runs)
    at_home = {n: [record(n, 0, corpus_labels=TWO)] for n in SKILLS}
    many = {f"arm_{i}": EVERY[0].runs["full"] for i in range(len(MARKERS) + 1)}
    partly = {"full": at_home["full"], "lp_ft": EVERY[0].runs["lp_ft"][:1] + at_home["lp_ft"]}
    for runs in (at_home, many, partly):
        assert not elsewhere.possible([runs])
        assert not figure.applies(runs)
    assert not elsewhere.possible([alone, {"lp_ft": EVERY[1].runs["lp_ft"]}])


def test_the_picture_is_not_drawn_of_arms_that_read_other_texts() -> None:
    other = [
        replace(run, made_by={**run.made_by, "fingerprint": "x"}) for run in EVERY[0].runs["full"]
    ]
    mixed = Records(EVERY[0].runs | {"full": other}, EVERY[0].facts, "en")
    with pytest.raises(UserError, match="different texts cannot be compared"):
        elsewhere.drawn([mixed, EVERY[1]])


def test_without_human_texts_the_picture_blames_nobody() -> None:
    questions = [records(setting, ("LOC", "NUM")) for setting in OODS]
    assert len(elsewhere.drawn(questions).axes) == 1


# -- the parts of LP-FT's gain

LP_FT = parts.Parts("lp_ft", "full_as_lp_ft", "full")
DATA = parts.Parts("lora_data", "lora_kaiming_as_data", "lora_kaiming")


def with_control() -> list[Records]:
    """`full_as_lp_ft` is `full` in the first setting and `lp_ft` in the second."""
    return [
        Records(one.runs | {"full_as_lp_ft": one.runs[like]}, one.facts, "en")
        for one, like in zip(EVERY, ("full", "lp_ft"), strict=True)
    ]


def test_the_parts_of_a_gain_are_its_rates_and_its_starts() -> None:
    built = parts.build(with_control(), LP_FT, "en")
    assert built is not None
    each, (mean,) = built.body.groups
    assert [row[0] for row in (*each, mean)] == ["without_arxiv", "against_llama", "mean"]
    (first, second, both) = (cells((row[1], row[2], row[4])) for row in (*each, mean))
    assert each[0][2:4] == ("the same training", ""), "full_as_lp_ft is full there"
    assert each[1][4:6] == ("the same training", ""), "full_as_lp_ft is lp_ft there"
    assert first[0] == first[2]
    assert second[0] == second[1]
    assert both[0][0] == pytest.approx(both[1][0] + both[2][0], abs=0.11)
    assert both[1] == pytest.approx([number / 2 for number in second[1]], abs=0.11)
    assert both[2] == pytest.approx([number / 2 for number in first[2]], abs=0.11)
    assert "over the 4 tests of both parts" in built.notes[0]
    one = with_control()[:1]
    raw = uncertainty.difference(
        *(over_settings(name, one) for name in ("lp_ft", "full_as_lp_ft"))
    ).p_value
    assert raw <= float(mean[5].removeprefix("< ")) <= 4 * raw + 1e-4


def test_an_arm_that_is_the_other_one_is_not_tested() -> None:
    twice = [Records(r.runs | {"lp_ft": r.runs["full"]}, r.facts, "en") for r in EVERY]
    built = across.build(twice, OTHERS, "en")
    assert built is not None
    (row,) = (row for row in built.body.groups[0] if row[0] == "lp_ft")
    assert row[-4:] == ("the same training", "", "the same training", "")
    assert "over the 2 tests" in built.notes[1]


def test_there_are_no_parts_without_the_control() -> None:
    assert parts.build(EVERY, LP_FT, "en") is None
    assert parts.build(with_control()[:1], LP_FT, "en") is None
    assert parts.build(with_control(), DATA, "en") is None


def test_each_gain_has_the_arms_that_its_study_trains() -> None:
    here = Checkout.here()
    for study, three in (("lp_ft", LP_FT), ("data_span", DATA)):
        setting = here.setting("without_arxiv", study)
        trials = here.study(study).trials(setting)
        rates = {name: float(i) for i, name in enumerate(trials, start=1)}
        arms = here.study(study).arms(setting, rates)
        assert parts.controlled(sorted(arms)) == [three]
        arm, control, usual = (arms[n] for n in (three.arm, three.control, three.usual))
        assert isinstance(control, Experiment)
        assert isinstance(usual, Experiment)
        assert isinstance(arm, Experiment)
        assert control == replace(usual, learning_rate=arm.learning_rate)
        assert control != usual


def test_a_control_is_known_by_its_name() -> None:
    assert parts.controlled(["a", "b", "a_as_b"]) == [parts.Parts("b", "a_as_b", "a")]
    assert parts.controlled(["a", "x_b", "a_as_b"]) == [parts.Parts("x_b", "a_as_b", "a")]
    for unclear in (
        ["b", "a_as_b"],
        ["a", "a_as_b"],
        ["a", "x_b", "y_b", "a_as_b"],
        ["a", "xb", "a_as_b"],
    ):
        assert parts.controlled(unclear) == [], unclear
