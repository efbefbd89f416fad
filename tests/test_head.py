"""head.py: pooling over the tokens of each text, and RoBERTa's own head."""

from collections.abc import Callable

import pytest
import torch
from tiny_models import LENGTHS
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

from lowrank_da.backbone import TINY, Pooling
from lowrank_da.head import Head, pool
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


PLAIN: dict[Pooling, Callable[[Tensor], Tensor]] = {
    "first": lambda text: text[0],
    "last": lambda text: text[-1],
    "mean": lambda text: text.mean(dim=0),
}
"""What each pooling makes of one text's states."""
every_pooling = pytest.mark.parametrize("pooling", PLAIN)


@every_length
@every_pooling
def test_pooling_is_over_a_texts_own_tokens(pooling: Pooling, lengths: tuple[int, ...]) -> None:
    wanted = torch.stack([PLAIN[pooling](text) for text in texts(lengths)])
    torch.testing.assert_close(pool(*packed(lengths), pooling), wanted)


@every_pooling
def test_what_is_pooled_already_stays_what_it_is(pooling: Pooling) -> None:
    states, packing = packed()
    pooled = pool(states, packing, pooling)
    assert torch.equal(pool(pooled, packing.singles(), pooling), pooled)


@pytest.mark.parametrize(
    ("pooling", "same"),
    [
        ("first", [True, True, False]),
        ("last", [True, False, True]),
        ("mean", [True, False, False]),
    ],
)
def test_other_borders_between_texts_are_noticed(pooling: Pooling, same: list[bool]) -> None:
    states, packing = packed((5, 2, 3))
    found = pool(states, Packing.of((5, 3, 2)), pooling)
    near = (found - pool(states, packing, pooling)).abs().amax(dim=1) < 1e-6
    assert near.tolist() == same


def test_means_are_taken_in_float32() -> None:
    """1 + 2^-8 is no number in bf16, and summing a thousand of them would lose far more."""
    states, packing = torch.ones(1000, 16).bfloat16(), Packing.of([999, 1])
    states[0] = 256.0
    pooled = pool(states, packing, "mean")
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[0], torch.full((16,), (256 + 998) / 999))


@pytest.mark.parametrize(
    ("pooling", "reads"), [("first", [True, False]), ("last", [False, True]), ("mean", [True] * 2)]
)
def test_a_text_has_no_influence_on_its_neighbours(pooling: Pooling, reads: list[bool]) -> None:
    states, packing = packed()
    states.requires_grad_()
    logits = Head(16, 3, pooling, 0.0)(states, packing)
    assert logits.shape == (3, 3)
    logits[1].sum().backward()
    assert states.grad is not None
    reached = states.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [False] * 5 + reads + [False] * 3


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
