"""cost.py: the formulas against PyTorch's own counter of operations, and against the literature's.

The counter is exact, so equality is. Every check has a twin: a formula with one term dropped, or
with another limit, that the counter contradicts.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import peft
import pytest
import torch
from tiny_models import BACKBONES, encoder, padded
from torch.utils.flop_counter import FlopCounterMode

from lowrank_da import cost, discover
from lowrank_da.backbone import (
    ATTENTION,
    DISTILROBERTA,
    FFN,
    MINILM,
    TINY_DECODER,
    Backbone,
    Map,
)
from lowrank_da.batches import pack
from lowrank_da.cost import COARSE, LEAST, Limit, forward_flops, merging_flops, training_flops
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.method import Method, Work
from lowrank_da.method import method as method_called
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.both import Both
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt

TEXTS, LENGTH = 3, 40
LENGTHS = [LENGTH] * TEXTS
THREE = {
    f"{family}, {pooling}": replace(backbone, layers=3, pooling=pooling)
    for family, backbone in (BACKBONES | {"decoder": TINY_DECODER}).items()
    for pooling in (("last", "mean") if backbone.decoder else ("first", "mean"))
}
"""Every family with either pooling, three layers high."""
ONE_TOKEN = [name for name in THREE if not name.endswith("mean")]
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

    `known`: it starts above the frozen layers; `below`: what enters there needs a gradient. A
    decoder's angles are left out.
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
        if method is not None and states.requires_grad:
            states.sum().backward()
    virtual = 0 if method is None else method.work(backbone).tokens
    return int(counter.get_total_flops()) - angles(model, TEXTS * (LENGTH + virtual))


def angles(model: torch.nn.Module, tokens: int) -> int:
    """A decoder's products of places and frequencies: transformers forms them as it likes."""
    if not hasattr(model, "rotary_emb"):
        return 0
    with FlopCounterMode(display=False) as counter:
        model.rotary_emb(torch.rand(1), torch.arange(tokens)[None])
    return int(counter.get_total_flops())


def formula(
    backbone: Backbone, method: LoRA, limit: Limit = LEAST, *, known: bool = False, steps: int = 1
) -> int:
    """What LoRA trains with, merged adapters formed `steps` times."""
    flops = training_flops(backbone, method, LENGTHS, known=known, limit=limit)
    return flops + steps * merging_flops(backbone, method)


