"""cost.py: the formulas against PyTorch's own counter of operations, and against the literature's.

The counter is exact, so equality is. Every check has a twin: a formula with one term dropped, or
with another limit, that the counter contradicts.
"""

from collections.abc import Callable
from dataclasses import replace

import peft
import pytest
import torch
from tiny_models import BACKBONES, encoder, padded
from torch.utils.flop_counter import FlopCounterMode

from lowrank_da import cost
from lowrank_da.backbone import ATTENTION, DISTILROBERTA, FFN, MINILM, Backbone, Map
from lowrank_da.batches import pack
from lowrank_da.cost import COARSE, LEAST, Limit, forward_flops, merging_flops, training_flops
from lowrank_da.encode import encode
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA

TEXTS, LENGTH = 3, 40
LENGTHS = [LENGTH] * TEXTS
THREE = {
    f"{family}, {pooling}": replace(backbone, layers=3, pooling=pooling)
    for family, backbone in BACKBONES.items()
    for pooling in ("first", "mean")
}
"""Either family with either pooling, three layers high."""
FIRST = [name for name in THREE if name.endswith("first")]
ADAPTERS = {
    "all": LoRA(rank=2),
    "rank 5": LoRA(rank=5),
    "query and value": LoRA(rank=2, targets=("query", "value")),
    "output": LoRA(rank=2, targets=("attention_output",)),
    "ffn": LoRA(rank=2, targets=FFN),
    "top 2": LoRA(rank=2, top_layers=2),
    "top 1": LoRA(rank=2, top_layers=1),
    "top 1, ffn": LoRA(rank=2, targets=("ffn_out",), top_layers=1),
}


def counted(
    backbone: Backbone,
    method: Method | None,
    *,
    known: bool = False,
    below: bool = False,
    training: bool = False,
) -> int:
    """Operations of one pass of our own, forward, and backward if a method trains.

    `known`: it starts above the frozen layers; `below`: what enters there needs a gradient.
    """
    model = encoder(backbone, method, torch.float32).train(training)
    tokens, _ = padded(backbone, tuple(LENGTHS))
    batch = pack(tokens.tolist())
    if known or below:
        assert method is not None
        states = torch.randn(TEXTS * LENGTH, backbone.width, requires_grad=below)
        batch = replace(batch, states=states, layers_done=method.frozen_layers(backbone))
    with FlopCounterMode(display=False) as counter:
        states, _ = encode(model, backbone, batch)
        if method is not None:
            states.sum().backward()
    return int(counter.get_total_flops())


def formula(
    backbone: Backbone, method: LoRA, limit: Limit = LEAST, *, known: bool = False, steps: int = 1
) -> int:
    """What LoRA trains with, merged adapters formed `steps` times."""
    flops = training_flops(backbone, method, LENGTHS, known=known, limit=limit)
    return flops + steps * merging_flops(backbone, method)


