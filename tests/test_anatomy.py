"""anatomy.py: the names by which transformers' modules are found, on every family."""

from dataclasses import replace

import pytest
import torch
from tiny_models import BACKBONES, encoder
from torch import nn

from lowrank_da import anatomy
from lowrank_da.backbone import ATTENTION, TINY_DECODER, Backbone
from lowrank_da.layers import LoRALinear
from lowrank_da.methods.lora import LoRA

EVERY = [*BACKBONES.values(), TINY_DECODER]
every_family = pytest.mark.parametrize("one", EVERY, ids=lambda one: one.family)


@every_family
def test_layers_come_from_the_lowest_up(one: Backbone) -> None:
    model = encoder(one, dtype=torch.float32)
    entered: list[int] = []
    for number, layer in enumerate(anatomy.layers(model)):
        layer.register_forward_pre_hook(lambda *_, number=number: entered.append(number))
    model(input_ids=torch.tensor([[5, 6]]))
    assert entered == list(range(one.layers))


@every_family
def test_what_makes_the_lowest_states(one: Backbone) -> None:
    model = encoder(one, dtype=torch.float32)
    assert anatomy.words(model) is model.get_input_embeddings()
    assert tuple(anatomy.words(model).weight.shape) == (one.vocab, one.width)
    tokens = torch.tensor([[5, 6, 7]])
    hidden = model(input_ids=tokens, output_hidden_states=True).hidden_states
    assert torch.equal(anatomy.embeddings(model)(tokens), hidden[0])


@every_family
def test_norms_are_all_those_of_the_layers(one: Backbone) -> None:
    model = encoder(one)
    found = list(anatomy.norms(model))
    inside = {m for m in anatomy.layers(model).modules() if type(m).__name__.endswith("Norm")}
    assert len(found) == 2 * one.layers
    assert set(found) == inside


@every_family
def test_a_map_that_a_method_has_replaced_is_found_at_its_place(one: Backbone) -> None:
    two = replace(one, layers=2)
    model = encoder(two, LoRA(rank=2, targets=("query", "ffn_in"), top_layers=1))
    for number, target, parent, attribute in anatomy.linear_maps(model):
        kind = LoRALinear if number == 1 and target in ("query", "ffn_in") else nn.Linear
        assert type(getattr(parent, attribute)) is kind


def test_a_decoders_gate_goes_by_the_name_of_its_input() -> None:
    places = [(target, name) for n, target, _, name in anatomy.linear_maps(encoder(TINY_DECODER))]
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    targets = [*ATTENTION, "ffn_in", "ffn_in", "ffn_out"]
    assert places == list(zip(targets, names, strict=True)) * TINY_DECODER.layers
