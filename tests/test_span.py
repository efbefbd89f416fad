"""span.py: factors that start in the span of what enters their maps, against NumPy."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from tiny_models import BACKBONES, encoder, lora_layers, texts
from torch import Tensor, nn

from lowrank_da import span, train
from lowrank_da.backbone import ATTENTION, FFN, TINY, TINY_DECODER, Backbone
from lowrank_da.batches import Batch, pack
from lowrank_da.encode import encode
from lowrank_da.machine import Machine
from lowrank_da.methods.both import Both
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.prompt import Prompt

METHOD = LoRA(rank=3, start="data")
EVERY = [replace(one, pooling=p) for one in BACKBONES.values() for p in ("first", "mean")]
EVERY.append(TINY_DECODER)
every_backbone = pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.name}-{one.pooling}")
FEW = (3, 2, 2)
"""Seven tokens, so what enters a map of width 16 has at most rank 7."""


def started(
    one: Backbone, lengths: tuple[int, ...] = FEW, seed: int = 0, method: LoRA = METHOD
) -> nn.Module:
    """A fresh encoder after it has seen these texts, one a batch; float32, as in training."""
    model = one.load()
    torch.manual_seed(1)
    method.attach(model, one)
    method.look(model, one, (pack([ids]) for ids in texts(one, lengths)), seed)
    return model


def inputs(model: nn.Module, one: Backbone, given: list[list[int]]) -> dict[str, Tensor]:
    """(rows, in) what enters each adapted map for these texts."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, rows, name=name: seen.setdefault(name, []).append(rows[0])
        )
        for name, layer in lora_layers(model).items()
    ]
    with torch.no_grad():
        for ids in given:
            encode(model, one, pack([ids]))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(rows) for name, rows in seen.items()}


def outside(a: Tensor, x: Tensor) -> float:
    """The share of A's rows that no combination of the rows of x gives, by NumPy's lstsq."""
    rows, wanted = x.double().numpy().T, a.detach().double().numpy().T
    combination = np.linalg.lstsq(rows, wanted, rcond=1e-6)[0]
    return float(np.linalg.norm(wanted - rows @ combination) / np.linalg.norm(wanted))


@every_backbone
def test_a_lies_in_the_span_of_what_enters_the_map(one: Backbone) -> None:
    model = started(one)
    seen = inputs(model, one, texts(one, FEW))
    assert len(seen) == len(lora_layers(model)) > 0
    kaiming = lora_layers(started(one, method=replace(METHOD, start="kaiming")))
    for name, layer in lora_layers(model).items():
        assert np.linalg.matrix_rank(seen[name].numpy()) < seen[name].shape[1], "rank-deficient"
        assert outside(layer.lora_A, seen[name]) < 1e-5, name
        assert outside(kaiming[name].lora_A, seen[name]) > 0.1, "a Kaiming start leaks"


@every_backbone
def test_off_the_span_the_adapter_sees_nothing(one: Backbone) -> None:
    model, kaiming = started(one), started(one, method=replace(METHOD, start="kaiming"))
    seen, other = inputs(model, one, texts(one, FEW)), lora_layers(kaiming)
    for name, layer in lora_layers(model).items():
        _, sizes, directions = torch.linalg.svd(seen[name].double())
        rank = int((sizes > 1e-6 * sizes[0]).sum())
        beside = directions[rank:]  # orthonormal, and orthogonal to every input
        assert len(beside) > 0
        strength = float(layer.lora_A.detach().norm())
        assert float((beside @ layer.lora_A.detach().double().T).norm()) < 1e-5 * strength, name
        leaked = float((beside @ other[name].lora_A.detach().double().T).norm())
        assert leaked > 0.1 * strength, name


@every_backbone
def test_the_span_of_other_texts_is_another_one(one: Backbone) -> None:
    model = started(one)
    elsewhere = inputs(model, one, [texts(one, (20, 7))[1]])
    layers = lora_layers(model)
    assert all(outside(layers[name].lora_A, x) > 0.01 for name, x in elsewhere.items())


