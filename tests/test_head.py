"""head.py: pooling over the tokens of each text, and RoBERTa's own head."""

from typing import Literal

import pytest
import torch
from tiny_models import LENGTHS
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

from lowrank_da.backbone import TINY
from lowrank_da.head import Head
from lowrank_da.packing import Packing

SHORT = (5, 2, 3)
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))


def texts(lengths: tuple[int, ...] = SHORT) -> list[Tensor]:
    """Each text's (tokens, 16) states."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 16, generator=generator) for n in lengths]


def packed(lengths: tuple[int, ...] = SHORT) -> tuple[Tensor, Packing]:
    """The same in one row."""
    return torch.cat(texts(lengths)), Packing.of(lengths)


@every_length
def test_first_token(lengths: tuple[int, ...]) -> None:
    pooled = Head(16, 3, "first", 0.0).pool(*packed(lengths))
    assert torch.equal(pooled, torch.stack([text[0] for text in texts(lengths)]))


@every_length
def test_mean_over_the_texts_own_tokens(lengths: tuple[int, ...]) -> None:
    wanted = torch.stack([text.mean(dim=0) for text in texts(lengths)])
    torch.testing.assert_close(Head(16, 3, "mean", 0.0).pool(*packed(lengths)), wanted)


def test_other_borders_between_texts_are_noticed() -> None:
    states, _ = packed((5, 2, 3))
    for pooling in ("first", "mean"):
        head = Head(16, 3, pooling, 0.0)
        found = head.pool(states, Packing.of((5, 3, 2)))
        same = (found - head.pool(*packed((5, 2, 3)))).abs().amax(dim=1) < 1e-6
        assert same.tolist() == [True, pooling == "first", False]


def test_means_are_taken_in_float32() -> None:
    """1 + 2^-8 is no number in bf16, and summing a thousand of them would lose far more."""
    states, packing = torch.ones(1000, 16).bfloat16(), Packing.of([999, 1])
    states[0] = 256.0
    pooled = Head(16, 3, "mean", 0.0).pool(states, packing)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[0], torch.full((16,), (256 + 998) / 999))


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_text_has_no_influence_on_its_neighbours(pooling: Literal["first", "mean"]) -> None:
    states, packing = packed()
    states.requires_grad_()
    logits = Head(16, 3, pooling, 0.0)(states, packing)
    assert logits.shape == (3, 3)
    logits[1].sum().backward()
    assert states.grad is not None
    reached = states.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [False] * 5 + [True, pooling == "mean"] + [False] * 3


def test_equals_the_head_of_roberta() -> None:
    theirs = RobertaClassificationHead(RobertaConfig(hidden_size=16, num_labels=4)).eval()
    ours = Head(16, 4, "first", 0.1).eval()
    ours.load_state_dict(theirs.state_dict())
    padded = pad_sequence(texts(), batch_first=True)
    torch.testing.assert_close(ours(*packed()), theirs(padded))


def test_dropout_acts_in_training_only() -> None:
    head = Head(16, 3, "first", 0.5)
    assert not torch.equal(head(*packed()), head(*packed()))
    head.eval()
    assert torch.equal(head(*packed()), head(*packed()))


def test_size_and_start() -> None:
    head = Head(TINY.width, 4, "first", 0.0)
    assert sum(p.numel() for p in head.parameters()) == TINY.head_parameters(4)
    large = Head(256, 4, "first", 0.0)
    assert float(large.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert torch.count_nonzero(large.dense.bias) == torch.count_nonzero(large.out_proj.bias) == 0