def without(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    """Break the formulas: forget attention's products, a copy, or those of one of the maps."""
    if term == "attention":
        monkeypatch.setattr(cost._Layer, "attention", 0)
        return
    if term == "gate":
        monkeypatch.setattr(Backbone, "copies", lambda self, target: 1)
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
    model = encoder(backbone, None, torch.float32)
    for layers in range(backbone.layers):
        with FlopCounterMode(display=False) as counter:
            encode(model, backbone, pack(tokens.tolist()), layers)
        count = counter.get_total_flops() - angles(model, sum(LENGTHS))
        assert count == forward_flops(backbone, LENGTHS, layers)
        assert count != forward_flops(backbone, LENGTHS, layers + 1)


@pytest.mark.parametrize(
    ("name", "term"),
    [
        *product(["roberta, first", "decoder, last"], ["attention", *ATTENTION, *FFN]),
        ("decoder, last", "gate"),
    ],
)
def test_a_formula_without_one_of_its_terms_is_contradicted(
    name: str, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, method = THREE[name], ADAPTERS["top 2"]
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


# The methods beside LoRA and full fine-tuning

OTHERS: dict[str, Method] = {
    "probe": LinearProbe(),
    "adapter": Adapter(bottleneck=5),
    "bitfit": BitFit(),
    "prefix": Prefix(tokens=7),
    "prompt": Prompt(tokens=7),
    "p_tuning, left": PTuning(tokens=7, side="left", hidden=9),
    "p_tuning, both": PTuning(tokens=7),
    "p_tuning and bitfit": Both(PTuning(tokens=7, side="left"), BitFit()),
    "lora and bitfit": Both(LoRA(rank=2, targets=("query", "ffn_out")), BitFit()),
    "lora and adapter": Both(LoRA(rank=2, targets=("attention_output",)), Adapter(bottleneck=5)),
    "lora and prefix": Both(LoRA(rank=2, targets=("query",), top_layers=1), Prefix(tokens=7)),
    "prefix and prompt": Both(Prefix(tokens=7), Prompt(tokens=3)),
}


def beside(backbone: Backbone, method: Method) -> int:
    """What is computed once a step: P-tuning's network, forward and backward, and merging."""
    parts = (method.first, method.second) if isinstance(method, Both) else (method,)
    d, total = backbone.width, 0
    for part in parts:
        if isinstance(part, PTuning):
            h = part.hidden or d
            total += 6 * part.tokens * (2 * d * h + h * h)
        if isinstance(part, LoRA):
            total += merging_flops(backbone, part)
    return total


FILES = {name: method_called(name)() for name in discover.names("lowrank_da.methods")}
"""Every method found, with its defaults."""


@pytest.mark.parametrize("other", FILES | OTHERS)
@pytest.mark.parametrize("name", THREE)
def test_other_methods(name: str, other: str) -> None:
    backbone, method = THREE[name], (FILES | OTHERS)[other]
    count = counted(backbone, method) - beside(backbone, method)
    if backbone.decoder and isinstance(method, PTuning) and method.side == "both":
        # Its text's last token is not the row's, so all of the last layer is computed.
        assert count > training_flops(backbone, method, LENGTHS)
        limit = replace(LEAST, first_token=False)
        assert count == training_flops(backbone, method, LENGTHS, limit=limit)
    else:
        assert count == training_flops(backbone, method, LENGTHS)


TERMS = [
    ("prefix", Prefix, {"keys": 0}),
    ("prefix", Prefix, {"touched": frozenset()}),
    ("prompt", Prompt, {"tokens": 0}),
    ("prompt", Prompt, {"embeddings": False}),
    ("p_tuning, left", PTuning, {"tokens": 0}),
    ("p_tuning, left", PTuning, {"embeddings": False}),
    ("adapter", Adapter, {"behind": {}}),
    ("bitfit", BitFit, {"touched": frozenset()}),
    ("p_tuning and bitfit", PTuning, {"tokens": 0}),
    ("lora and adapter", Adapter, {"behind": {}}),
]


@pytest.mark.parametrize(("other", "kind", "less"), TERMS)
def test_a_method_that_forgets_a_term_is_contradicted(
    other: str, kind: type[Method], less: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, method = THREE["bert, mean"], OTHERS[other]
    count = counted(backbone, method) - beside(backbone, method)
    real = kind.work
    monkeypatch.setattr(kind, "work", lambda self, backbone: replace(real(self, backbone), **less))
    assert count > training_flops(backbone, method, LENGTHS)


@pytest.mark.parametrize("name", THREE)
def test_a_norm_that_trains_before_the_lowest_maps_is_counted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, method = THREE[name], OTHERS["adapter"]
    count = counted(backbone, method)
    real = Adapter.work
    forgets = lambda self, backbone: replace(real(self, backbone), embeddings=False)  # noqa: E731
    monkeypatch.setattr(Adapter, "work", forgets)
    assert (count > training_flops(backbone, method, LENGTHS)) == backbone.decoder


@pytest.mark.parametrize("name", THREE)
def test_a_probe_over_known_features_computes_nothing(name: str) -> None:
    assert training_flops(THREE[name], LinearProbe(), LENGTHS, known=True) == 0
    whole = training_flops(THREE[name], LinearProbe(), LENGTHS)
    assert whole == forward_flops(THREE[name], LENGTHS) == counted(THREE[name], LinearProbe())


@pytest.mark.parametrize("name", THREE)
def test_a_method_of_ones_own_says_what_it_moves(name: str) -> None:
    class Values(BitFit):
        """Train the biases of the values."""

        def change(self, encoder: torch.nn.Module, backbone: Backbone) -> None:
            BitFit().change(encoder, backbone)
            for part, parameter in encoder.named_parameters():
                parameter.requires_grad_(part.endswith(("value.bias", "v_proj.bias")))

        def work(self, backbone: Backbone) -> Work:
            return Work(touched=frozenset({"value"}))

    backbone = THREE[name]
    assert counted(backbone, Values()) == training_flops(backbone, Values(), LENGTHS)


# LoRA's further kinds


def map_sums(backbone: Backbone, method: LoRA) -> tuple[int, int, int]:
    """Over all adapted maps: 2 S in out, 2 r in out, 4 S r (in + out)."""
    sums = [0, 0, 0]
    for number in range(backbone.layers):
        few = backbone.pooling != "mean" and number == backbone.layers - 1
        for target in method.targets:
            rows, columns = backbone.map_shape(target)
            alone = few and target not in ("key", "value")
            tokens = TEXTS if alone else sum(LENGTHS)
            one = (2 * tokens * rows * columns, 2 * method.rank * rows * columns)
            for place, count in enumerate((*one, 4 * tokens * method.rank * (rows + columns))):
                sums[place] += backbone.copies(target) * count
    return sums[0], sums[1], sums[2]


@pytest.mark.parametrize("targets", [ATTENTION + FFN, ("value",), ("ffn_in",)])
@pytest.mark.parametrize("name", THREE)
def test_a_decomposed_lora_is_differentiated_through_its_map(
    name: str, targets: tuple[Map, ...]
) -> None:
    backbone, method = THREE[name], LoRA(rank=2, targets=targets, decomposed=True)
    of_maps, merging, of_factors = map_sums(backbone, method)
    assert merging == merging_flops(backbone, method)
    more = of_maps + 2 * merging - of_factors
    assert counted(backbone, method) == formula(backbone, method) + more
    plain = replace(method, decomposed=False)
    assert formula(backbone, method) == formula(backbone, plain) == counted(backbone, plain)


@pytest.mark.parametrize("name", THREE)
def test_a_decomposed_lora_with_dropout_still_merges_for_its_lengths(name: str) -> None:
    backbone, method = THREE[name], LoRA(rank=2, decomposed=True, dropout=0.5)
    assert counted(backbone, method, training=True) == formula(backbone, method)


def test_merging_counts_every_copy_of_a_map_and_adapted_layers_alone() -> None:
    d, f = TINY_DECODER.width, TINY_DECODER.ffn
    one = LoRA(rank=3, targets=("ffn_in",), top_layers=1)
    assert merging_flops(TINY_DECODER, one) == 2 * (2 * 3 * d * f)
    narrow = replace(one, targets=("key", "value"))
    assert merging_flops(TINY_DECODER, narrow) == 2 * (2 * 3 * d * d // 2)
    assert merging_flops(DISTILROBERTA, replace(one, top_layers=None)) == 6 * 2 * 3 * 768 * 3072


# Each saving that a limit may rely on


@pytest.mark.parametrize("name", ONE_TOKEN)
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


def test_texts_add_up_and_long_ones_cost_more() -> None:
    for method in (Full(), ADAPTERS["all"], ADAPTERS["top 2"]):
        parts = [training_flops(MINILM, method, [n]) for n in (10, 20)]
        assert sum(parts) == training_flops(MINILM, method, iter([10, 20]))
        assert parts[1] > 2 * parts[0]
    assert forward_flops(MINILM, []) == 0


def test_work_at_a_map_that_is_not_there_is_refused() -> None:
    for work in ({"touched": frozenset({"attention_out"})}, {"behind": {"attention_out": (1,)}}):
        with pytest.raises(UserError, match="did you mean 'attention_output'"):
            Work(**work)
