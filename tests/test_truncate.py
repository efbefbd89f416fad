"""Trained updates cut to smaller ranks, against numpy and against the uncut model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from sklearn.metrics import f1_score
from sklearn.metrics import log_loss as their_log_loss

from lowrank_da import train, truncate
from lowrank_da.corpus import SELECT
from lowrank_da.errors import UserError
from lowrank_da.layers import LoRALinear
from lowrank_da.machine import Machine
from lowrank_da.methods.lora import LoRA
from lowrank_da.train import Cell

MACHINE = Machine.choose("cpu", "fp32")
EXPERIMENT = toy.experiment(setting=toy.setting(epochs=3), method=LoRA(rank=4), learning_rate=0.02)
CELL = Cell("study", "room", "grid/rank_4", EXPERIMENT, 0, select_only=True)


def layer(rank: int, rows: int = 7, columns: int = 5) -> LoRALinear:
    torch.manual_seed(0)
    one = LoRALinear(torch.nn.Linear(rows, columns), rank, 1.5, 0.0, "kaiming").double()
    torch.nn.init.normal_(one.lora_B)
    return one


def update(of: LoRALinear) -> np.ndarray:
    return (of.merged() - of.weight).detach().numpy()


@pytest.mark.parametrize("rank", [1, 3, 4, 8])
@pytest.mark.parametrize("kept", [0, 1, 2, 4, 9])
def test_it_is_the_best_of_that_rank(rank: int, kept: int) -> None:
    one = layer(rank)
    before = update(one)
    u, sigma, v = np.linalg.svd(before, full_matrices=False)
    left_out = truncate.cut(one, kept)
    best = (u[:, :kept] * sigma[:kept]) @ v[:kept]
    np.testing.assert_allclose(update(one), best, atol=1e-12)
    assert left_out == pytest.approx((sigma[kept:] ** 2).sum(), abs=1e-12)
    assert left_out == pytest.approx(((before - update(one)) ** 2).sum(), abs=1e-12)


def test_the_records_singular_values_are_those_of_the_update(tmp_path: Path) -> None:
    for rank in (2, 6):
        one = layer(rank)
        sigma = np.linalg.svd(update(one), compute_uv=False)
        np.testing.assert_allclose(one.update_singular_values(), sigma[:rank][: len(sigma)])
    (run,) = train.run([CELL], tmp_path, Path(), MACHINE)
    values = run.result["singular_values"]
    assert len(values) == 6 * EXPERIMENT.setting.backbone.layers
    assert {len(own) for own in values.values()} == {4}
    assert all(own == sorted(own, reverse=True) for own in values.values())


def test_cut_runs_are_records_of_what_they_say(tmp_path: Path) -> None:
    (run,) = train.run([CELL], tmp_path, Path(), MACHINE)
    cuts = truncate.curve(run, EXPERIMENT, tmp_path, Path(), (1, 2, 4), MACHINE)
    assert [one.name for one in cuts] == ["grid/cut_1", "grid/cut_2", "grid/cut_4"]
    assert len({one.key for one in (*cuts, run)}) == 4
    left_out = [one.result["left_out"] for one in cuts]
    assert left_out == sorted(left_out, reverse=True)
    squares = [s**2 for values in run.result["singular_values"].values() for s in values[1:]]
    assert left_out[0] == pytest.approx(sum(squares), rel=1e-4)
    whole = cuts[-1]
    assert whole.result["left_out"] == pytest.approx(0, abs=1e-9)
    assert whole.result["splits"] == run.result["splits"]
    for one in cuts:
        p = one.predictions[SELECT]
        said = p.probabilities.astype(float)
        own = f1_score(p.label, said.argmax(axis=1), average="macro")
        assert one.result["splits"][SELECT]["macro_f1"] == pytest.approx(own)
        rows = said / said.sum(axis=1, keepdims=True)
        assert one.result["log_loss"] == pytest.approx(their_log_loss(p.label, rows), rel=1e-2)
        assert one.made_by["made_from"] == [{"name": run.name, "key": run.key, "seed": 0}]
        assert type(one).load(one.save(tmp_path)).result == one.result


def test_what_cannot_be_cut_is_said(tmp_path: Path) -> None:
    (run,) = train.run([CELL], tmp_path, Path(), MACHINE)
    two = replace(run, labels=("owl", "human"))
    with pytest.raises(UserError, match="tells owl, human apart alone"):
        truncate.curve(two, EXPERIMENT, tmp_path, Path(), (1,), MACHINE)
    run.path(tmp_path).with_suffix(".safetensors").unlink()
    with pytest.raises(UserError, match=r"safetensors is missing; delete .*\.json"):
        truncate.curve(run, EXPERIMENT, tmp_path, Path(), (1,), MACHINE)
