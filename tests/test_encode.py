"""encode.py: packed texts against transformers' own forward on padded ones."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from tiny_models import BACKBONES, LENGTHS, encoder, padded, texts
from torch import Tensor, nn
from transformers import PreTrainedModel

from lowrank_da import batches, encode
from lowrank_da.backbone import TINY, Backbone
from lowrank_da.batches import Batch
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.packing import Packing

Side = Literal["left", "right"]
METHODS = {"full": Full(), "lora": LoRA(rank=2), "top": LoRA(rank=2, top_layers=1)}
BOTH_POOLINGS = {
    f"{family}-{pooling}": replace(backbone, pooling=pooling)
    for family, backbone in BACKBONES.items()
    for pooling in ("first", "mean")
}
every_family = pytest.mark.parametrize("family", BACKBONES)
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
every_pooling = pytest.mark.parametrize("backbone", BOTH_POOLINGS.values(), ids=list(BOTH_POOLINGS))


def ours(model: nn.Module, backbone: Backbone, lengths: tuple[int, ...]) -> Tensor:
    """States above the last layer: of all tokens, or with `first` one a text."""
    states, packing = encode.encode(model, backbone, batches.pack(texts(backbone, lengths)))
    assert packing.lengths.sum() == len(states)
    return states


def theirs(
    model: nn.Module, backbone: Backbone, lengths: tuple[int, ...], side: Side = "right"
) -> Tensor:
    """The same by transformers on a padded batch, read out at the real tokens."""
    tokens, mask = padded(backbone, lengths, side)
    positions = None
    if side == "left":  # BERT would count the padding
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0) + {"roberta": 2, "bert": 0}[
            backbone.family
        ]
    states: Tensor = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions
    ).last_hidden_state[mask]
    return states[Packing.of(lengths).first] if backbone.pooling == "first" else states


def with_gradients(model: nn.Module, states: Tensor) -> dict[str, Tensor]:
    """The states, and the gradient of a fixed weighted sum of them to all that trains."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    model.zero_grad()
    (states * weights).sum().backward()
    trained = {n: p.grad.double() for n, p in model.named_parameters() if p.requires_grad}
    return {"states": states.detach().double()} | trained


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Equal to rounding in float64."""
    assert found.keys() == wanted.keys()
    for name, own in found.items():
        torch.testing.assert_close(own, wanted[name], rtol=1e-9, atol=1e-10, msg=name)


def compare(
    backbone: Backbone, lengths: tuple[int, ...], side: Side = "right", method: Method | None = None
) -> None:
    """Packed and padded, in value and gradient."""
    model = encoder(backbone, method or Full())
    wanted = with_gradients(model, theirs(model, backbone, lengths, side))
    same(with_gradients(model, ours(model, backbone, lengths)), wanted)


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
@pytest.mark.parametrize("side", ["left", "right"])
@every_length
@every_pooling
def test_packed_equals_padded_in_value_and_gradient(
    backbone: Backbone, lengths: tuple[int, ...], side: Side, method: Method
) -> None:
    compare(backbone, lengths, side, method)


# --- broken twins -------------------------------------------------------------------------------


def _leaking(q: Tensor, k: Tensor, v: Tensor, *more: Any) -> Tensor:
    """Attention over the whole row as if it were one text."""
    _, _, *rest = more
    return ATTEND(q, k, v, Packing.of([len(q)]), Packing.of([len(k)]), *rest)


def _counted_through(given: Any) -> Batch:
    """A row whose positions do not begin again with every text."""
    made = PACK(given)
    return replace(made, positions=torch.arange(made.real_tokens))


ATTEND, PACK = encode.attend, batches.pack
SHORT = (9, 1, 4)
TWINS: dict[str, tuple[Any, str, Any]] = {
    "positions from another row": (Backbone, "first_position", 1),
    "positions through the row": (batches, "pack", _counted_through),
    "attention over borders": (encode, "attend", _leaking),
    "padding not masked": (Packing, "real", lambda packing: None),
}


@pytest.mark.parametrize("twin", TWINS)
@every_pooling
def test_a_broken_twin_is_noticed(
    backbone: Backbone, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(backbone, SHORT)
    monkeypatch.setattr(*TWINS[twin])
    with pytest.raises(AssertionError):
        compare(backbone, SHORT)


def test_positions_from_0_are_noticed_on_roberta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backbone, "first_position", 0)
    with pytest.raises(AssertionError):
        compare(TINY, SHORT)


@every_family
def test_another_token_than_the_first_is_noticed(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = BOTH_POOLINGS[f"{family}-first"]
    model = encoder(backbone)
    wanted = theirs(model, backbone, SHORT)
    monkeypatch.setattr(Packing, "first", property(lambda packing: packing.offsets[1:] - 1))
    found = ours(model, backbone, SHORT)
    torch.testing.assert_close(found[1], wanted[1], msg="a text of one token has no other")
    assert not torch.isclose(found[[0, 2]], wanted[[0, 2]]).all(dim=1).any()


# --- arithmetic and shapes ----------------------------------------------------------------------


def relative(found: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the difference over that of `wanted`."""
    return float((found - wanted).norm() / wanted.norm())


