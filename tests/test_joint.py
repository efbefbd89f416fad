"""joint.py: trained together, each classifier ends as it does alone."""

from pathlib import Path

import pytest
import torch
import toy
from tiny_models import BACKBONES
from torch import nn

from lowrank_da import joint, train
from lowrank_da.batches import Batch, pack
from lowrank_da.classifier import Classifier
from lowrank_da.errors import UserError
from lowrank_da.joint import Joint, JointBatch
from lowrank_da.machine import Machine
from lowrank_da.method import Method
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.run import Run
from lowrank_da.train import Cell

MACHINES = ("parrot", "kettle", "owl")
CPU = Machine.choose("cpu", "fp32")
RAGGED = [[0, 9, 2], [0, 7, 8, 9, 11, 2], [0]]


def members(family: str, method: Method | None = None, **changes: object) -> list[Classifier]:
    """Three binary classifiers, each of its own seed, with adapters away from their start."""
    made = []
    for seed, label in enumerate(MACHINES):
        experiment = toy.experiment(
            setting=toy.setting(backbone=BACKBONES[family]),
            method=method or LoRA(rank=2),
            labels=(label, "human"),
            **changes,
        )
        classifier = Classifier(experiment, seed, steps=10)
        for name, parameter in classifier.trained().items():
            if name.endswith("lora_B"):
                nn.init.normal_(parameter, std=0.3)
        made.append(classifier.double())
    return made


def batches(absent: int | None = None) -> list[Batch | None]:
    """A batch of another length for each member; None for the absent one."""
    parts: list[Batch | None] = [
        pack(RAGGED[: 3 - i], [0, 1, 1][: 3 - i]) for i in range(len(MACHINES))
    ]
    if absent is not None:
        parts[absent] = None
    return parts


def gradients(classifier: Classifier) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in classifier.trained().items() if p.grad is not None}


def step(family: str, absent: int | None = None) -> tuple[list[dict[str, torch.Tensor]], ...]:
    """Every member's gradients, of a step alone and of the same step together."""
    parts = batches(absent)
    alone = members(family)
    for classifier, part in zip(alone, parts, strict=True):
        if part is not None:
            classifier.training_step(part, 0).backward()
    together = members(family)
    Joint(together).training_step(JointBatch.of(parts), 0)["loss"].backward()
    return [gradients(c) for c in alone], [gradients(c) for c in together]


def differ(alone: list[dict[str, torch.Tensor]], together: list[dict[str, torch.Tensor]]) -> float:
    """The largest difference between two steps' gradients."""
    assert [set(one) for one in alone] == [set(one) for one in together]
    pairs = zip(alone, together, strict=True)
    return max(float((a[n] - b[n]).abs().max()) for a, b in pairs for n in a)


@pytest.mark.parametrize("absent", [None, 0, 2])
@pytest.mark.parametrize("family", BACKBONES)
def test_gradients_of_a_joint_step_are_each_members_own(family: str, absent: int | None) -> None:
    alone, together = step(family, absent)
    assert all((one == {}) == (i == absent) for i, one in enumerate(together))
    assert differ(alone, together) < 1e-12


