"""attention.py: plain matrix products against PyTorch's fused attention."""

import pytest
import torch
from tiny_models import BACKBONES, encoder, padded
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from lowrank_da import attention
from lowrank_da.methods.lora import LoRA

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}
CPU, CARD = torch.device("cpu"), torch.device("cuda")


def inputs(dtype: torch.dtype) -> list[Tensor]:
    """query, key, value: two texts, three heads, five tokens, four numbers."""
    torch.manual_seed(0)
    return [torch.randn(2, 3, 5, 4, dtype=dtype, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_equals_torch_in_value_and_gradient(
    masked: bool, dtype: torch.dtype, scaling: float | None
) -> None:
    ours, theirs = inputs(dtype), inputs(dtype)
    mask = torch.zeros(2, 1, 5, 5, dtype=dtype)
    mask[1, :, :, 3:] = torch.finfo(dtype).min
    chosen = mask if masked else None
    found, weights = attention.attention(nn.Module(), *ours, chosen, scaling)
    wanted = functional.scaled_dot_product_attention(*theirs, attn_mask=chosen, scale=scaling)
    assert weights is None
    bound = BOUNDS[dtype]
    torch.testing.assert_close(found, wanted.transpose(1, 2), rtol=bound, atol=bound)
    direction = torch.randn_like(found)
    (found * direction).sum().backward()
    (wanted.transpose(1, 2) * direction).sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=bound, atol=bound)


def test_masked_tokens_have_no_influence() -> None:
    query, key, value = (t.detach() for t in inputs(torch.float64))
    mask = torch.zeros(2, 1, 5, 5, dtype=torch.float64)
    mask[..., 3:] = torch.finfo(torch.float64).min
    before, _ = attention.attention(nn.Module(), query, key, value, mask)
    key[:, :, 3:], value[:, :, 3:] = 9.0, -9.0
    after, _ = attention.attention(nn.Module(), query, key, value, mask)
    assert torch.equal(before, after)


def test_dropout_acts_in_training_only_and_is_unbiased() -> None:
    query, key, value = (t.detach()[:1, :1] for t in inputs(torch.float64))
    many = [t.expand(4000, 1, 5, 4) for t in (query, key, value)]
    module = nn.Module()
    plain, _ = attention.attention(module.eval(), query, key, value, None, dropout=0.4)
    still, _ = attention.attention(module.eval(), query, key, value, None)
    assert torch.equal(plain, still)
    dropped, _ = attention.attention(module.train(), *many, None, dropout=0.4)
    error = dropped.std(dim=0) / 4000**0.5
    assert (error > 0).all()
    assert ((dropped.mean(dim=0) - plain[0]).abs() < 5 * error).all()


def states(model: PreTrainedModel, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, tokens, width) last states."""
    found: Tensor = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    return found


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("family", BACKBONES)
def test_whole_encoder_agrees_on_padded_batches(family: str, dtype: torch.dtype) -> None:
    backbone = BACKBONES[family]
    model = encoder(backbone, LoRA(rank=2), dtype)
    tokens, mask = padded(backbone)
    found = {}
    for device in (CPU, CARD):
        model.zero_grad()
        attention.choose(model, device)
        out = states(model, tokens, mask)[mask]
        out.square().sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        found[model.config._attn_implementation] = {"states": out.detach()} | gradients
    assert set(found) == {attention.PRODUCTS, "sdpa"}
    bound = 100 * BOUNDS[dtype]
    for name, own in found[attention.PRODUCTS].items():
        torch.testing.assert_close(own, found["sdpa"][name], rtol=bound, atol=bound)


def test_products_are_what_runs_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("fused attention was called")

    monkeypatch.setattr(functional, "scaled_dot_product_attention", refused)
    model = encoder()
    attention.choose(model, CPU)
    assert states(model, *padded()).isfinite().all()


@pytest.mark.parametrize("device", [CPU, CARD], ids=["products", "sdpa"])
@pytest.mark.parametrize("family", BACKBONES)
def test_neither_padding_nor_company_nor_order_changes_a_text(
    family: str, device: torch.device
) -> None:
    backbone = BACKBONES[family]
    model = encoder(backbone)
    attention.choose(model, device)
    tokens, mask = padded(backbone)
    together = states(model, tokens, mask)

    order = torch.tensor([2, 0, 1])
    shuffled = states(model, tokens[order], mask[order])
    wider = functional.pad(tokens, (0, 7), value=backbone.pad_token)
    more = states(model, wider, functional.pad(mask, (0, 7)))
    for row, kept in enumerate(mask):
        real = together[row, kept]
        alone = states(model, tokens[row, kept].unsqueeze(0), None)[0]
        same = {"rtol": 1e-10, "atol": 1e-12}
        torch.testing.assert_close(alone, real, **same)
        torch.testing.assert_close(more[row, : len(real)], real, **same)
        torch.testing.assert_close(shuffled[order.tolist().index(row), kept], real, **same)