def without(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    """Break the formulas: forget attention's products, or those of one of the maps."""
    if term == "attention":
        monkeypatch.setattr(cost._Layer, "attention", 0)
        return
    real: Callable[[cost._Layer, Map], int] = cost._Layer.product
    monkeypatch.setattr(
        cost._Layer, "product", lambda self, target: 0 if target == term else real(self, target)
    )


# Our own pass


@pytest.mark.parametrize("name", THREE)
def test_forward(name: str) -> None:
    backbone = THREE[name]
    assert counted(backbone, None) == forward_flops(backbone, LENGTHS)


@pytest.mark.parametrize("name", THREE)
def test_full_fine_tuning(name: str) -> None:
    backbone = THREE[name]
    assert counted(backbone, Full()) == training_flops(backbone, Full(), LENGTHS)
    assert training_flops(backbone, Full(), LENGTHS) == 3 * forward_flops(backbone, LENGTHS)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", THREE)
def test_lora(name: str, adapter: str) -> None:
    backbone, method = THREE[name], ADAPTERS[adapter]
    assert counted(backbone, method) == formula(backbone, method)


@pytest.mark.parametrize("adapter", ["top 2", "top 1", "top 1, ffn"])
@pytest.mark.parametrize("name", THREE)
def test_known_states_save_the_forward_pass_below_them(name: str, adapter: str) -> None:
    backbone, method = THREE[name], ADAPTERS[adapter]
    count = counted(backbone, method, known=True)
    assert count == formula(backbone, method, known=True)
    saved = forward_flops(backbone, LENGTHS, layers=method.frozen_layers(backbone))
    assert saved > 0
    assert count + saved == formula(backbone, method)
    assert count + forward_flops(backbone, LENGTHS) != formula(backbone, method)


@pytest.mark.parametrize("name", THREE)
def test_the_pass_that_makes_states_known(name: str) -> None:
    backbone = THREE[name]
    tokens, _ = padded(backbone, tuple(LENGTHS))
    for layers in range(backbone.layers):
        with FlopCounterMode(display=False) as counter:
            encode(encoder(backbone, None, torch.float32), backbone, pack(tokens.tolist()), layers)
        assert counter.get_total_flops() == forward_flops(backbone, LENGTHS, layers)
        assert counter.get_total_flops() != forward_flops(backbone, LENGTHS, layers + 1)


@pytest.mark.parametrize("term", ["attention", *ATTENTION, *FFN])
def test_a_formula_without_one_of_its_terms_is_contradicted(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, method = THREE["roberta, first"], ADAPTERS["top 2"]
    counts = [counted(backbone, m) for m in (None, Full(), method)]
    known = counted(backbone, method, known=True)

    def formulas() -> list[int]:
        full = training_flops(backbone, Full(), LENGTHS)
        return [forward_flops(backbone, LENGTHS), full, formula(backbone, method)]

    assert counts == formulas()
    assert known == formula(backbone, method, known=True)
    without(monkeypatch, term)
    assert all(count > broken for count, broken in zip(counts, formulas(), strict=True))
    assert known > formula(backbone, method, known=True)


# Each saving that a limit may rely on


@pytest.mark.parametrize("name", FIRST)
def test_first_token(name: str) -> None:
    first = THREE[name]
    mean = replace(first, pooling="mean")
    limit = replace(LEAST, first_token=False)
    for method in (Full(), ADAPTERS["all"]):
        merging = 0 if method == Full() else merging_flops(first, ADAPTERS["all"])
        count = counted(mean, method)
        assert count == training_flops(first, method, LENGTHS, limit=limit) + merging
        assert count > training_flops(first, method, LENGTHS) + merging
    assert counted(mean, None) == forward_flops(first, LENGTHS, limit=limit)


@pytest.mark.parametrize("adapter", ["all", "ffn", "top 2"])
@pytest.mark.parametrize("name", THREE)
def test_lowest_inputs(name: str, adapter: str) -> None:
    backbone, method = THREE[name], ADAPTERS[adapter]
    limit = replace(LEAST, lowest_inputs=False)
    count = counted(backbone, method, known=True, below=True)
    assert count == formula(backbone, method, limit, known=True)
    assert count > formula(backbone, method, known=True)


def test_lowest_inputs_are_those_of_query_key_and_value_when_all_maps_are_adapted() -> None:
    method = LoRA(rank=1)
    with_inputs = training_flops(MINILM, method, [7], limit=replace(LEAST, lowest_inputs=False))
    assert with_inputs - training_flops(MINILM, method, [7]) == 3 * 2 * MINILM.width**2 * 7


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", THREE)
def test_merged(name: str, adapter: str) -> None:
    backbone, method = THREE[name], ADAPTERS[adapter]
    limit = replace(LEAST, merged=False)
    # Dropout on its input takes an adapter apart from its map.
    count = counted(backbone, replace(method, dropout=0.5), training=True)
    assert count == formula(backbone, method, limit, steps=0)
    assert count == training_flops(backbone, replace(method, dropout=0.5), LENGTHS)
    assert count != formula(backbone, method)


# Passes that are not ours


def of_others(model: torch.nn.Module, backbone: Backbone, backward: bool) -> int:
    """Operations of a pass of transformers over the texts."""
    tokens, _ = padded(backbone, tuple(LENGTHS))
    with FlopCounterMode(display=False) as counter:
        states = model(input_ids=tokens).last_hidden_state
        if backward:
            states.sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("family", BACKBONES)
def test_transformers_own_pass_is_the_coarse_one(family: str) -> None:
    backbone = replace(BACKBONES[family], pooling="first")
    model = encoder(backbone, Full(), torch.float32)
    model.set_attn_implementation("eager")
    forward = of_others(model, backbone, backward=False)
    full = of_others(model, backbone, backward=True)
    assert forward == forward_flops(backbone, LENGTHS, limit=COARSE)
    assert full == training_flops(backbone, Full(), LENGTHS, limit=COARSE)
    assert forward > forward_flops(backbone, LENGTHS)
    assert full > training_flops(backbone, Full(), LENGTHS)


@pytest.mark.parametrize("family", BACKBONES)
def test_pefts_own_pass_is_neither_merged_nor_for_one_token(family: str) -> None:
    backbone, method = replace(BACKBONES[family], pooling="first"), LoRA(rank=2)
    base = encoder(backbone, None, torch.float32)
    base.set_attn_implementation("eager")
    targets = ["query", "key", "value", "dense"]
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=targets))
    limit = replace(COARSE, lowest_inputs=True)
    count = of_others(model, backbone, backward=True)
    assert count == training_flops(backbone, method, LENGTHS, limit=limit)
    assert count < training_flops(backbone, method, LENGTHS, limit=COARSE)
    assert count > training_flops(backbone, method, LENGTHS)