@pytest.mark.parametrize("family", BACKBONES)
def test_a_member_that_acts_with_anothers_weights_is_noticed(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(each: joint._Each, x: torch.Tensor) -> torch.Tensor:
        parts = zip(reversed(each.own), each.rows.split(x), strict=True)
        return torch.cat([module(part) for module, part in parts])

    monkeypatch.setattr(joint._Each, "forward", wrong)
    alone, together = step(family)
    assert differ(alone, together) > 1e-3


@pytest.mark.parametrize("family", BACKBONES)
def test_what_is_frozen_is_stored_once(family: str) -> None:
    together = members(family)
    model = Joint(together).float()
    frozen = {p.data_ptr() for p in model.parameters() if not p.requires_grad and p.numel()}
    one = {p.data_ptr() for p in together[0].parameters() if not p.requires_grad and p.numel()}
    assert frozen == one
    trained = {id(p) for c in together for p in c.trained().values()}
    assert {id(p) for p in model.parameters() if p.requires_grad} == trained


def cells(**changes: object) -> list[Cell]:
    """Three one-vs-human cells; kettle texts are as many as the others', but of other lengths."""
    return [
        toy.cell(seed, f"{label}_vs_human", labels=(label, "human"), **changes)
        for seed, label in enumerate(MACHINES)
    ]


def same(alone: list[Run], together: list[Run]) -> None:
    for one, other in zip(alone, together, strict=True):
        assert (one.name, one.seed, one.key) == (other.name, other.seed, other.key)
        assert one.result["steps"] == other.result["steps"]
        assert one.result["epoch"] == other.result["epoch"]
        for role, own in one.predictions.items():
            own_rows = torch.from_numpy(own.probabilities.astype(float))
            rows = torch.from_numpy(other.predictions[role].probabilities.astype(float))
            torch.testing.assert_close(rows, own_rows, rtol=0, atol=2e-3)
        assert other.measured["train_tokens"] == one.measured["train_tokens"]
        assert (one.measured["trained_jointly"], other.measured["trained_jointly"]) == (1, 3)


@pytest.mark.parametrize("top_layers", [None, 1])
def test_joint_trainings_end_as_separate_ones(
    top_layers: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOWRANK_DA_CACHE", str(tmp_path / "cache"))
    wanted = cells(method=LoRA(rank=2, top_layers=top_layers), epochs=2)
    alone = train.run(wanted, tmp_path / "alone", tmp_path, CPU)
    together = train.run(wanted, tmp_path / "together", tmp_path, CPU, jointly=True)
    same(alone, together)
    first = [run.result["curve"][0]["loss"] for run in together]
    last = [run.result["curve"][-1]["loss"] for run in together]
    assert all(after < before for before, after in zip(first, last, strict=True)), "it learns"


def test_an_interrupted_joint_training_goes_on(tmp_path: Path) -> None:
    wanted = cells(method=LoRA(rank=2), epochs=2)
    whole = train.run(wanted, tmp_path / "whole", tmp_path, CPU, jointly=True)

    class StopError(Exception):
        pass

    original = train.Journal.on_validation_end

    def stop(journal: train.Journal, *arguments: object) -> None:
        original(journal, *arguments)  # type: ignore[arg-type]
        if journal.epoch == 1:
            raise StopError

    folder = tmp_path / "broken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Journal, "on_validation_end", stop)
        with pytest.raises(StopError):
            train.run(wanted, folder, tmp_path, CPU, jointly=True)
    resume = train.resume_path(wanted, folder, CPU)
    assert resume.exists()
    resumed = train.run(wanted, folder, tmp_path, CPU, jointly=True)
    assert not resume.exists()
    for one, other in zip(whole, resumed, strict=True):
        assert one.result == other.result


def test_finished_members_are_left_out(tmp_path: Path) -> None:
    wanted = cells(method=LoRA(rank=2), epochs=1)
    train.run(wanted[:1], tmp_path, tmp_path, CPU)
    runs = train.run(wanted, tmp_path, tmp_path, CPU, jointly=True)
    assert [run.measured["trained_jointly"] for run in runs] == [1, 2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": LoRA(rank=2), "hidden_dropout": 0.1}, "draws no dropout"),
        ({"method": LoRA(rank=2), "attention_dropout": 0.1}, "draws no dropout"),
        ({"method": LoRA(rank=2, dropout=0.1)}, "draws no dropout"),
        ({"method": Full()}, "shares the embeddings"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train.run(cells(**changes), tmp_path, tmp_path, CPU, jointly=True)


def test_other_settings_and_backbones_are_refused(tmp_path: Path) -> None:
    one, two = cells(method=LoRA(rank=2), epochs=1)[0], cells(method=LoRA(rank=2), epochs=2)[1]
    with pytest.raises(UserError, match="differ in setting"):
        train.run([one, two], tmp_path, tmp_path, CPU, jointly=True)
    with pytest.raises(UserError, match="one joint training has one backbone"):
        Joint([members("bert")[0], members("roberta")[0]])


@pytest.mark.parametrize("family", BACKBONES)
def test_ranks_may_differ_and_methods_may_not(family: str) -> None:
    Joint([members(family, LoRA(rank=rank))[0] for rank in (1, 3)])
    for other in (BitFit(), Adapter(bottleneck=2), LoRA(rank=2, targets=("query",))):
        with pytest.raises(UserError, match="adapts the same maps in all members; train them"):
            Joint([members(family)[0], members(family, other)[0]])
