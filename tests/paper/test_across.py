"""The table over several settings, against means taken by hand."""

import numpy as np
import pytest
from invented_records import record

from lowrank_da import uncertainty
from lowrank_da.corpus import ID, SELECT
from lowrank_da.run import Run
from paper import across
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


def cells(row: tuple[str, ...]) -> list[list[float]]:
    """The numbers of each cell."""
    return [
        [
            float(x)
            for x in cell.replace("[", "").replace("],", "").strip("]").replace(",", "").split()
        ]
        for cell in row
    ]


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
        *(
            [across.elsewhere(r, name, across.accuracy, OTHERS) for r in EVERY]
            for name in ("lp_ft", "full")
        )
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


def test_without_human_texts_there_is_no_ranking() -> None:
    classes = ("ABBR", "LOC", "NUM")
    built = across.build([records(setting, classes) for setting in OODS], OTHERS, "en")
    assert built is not None
    assert {row[5:7] for row in built.body.groups[0]} == {("-", "-")}


# -- the picture


def test_the_picture_has_a_marker_where_an_arm_is_good_on_a_split() -> None:
    shown = elsewhere.rows(EVERY)
    assert [(one.facts.setting, role) for one, role in shown] == [
        ("without_arxiv", ID),
        ("without_arxiv", "ood/arxiv"),
        ("against_llama", ID),
        ("against_llama", "ood/ChatGPT"),
        ("against_llama", "ood/PaLM"),
    ]
    accuracy, blamed = elsewhere.drawn(EVERY).axes
    labels = [label.get_text() for label in accuracy.get_yticklabels()]
    assert labels[:2] == ["without_arxiv: at home", "arxiv"]
    assert [one.get_label() for one in accuracy.containers] == sorted(SKILLS)
    for container, name in zip(accuracy.containers, sorted(SKILLS), strict=True):
        x, y = container[0].get_data()
        assert [round(place) for place in y] == list(range(len(shown)))
        for value, (one, role) in zip(x, shown, strict=True):
            matrices = [run.confusion(role) for run in one.get(name)]
            recall = [np.diagonal(m) / m.sum(axis=1) for m in matrices]
            assert value == pytest.approx(np.mean(recall))
    assert blamed.get_xlabel() == "FPR at the home threshold"


def test_the_picture_has_the_arms_that_all_were_judged_on() -> None:
    alone = Records({"full": EVERY[0].runs["full"]}, EVERY[0].facts, "en")
    assert elsewhere.judged(elsewhere.rows([alone, EVERY[1]])) == ["full"]
    assert elsewhere.possible([alone, EVERY[1]])
    none = Records({"lp_ft": EVERY[0].runs["lp_ft"]}, EVERY[0].facts, "en")
    assert not elsewhere.possible([alone, none])
    assert not elsewhere.possible([])
    at_home = {n: [record(n, 0, corpus_labels=TWO)] for n in SKILLS}
    assert not elsewhere.possible([Records(at_home, EVERY[0].facts, "en")])


def test_without_human_texts_the_picture_blames_nobody() -> None:
    questions = [records(setting, ("LOC", "NUM")) for setting in OODS]
    assert len(elsewhere.drawn(questions).axes) == 1
