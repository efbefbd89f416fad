"""head.py: pooling over real tokens, and RoBERTa's own head."""

from typing import Literal

import pytest
import torch
from transformers import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

from lowrank_da.backbone import TINY
from lowrank_da.head import Head

LENGTHS = (5, 2, 3)


def states_and_mask() -> tuple[torch.Tensor, torch.Tensor]:
    """(3, 5, 16) states of texts of `LENGTHS` tokens, noise at the padding."""
    torch.manual_seed(0)
    return torch.randn(3, 5, 16), torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


def test_first_token() -> None:
    states, mask = states_and_mask()
    pooled = Head(16, 3, "first", 0.0).pool(states, mask)
    assert torch.equal(pooled, torch.stack([text[0] for text in states]))


def test_mean_over_real_tokens_only() -> None:
    states, mask = states_and_mask()
    head = Head(16, 3, "mean", 0.0)
    wanted = torch.stack([text[:n].mean(dim=0) for text, n in zip(states, LENGTHS, strict=True)])
    torch.testing.assert_close(head.pool(states, mask), wanted)
    torch.testing.assert_close(head.pool(states, None), states.mean(dim=1))


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_padding_has_no_influence_and_no_gradient(pooling: Literal["first", "mean"]) -> None:
    states, mask = states_and_mask()
    head = Head(16, 3, pooling, 0.0)
    other = states.where(mask.unsqueeze(-1), torch.tensor(7.0)).requires_grad_()
    logits = head(other, mask)
    assert logits.shape == (3, 3)
    torch.testing.assert_close(logits, head(states, mask))
    logits.sum().backward()
    assert other.grad is not None
    assert torch.count_nonzero(other.grad[~mask]) == 0
    assert torch.count_nonzero(other.grad[:, 0]) > 0


def test_equals_the_head_of_roberta() -> None:
    theirs = RobertaClassificationHead(RobertaConfig(hidden_size=16, num_labels=4)).eval()
    ours = Head(16, 4, "first", 0.1).eval()
    ours.load_state_dict(theirs.state_dict())
    states, mask = states_and_mask()
    torch.testing.assert_close(ours(states, mask), theirs(states))


def test_dropout_acts_in_training_only() -> None:
    states, mask = states_and_mask()
    head = Head(16, 3, "first", 0.5)
    assert not torch.equal(head(states, mask), head(states, mask))
    head.eval()
    assert torch.equal(head(states, mask), head(states, mask))


def test_size_and_start() -> None:
    head = Head(TINY.width, 4, "first", 0.0)
    assert sum(p.numel() for p in head.parameters()) == TINY.head_parameters(4)
    large = Head(256, 4, "first", 0.0)
    assert float(large.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert torch.count_nonzero(large.dense.bias) == torch.count_nonzero(large.out_proj.bias) == 0
