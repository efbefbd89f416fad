"""cost.py: the formulas against PyTorch's own counter of operations."""

import pytest
import torch
from tiny_models import BACKBONES, encoder, padded
from torch.utils.flop_counter import FlopCounterMode

from lowrank_da import attention
from lowrank_da.backbone import ATTENTION, DISTILROBERTA, FFN, MINILM, Backbone
from lowrank_da.cost import forward_flops, training_flops
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA

TEXTS, LENGTH = 3, 40
LENGTHS = [LENGTH] * TEXTS
LORA = LoRA(rank=2)


def counted(backbone: Backbone, method: Method | None) -> int:
    """Operations of matrix products on three texts: forward, and backward if a method trains."""
    model = encoder(backbone, method, torch.float32)
    attention.choose(model, torch.device("cpu"))
    tokens, _ = padded(backbone, tuple(LENGTHS))
    with FlopCounterMode(display=False) as counter:
        states = model(input_ids=tokens).last_hidden_state
        if method is not None:
            states.sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("family", BACKBONES)
def test_forward(family: str) -> None:
    backbone = BACKBONES[family]
    assert counted(backbone, None) == forward_flops(backbone, LENGTHS)


@pytest.mark.parametrize("family", BACKBONES)
def test_full_fine_tuning(family: str) -> None:
    backbone = BACKBONES[family]
    assert counted(backbone, Full()) == training_flops(backbone, Full(), LENGTHS)
    assert training_flops(backbone, Full(), LENGTHS) == 3 * forward_flops(backbone, LENGTHS)


@pytest.mark.parametrize("family", BACKBONES)
def test_lora_differs_by_what_the_merged_layer_saves_and_adds(family: str) -> None:
    backbone = BACKBONES[family]
    tokens = TEXTS * LENGTH
    added = LORA.added_parameters(backbone)
    # The adapter has no forward product of its own: 4 P a token, not 6 P.
    own_forward = 2 * added * tokens
    # The frozen embeddings below the first query, key and value need no gradient.
    first_inputs = 3 * 2 * backbone.width**2 * tokens
    # W + sAB is formed once a step, whatever the number of tokens.
    merging = 2 * LORA.rank * backbone.map_parameters
    formula = training_flops(backbone, LORA, LENGTHS)
    assert counted(backbone, LORA) == formula - own_forward - first_inputs + merging


def test_the_differences_are_small_at_real_sizes() -> None:
    tokens = 2048
    lora = LoRA(rank=8)
    for backbone in (DISTILROBERTA, MINILM):
        own_forward = 2 * lora.added_parameters(backbone) * tokens
        first_inputs = 3 * 2 * backbone.width**2 * tokens
        merging = 2 * lora.rank * backbone.map_parameters
        formula = training_flops(backbone, lora, [128] * 16)
        assert abs(merging - own_forward - first_inputs) < 0.06 * formula


def test_published_sizes() -> None:
    one = [512]  # operations a token of the thesis' longest text
    thesis = LoRA(rank=5, targets=("query", "value"))
    forward = forward_flops(DISTILROBERTA, one) / 512
    full = training_flops(DISTILROBERTA, Full(), one) / 512
    lora = training_flops(DISTILROBERTA, thesis, one) / 512
    assert forward == pytest.approx(94.5e6, rel=0.003)
    assert full == pytest.approx(283.5e6, rel=0.003)
    assert lora == pytest.approx(198.5e6, rel=0.003)
    assert lora / full == pytest.approx(0.70, abs=0.005)


def test_texts_add_up_and_long_ones_cost_more() -> None:
    for method in (Full(), LORA):
        parts = [training_flops(MINILM, method, [n]) for n in (10, 20)]
        assert sum(parts) == training_flops(MINILM, method, [10, 20])
        assert parts[1] > 2 * parts[0]
    assert forward_flops(MINILM, []) == 0


def test_parts_by_hand() -> None:
    shapes = [MINILM.map_shape(target) for target in ATTENTION + FFN]
    maps = MINILM.layers * sum(a * b for a, b in shapes)
    adapters = MINILM.layers * 2 * sum(a + b for a, b in shapes)
    scores_and_mixing = MINILM.layers * 2 * MINILM.width * 7
    forward = 2 * (maps + scores_and_mixing) * 7
    assert forward_flops(MINILM, [7]) == forward
    frozen = 2 * (2 * maps + 3 * scores_and_mixing) * 7
    assert training_flops(MINILM, LORA, [7]) == frozen + 6 * adapters * 7