def compare_in_bf16(backbone: Backbone, lengths: tuple[int, ...]) -> None:
    """Packed and padded under autocast, each against float64."""
    model = encoder(backbone, LoRA(rank=2, alpha=1.0), torch.float32)
    wide = deepcopy(model).double()
    exact = with_gradients(wide, theirs(wide, backbone, lengths))
    with torch.autocast("cpu", torch.bfloat16):
        own = with_gradients(model, ours(model, backbone, lengths))
        other = with_gradients(model, theirs(model, backbone, lengths))
    # bf16 keeps 8 bits: one rounding is off by up to 0.4 %, and what the untrained layers add to
    # the residual stream, which stays in float32, is a hundredth of it.
    for which, bound in (("states", 1e-3), ("gradients", 0.01)):
        found, theirs_found, wanted = (of(which, numbers) for numbers in (own, other, exact))
        assert 0 < relative(found, wanted) < bound, which
        assert relative(found, theirs_found) < bound, which


def of(which: str, numbers: dict[str, Tensor]) -> Tensor:
    """The states, or all gradients together."""
    chosen = [
        x.flatten() for name, x in numbers.items() if (name == "states") == (which == "states")
    ]
    return torch.cat(chosen)


@every_length
@every_pooling
def test_is_within_bf16_rounding_under_autocast(
    backbone: Backbone, lengths: tuple[int, ...]
) -> None:
    compare_in_bf16(backbone, lengths)


@pytest.mark.parametrize("twin", TWINS)
@every_pooling
def test_the_bf16_bound_is_narrow_enough_for_the_twins(
    backbone: Backbone, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*TWINS[twin])
    with pytest.raises(AssertionError):
        compare_in_bf16(backbone, SHORT)


@every_pooling
def test_stopping_below_gives_transformers_hidden_states(backbone: Backbone) -> None:
    model = encoder(backbone)
    tokens, mask = padded(backbone)
    hidden = model(input_ids=tokens, attention_mask=mask, output_hidden_states=True).hidden_states
    for stop in range(backbone.layers):
        states, packing = encode.encode(model, backbone, batches.pack(texts(backbone)), stop)
        torch.testing.assert_close(states, hidden[stop][mask], rtol=1e-10, atol=1e-12)
        assert packing.lengths.tolist() == mask.sum(dim=1).tolist()


def rows_seen(model: PreTrainedModel, backbone: Backbone) -> dict[str, int]:
    """How many rows each linear map of the model meets."""
    seen: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, inputs, out, name=name: seen.update({name: len(inputs[0])})
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    ours(model, backbone, SHORT)
    for hook in hooks:
        hook.remove()
    return {name.removeprefix("encoder.layer."): n for name, n in seen.items()}


@every_pooling
def test_above_the_last_layer_only_what_is_pooled_is_computed(backbone: Backbone) -> None:
    few = len(SHORT) if backbone.pooling == "first" else sum(SHORT)
    last = str(backbone.layers - 1)
    for name, rows in rows_seen(encoder(backbone), backbone).items():
        reads_all = not name.startswith(last) or name.endswith(("self.key", "self.value"))
        assert rows == (sum(SHORT) if reads_all else few), name