# The literature's coarse formulas, at real sizes


@pytest.mark.parametrize("backbone", [DISTILROBERTA, MINILM], ids=lambda b: b.name)
@pytest.mark.parametrize("s", [1, 128, 512])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_coarse_is_the_table_of_the_docstring(backbone: Backbone, s: int, k: int) -> None:
    n, layers, d = backbone.map_parameters, backbone.layers, backbone.width
    method = LoRA(rank=3, top_layers=k)
    p = method.added_parameters(backbone)
    attention = layers * s * d
    forward = 2 * n + 4 * attention
    assert forward_flops(backbone, [s], limit=COARSE) == s * forward
    assert training_flops(backbone, Full(), [s], limit=COARSE) == s * (6 * n + 12 * attention)
    top = forward + k * (2 * n + 8 * attention) // layers + 6 * p
    assert training_flops(backbone, method, [s], limit=COARSE) == s * top
    above = k * (4 * n + 12 * attention) // layers + 6 * p
    assert training_flops(backbone, method, [s], limit=COARSE, known=True) == s * above


def per_token(method: Method, limit: Limit, *, known: bool = False) -> float:
    """Of DistilRoBERTa's longest text."""
    return training_flops(DISTILROBERTA, method, [512], known=known, limit=limit) / 512


def test_published_ratios() -> None:
    thesis = LoRA(rank=5, targets=("query", "value"))
    top = replace(thesis, top_layers=2)
    forward = forward_flops(DISTILROBERTA, [512], limit=COARSE) / 512
    full = per_token(Full(), COARSE)
    assert forward == pytest.approx(94.5e6, rel=0.003)
    assert full == pytest.approx(283.5e6, rel=0.003)
    assert per_token(thesis, COARSE) == pytest.approx(198.5e6, rel=0.003)
    assert per_token(thesis, COARSE) / full == pytest.approx(0.70, abs=0.005)
    assert per_token(top, COARSE) / full == pytest.approx(0.455, abs=0.002)
    assert per_token(top, COARSE, known=True) / full == pytest.approx(0.233, abs=0.002)


def test_what_each_saving_moves() -> None:
    # Adapters of rank 0, by a straight line through ranks 1 and 2.
    lowest = replace(COARSE, lowest_inputs=True)
    ranks = [per_token(LoRA(rank=rank), lowest) for rank in (1, 2)]
    assert (2 * ranks[0] - ranks[1]) / per_token(Full(), COARSE) == pytest.approx(0.687, abs=0.001)
    first = replace(COARSE, first_token=True)
    for method in (Full(), LoRA(rank=5)):
        share = per_token(method, first) / per_token(method, COARSE)
        assert share == pytest.approx(0.86, abs=0.005)
    top = LoRA(rank=5, targets=("query", "value"), top_layers=2)
    assert per_token(top, first, known=True) == pytest.approx(38e6, rel=0.01)
    assert per_token(top, COARSE, known=True) == pytest.approx(66e6, rel=0.01)


def test_merging_is_cheaper_than_adapters_on_their_own_at_real_sizes() -> None:
    lengths = [128] * 16
    for backbone in (DISTILROBERTA, MINILM):
        method = LoRA(rank=8)
        merged = training_flops(backbone, method, lengths) + merging_flops(backbone, method)
        own = training_flops(backbone, method, lengths, limit=replace(LEAST, merged=False))
        assert merged < own
        # A step of one short text is another matter.
        few = training_flops(backbone, method, [8]) + merging_flops(backbone, method)
        assert few > training_flops(backbone, method, [8], limit=replace(LEAST, merged=False))


def test_another_method_pays_for_all_states_and_six_operations_a_weight() -> None:
    class Some(Method):
        def attach(self, encoder: torch.nn.Module) -> None:
            raise AssertionError("counting loads no weights")

        def added_parameters(self, backbone: Backbone) -> int:
            return 11

    n, attention = MINILM.map_parameters, MINILM.layers * 9 * MINILM.width
    assert training_flops(MINILM, Some(), [9]) == 9 * (4 * n + 12 * attention + 6 * 11)


def test_texts_add_up_and_long_ones_cost_more() -> None:
    for method in (Full(), ADAPTERS["all"], ADAPTERS["top 2"]):
        parts = [training_flops(MINILM, method, [n]) for n in (10, 20)]
        assert sum(parts) == training_flops(MINILM, method, iter([10, 20]))
        assert parts[1] > 2 * parts[0]
    assert forward_flops(MINILM, []) == 0
