"""What is read from the trials of a sweep over one parameter, and of a search over several."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from invented_records import record, with_values
from scipy import stats
from sklearn.metrics import log_loss

from lowrank_da import metrics
from lowrank_da.corpus import SELECT
from lowrank_da.methods.lora import LoRA
from lowrank_da.run import Run
from paper import estimate
from paper.figure import figures
from paper.table import Records, SettingFacts, find
from paper.tables.comparison import compare
from paper.tables.search import unbeaten
from paper.tables.sweep import gained_f1, gained_loss, losses

TWO = ("machine", "human")
FACTS = SettingFacts("without_arxiv", "machine_or_human", "minilm", TWO)


# -- a sweep over one parameter


def trial(rank: int, seed: int) -> Run:
    one = record(f"grid/rank_{rank}", seed, roles=(SELECT,), skill=0.5 + rank / 4)
    return with_values(one, [float(rank)] * rank)


def test_a_sweep_is_read_from_its_trials() -> None:
    tried = {f"grid/rank_{rank}": [trial(rank, seed) for seed in (0, 1)] for rank in (8, 1, 2)}
    table = find("sweep")
    assert table.applies(tried)
    assert not table.applies({"grid/full--lr1.0e-04": [record("full")]})
    built = table.build(tried, FACTS, "en")
    (rows_,) = built.body.groups
    assert built.body.header[0] == "rank"
    assert [row[0] for row in rows_] == ["1", "2", "8"]
    assert [row[6] for row in rows_] == ["1.00", "2.00", "8.00"]
    against = compare(tried["grid/rank_1"], tried["grid/rank_8"], SELECT)
    assert built.body.header[2] == "above rank 8"
    assert [row[2] for row in rows_][::2] == [against.difference.show(), ""]
    assert against.p_value < float(rows_[0][3]) <= 2 * against.p_value + 1e-4
    assert rows_[2][3] == ""
    best = max((1, 2, 8), key=lambda rank: float(rows_[(1, 2, 8).index(rank)][1].split()[0]))
    assert [row[-1] for row in rows_] == [
        ("best on select" if r == best else "") for r in (1, 2, 8)
    ]
    chosen = tried | {"winner": [record("winner", seed) for seed in (0, 1)]}
    on_id = estimate.of_confusion(chosen["winner"], metrics.macro_f1)[()].show()
    assert on_id in table.build(chosen, FACTS, "en").notes[-1]


def test_a_cut_gains_log_loss_text_by_text() -> None:
    """By the loss of scikit-learn, and its interval by that of the mean of paired differences."""
    tried = {f"grid/rank_{rank}": [trial(rank, seed) for seed in (0, 1)] for rank in (1, 8)}
    for rank, left_out, skill in ((1, 15.1, 0.2), (8, 0.0, 3.0)):
        cuts = [record(f"grid/cut_{rank}", s, roles=(SELECT,), skill=skill) for s in (0, 1)]
        tried[f"grid/cut_{rank}"] = [
            replace(run, result=run.result | {"left_out": left_out}) for run in cuts
        ]
    small, whole = tried["grid/cut_1"], tried["grid/cut_8"]
    rows_ = find("sweep").build(tried, FACTS, "en").body.groups[0]
    gained = gained_loss(small, whole)
    f1 = estimate.of_confusion(small, metrics.macro_f1, SELECT)[()]
    change = gained_f1(small, whole)
    assert rows_[0][7:11] == (f1.show(), change.show(), gained.show(), "15.1")
    assert rows_[1][8:11] == ("", "", "0")
    by_seed = [
        float(metrics.macro_f1(a.confusion(SELECT)) - metrics.macro_f1(b.confusion(SELECT)))
        for a, b in zip(small, whole, strict=True)
    ]
    assert change.value == pytest.approx(np.mean(by_seed))
    assert change.spread == pytest.approx(np.std(by_seed, ddof=1))
    nothing = gained_f1(whole, whole)
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0), "the same trainings"
    by_sklearn = []
    for run in (*small, *whole):
        stored = run.predictions[SELECT].probabilities.astype(float)
        p = stored / stored.sum(axis=1, keepdims=True)
        by_sklearn.append(log_loss(run.predictions[SELECT].label, p, labels=range(p.shape[1])))
    expected = np.mean(by_sklearn[:2]) - np.mean(by_sklearn[2:])
    assert gained.value == pytest.approx(expected, abs=2e-3)
    one = gained_loss(small[:1], whole[:1])
    differences = losses(small[0]) - losses(whole[0])
    t = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((t.low, t.high), abs=0.1 * (t.high - t.low))


def test_a_cut_without_the_widest_one_of_its_seed_gains_nothing_that_is_known() -> None:
    tried = {f"grid/rank_{rank}": [trial(rank, seed) for seed in (0, 1)] for rank in (1, 8)}
    for rank, seeds in ((1, (0, 1)), (8, (0,))):
        cuts = [record(f"grid/cut_{rank}", seed, roles=(SELECT,)) for seed in seeds]
        tried[f"grid/cut_{rank}"] = [
            replace(run, result=run.result | {"left_out": 0.0}) for run in cuts
        ]
    assert find("sweep").build(tried, FACTS, "en").body.groups[0][0][8:10] == ("-", "-")
    del tried["grid/cut_8"]
    assert find("sweep").build(tried, FACTS, "en").body.groups[0][0][8:10] == ("-", "-")


def test_a_sweep_is_drawn(tmp_path: Path) -> None:
    tried = {f"grid/rank_{rank}": [trial(rank, seed) for seed in (0, 1)] for rank in (1, 2, 8)}
    drawn = [figure for figure in figures() if figure.applies(tried) and figure.id == "sweep"]
    assert [p.suffix for p in drawn[0].write(Records(tried, FACTS, "en"), tmp_path)] == [
        ".png",
        ".pdf",
    ]


# -- a search over several parameters


def found_by_search(rank: int, rate: float, skill: float, seconds: float) -> list[Run]:
    key = f"{rank:08x}{int(rate * 1e6):08x}"
    one = record(
        f"grid/{key}",
        roles=(SELECT,),
        skill=skill,
        method={"is": "lora", "rank": rank} if rank != LoRA().rank else {"is": "lora"},
        learning_rate=rate,
    )
    parameters = one.result["parameters"] | {"adapter": 100 * rank}
    measured = {"train_seconds": seconds, "trunk_seconds": 99.0}
    result = one.result | {"parameters": parameters}
    return [replace(one, key=key, result=result, measured=measured)]


def test_a_searchs_front_is_what_no_trial_beats() -> None:
    tried = [
        found_by_search(8, 0.001, 3.0, 10.0),
        found_by_search(2, 0.002, 1.5, 5.0),
        found_by_search(4, 0.002, 0.2, 6.0),
        found_by_search(16, 0.004, 0.5, 4.0),
    ]
    runs = {own[0].name: own for own in tried}
    f1 = [float(metrics.macro_f1(own[0].confusion(SELECT))) for own in tried]
    assert f1[0] > f1[1] > max(f1[2:]), "the skills make them so"
    winner = replace(record("winner"), key=tried[1][0].key)
    table = find("search")
    assert table.applies(runs)
    assert not find("sweep").applies(runs)
    built = table.build(runs | {"winner": [winner]}, FACTS, "en")
    assert built.body.header[:2] == ("rank", "learning_rate")
    (rows_,) = built.body.groups
    assert [row[:2] for row in rows_] == [("8", "0.001"), ("2", "0.002"), ("16", "0.004")]
    assert [row[3:] for row in rows_] == [
        ("800", "10.0", ""),
        ("200", "5.0", "best on select"),
        ("1,600", "4.0", ""),
    ]
    assert "Of 4 trials" in built.notes[0]
    assert built.again == (
        "lowrank-da sweep thesis --setting outfox --device cpu --precision bf16 --threads 2"
    )


@given(st.dictionaries(st.integers(), st.tuples(*[st.integers(0, 3)] * 3), min_size=1))
def test_everything_off_a_front_is_beaten_by_one_on_it(every: dict[int, tuple[int, ...]]) -> None:
    named = {str(name): tuple(map(float, own)) for name, own in every.items()}
    front_ = unbeaten(named)
    for name, own in named.items():
        as_good = [f for f in front_ if all(a <= b for a, b in zip(named[f], own, strict=True))]
        if name in front_:
            assert all(named[f] == own for f in as_good)
        else:
            assert any(named[f] != own for f in as_good)