@every_backbone
def test_the_function_and_all_but_a_stay_as_they_were(one: Backbone) -> None:
    model, before = started(one), one.load()
    batch = pack(texts(one))
    torch.testing.assert_close(encode(model, one, batch)[0], encode(before, one, batch)[0])
    torch.manual_seed(1)
    METHOD.attach(before, one)
    old, new = before.state_dict(), model.state_dict()
    changed = {name for name in new if not torch.equal(new[name], old[name])}
    assert changed == {name for name in new if name.endswith("lora_A")}
    assert all(torch.count_nonzero(w) == 0 for n, w in new.items() if n.endswith("lora_B"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name in new if name.endswith(("lora_A", "lora_B"))}


def test_rotated_it_weighs_as_unevenly_and_knows_nothing_of_the_data() -> None:
    model, turned = started(TINY), started(TINY, method=replace(METHOD, start="data_rotated"))
    seen, other = inputs(model, TINY, texts(TINY, FEW)), lora_layers(turned)
    for name, layer in lora_layers(model).items():
        a, b = (one.lora_A.detach().double() for one in (layer, other[name]))
        torch.testing.assert_close(
            torch.linalg.svdvals(a), torch.linalg.svdvals(b), rtol=1e-4, atol=1e-5
        )
        assert outside(other[name].lora_A, seen[name]) > 0.1


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_its_norm_is_the_one_a_kaiming_start_is_expected_to_have(rank: int) -> None:
    model = started(TINY, method=replace(METHOD, rank=rank))
    for layer in lora_layers(model).values():
        drawn = torch.empty(2000, *layer.lora_A.shape)
        torch.manual_seed(0)
        for one in drawn:
            nn.init.kaiming_uniform_(one, a=5**0.5)
        wanted = float(drawn.square().sum(dim=(1, 2)).mean() ** 0.5)
        assert float(layer.lora_A.detach().norm()) == pytest.approx(wanted, rel=0.02)
        assert layer.lora_A.detach().norm() == pytest.approx((rank / 3) ** 0.5)


def test_it_depends_on_the_seed_and_on_nothing_drawn_elsewhere() -> None:
    one = started(TINY).state_dict()
    torch.manual_seed(99)
    two, other = started(TINY).state_dict(), started(TINY, seed=1).state_dict()
    for name, weight in one.items():
        assert torch.equal(weight, two[name])
        assert torch.equal(weight, other[name]) != name.endswith("lora_A")


def test_it_looks_at_enough_tokens_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span, "TOKENS", 5)
    read = []

    def batches() -> Iterator[Batch]:
        for ids in texts(TINY, FEW):
            read.append(len(ids))
            yield pack([ids])

    model = TINY.load()
    METHOD.attach(model, TINY)
    METHOD.look(model, TINY, batches(), 0)
    assert read == [3, 2]


@pytest.mark.parametrize("training", [True, False])
def test_it_reads_without_dropout_and_leaves_the_mode(training: bool) -> None:
    model = TINY.load(hidden_dropout=0.5).train(training)
    torch.manual_seed(1)
    METHOD.attach(model, TINY)
    METHOD.look(model, TINY, (pack([ids]) for ids in texts(TINY, FEW)), 0)
    still = lora_layers(started(TINY))
    for name, layer in lora_layers(model).items():
        assert torch.equal(layer.lora_A, still[name].lora_A)
        assert layer.training == training
        assert not layer._forward_pre_hooks
    assert {module.training for module in model.modules()} == {training}


@pytest.mark.parametrize("targets", [ATTENTION[:1], FFN])
def test_only_the_adapted_maps_of_the_adapted_layers_start_so(targets: Any) -> None:
    model = started(TINY, method=replace(METHOD, targets=targets, top_layers=1))
    seen = inputs(model, TINY, texts(TINY, FEW))
    assert len(lora_layers(model)) == len(targets) == len(seen)
    assert all(outside(x.lora_A, seen[name]) < 1e-5 for name, x in lora_layers(model).items())


def test_virtual_tokens_are_among_what_enters() -> None:
    model = encoder(TINY, None, torch.float32)
    method = Both(METHOD, Prompt(tokens=2))
    method.attach(model, TINY)
    method.look(model, TINY, (pack([ids]) for ids in texts(TINY, FEW)), 0)
    seen = inputs(model, TINY, texts(TINY, FEW))
    assert all(outside(x.lora_A, seen[name]) < 1e-5 for name, x in lora_layers(model).items())


def test_a_training_starts_from_its_own_texts() -> None:
    cell = toy.cell(seed=3, method=METHOD)
    machine = Machine.choose("cpu", "fp32")
    member = train._Member(cell, machine, cached_trunk=False, trunks=None)
    again = train._Member(cell, machine, cached_trunk=False, trunks=None)
    own, wanted = (lora_layers(m.classifier.encoder) for m in (member, again))
    assert all(torch.equal(own[name].lora_A, wanted[name].lora_A) for name in own)
    kaiming = toy.cell(seed=3, method=replace(METHOD, start="kaiming"))
    plain = train._Member(kaiming, machine, cached_trunk=False, trunks=None).classifier
    other = lora_layers(plain.encoder)
    assert not any(torch.equal(own[name].lora_A, other[name].lora_A) for name in own)
    assert torch.equal(member.classifier.head.dense.weight, plain.head.dense.weight)
