"""encode.py: packed texts against transformers' own forward on padded ones."""

from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from tiny_models import BACKBONES, LENGTHS, encoder, padded, texts
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from lowrank_da import anatomy, batches, encode, virtual
from lowrank_da.backbone import TINY, TINY_DECODER, Backbone
from lowrank_da.batches import Batch
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt
from lowrank_da.packing import Packing

Side = Literal["left", "right"]
ADAPTED = {"every layer": LoRA(rank=2), "the top one": LoRA(rank=2, top_layers=1)}
FAMILIES = BACKBONES | {
    "llama": TINY_DECODER,
    "llama with a key for every head": replace(TINY_DECODER, kv_heads=None),
}
EVERY = {
    f"{family}-{pooling}": replace(backbone, pooling=pooling)
    for family, backbone in FAMILIES.items()
    for pooling in ("first", "last", "mean")
}
FIRST = {"roberta": 2, "bert": 0, "llama": 0}
"""The place of a text's first token."""
every_family = pytest.mark.parametrize("family", FAMILIES)
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
every_pooling = pytest.mark.parametrize("backbone", EVERY.values(), ids=list(EVERY))


def wide(backbone: Backbone, method: Method | None = None) -> PreTrainedModel:
    """The encoder in float64 throughout: transformers' norm of a decoder falls back to float32."""
    model = encoder(backbone, method)
    for name, norm in list(model.named_modules()):
        if isinstance(norm, LlamaRMSNorm):
            own = nn.RMSNorm(backbone.width, norm.variance_epsilon)
            own.weight = norm.weight
            model.set_submodule(name, own)
    return model


def ours(model: nn.Module, backbone: Backbone, lengths: tuple[int, ...]) -> Tensor:
    """States above the last layer: of all tokens, or one a text if one is pooled."""
    states, packing = encode.encode(model, backbone, batches.pack(texts(backbone, lengths)))
    assert packing.lengths.sum() == len(states)
    return states


def pooled(states: Tensor, lengths: tuple[int, ...], backbone: Backbone) -> Tensor:
    """Of the states of all tokens, those that the pooling reads, in plain Python."""
    place = {"first": 0, "last": -1}
    if backbone.pooling == "mean":
        return states
    return torch.stack([text[place[backbone.pooling]] for text in states.split(lengths)])


def theirs(
    model: nn.Module, backbone: Backbone, lengths: tuple[int, ...], side: Side = "right"
) -> Tensor:
    """The same by transformers on a padded batch, read out at the real tokens."""
    tokens, mask = padded(backbone, lengths, side)
    positions = None
    if side == "left":  # BERT would count the padding
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0) + FIRST[backbone.family]
    states: Tensor = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions
    ).last_hidden_state[mask]
    return pooled(states, lengths, backbone)


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
    model = wide(backbone, method or Full())
    wanted = with_gradients(model, theirs(model, backbone, lengths, side))
    same(with_gradients(model, ours(model, backbone, lengths)), wanted)


@pytest.mark.parametrize("side", ["left", "right"])
@every_length
@every_pooling
def test_packed_equals_padded_in_value_and_gradient(
    backbone: Backbone, lengths: tuple[int, ...], side: Side
) -> None:
    compare(backbone, lengths, side)


@pytest.mark.parametrize("method", ADAPTED.values(), ids=list(ADAPTED))
@pytest.mark.parametrize("side", ["left", "right"])
@every_pooling
def test_packed_equals_padded_with_adapters(backbone: Backbone, side: Side, method: Method) -> None:
    compare(backbone, LENGTHS["mixed"], side, method)


# --- virtual tokens and prefixes ----------------------------------------------------------------

TRAINED = {
    "prompt": Prompt(tokens=3),
    "around": PTuning(tokens=5),
    "left": PTuning(tokens=3, side="left"),
    "prefix": Prefix(tokens=3, std=1.0),
}
FEW = (9, 1, 100)


def by_transformers(model: Any, backbone: Backbone, lengths: tuple[int, ...]) -> Tensor:
    """Text by text, with the virtual tokens and the prefix handed to transformers explicitly."""
    tokens, prefix = (getattr(model, name, None) for name in ("virtual", "prefix"))
    made = []
    for ids in texts(backbone, lengths):
        words = anatomy.words(model)(torch.tensor(ids))
        left, right = (words[:0], words[:0]) if tokens is None else tokens()
        cache, before = None, 0
        if prefix is not None:
            cache, before = DynamicCache(), prefix.tokens
            for layer in range(backbone.layers):
                # (1, heads of keys, tokens, width of a head)
                width = backbone.width // backbone.heads
                split = [x.unflatten(1, (-1, width)).transpose(0, 1)[None] for x in prefix(layer)]
                cache.update(*split, layer)
        row = torch.cat([left, words, right])
        first = before + FIRST[backbone.family]
        positions = torch.arange(first, first + len(row))[None]
        states = model(inputs_embeds=row[None], position_ids=positions, past_key_values=cache)
        made.append(states.last_hidden_state[0, len(left) : len(left) + len(ids)])
    return pooled(torch.cat(made), lengths, backbone)


def compare_virtual(backbone: Backbone, method: Method, lengths: tuple[int, ...] = FEW) -> None:
    """Ours and transformers' with virtual tokens or a prefix, in value and gradient."""
    model = wide(backbone, method)
    wanted = with_gradients(model, by_transformers(model, backbone, lengths))
    assert all(bool(part.any()) for part in wanted.values()), "what trains has an influence"
    same(with_gradients(model, ours(model, backbone, lengths)), wanted)


@pytest.mark.parametrize("method", TRAINED.values(), ids=list(TRAINED))
@every_pooling
def test_virtual_tokens_and_prefixes_equal_transformers(backbone: Backbone, method: Method) -> None:
    compare_virtual(backbone, method)


@every_family
def test_virtual_tokens_and_prefixes_go_together(family: str) -> None:
    backbone = FAMILIES[family]
    model = wide(backbone, Prefix(tokens=3, std=1.0))
    PTuning(tokens=5).change(model, backbone)
    model.double()
    wanted = with_gradients(model, by_transformers(model, backbone, FEW))
    same(with_gradients(model, ours(model, backbone, FEW)), wanted)


def _first_layers(prefix: Any, layer: int) -> Any:
    return GIVEN(prefix, 0)


def _not_counted(encoder: Any, *given: Any) -> Any:
    """Positions as if no prefix were there."""
    hidden = deepcopy(encoder)
    hidden.prefix = None
    return ROW(hidden, *given)


def _a_virtual_one(row: Any, pooling: str) -> Any:
    """The row's first or last token, whether it is real or not."""
    rows = row.packing.first if pooling == "first" else row.packing.last
    return encode._Asked(rows, row.texts.singles())


def _one_before(row: Any) -> Any:
    """A virtual token, and all real ones but the last."""
    return None if row.around is None else encode._Asked(row.around.real - 1, row.texts)


GIVEN, ROW = virtual.Prefix.forward, encode._row


@pytest.mark.parametrize(
    ("twin", "method", "pooling"),
    [
        ((virtual.Prefix, "forward", _first_layers), TRAINED["prefix"], "mean"),
        ((encode, "_row", _not_counted), TRAINED["prefix"], "mean"),
        ((encode._Row, "read", _a_virtual_one), TRAINED["prompt"], "first"),
        ((encode._Row, "read", _a_virtual_one), TRAINED["around"], "last"),
        ((encode._Row, "real", _one_before), TRAINED["left"], "mean"),
    ],
    ids=["another layer's prefix", "prefix not counted", "first", "last", "virtual tokens in mean"],
)
@every_family
def test_a_broken_twin_around_texts_is_noticed(
    family: str, twin: Any, method: Method, pooling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = replace(FAMILIES[family], pooling=pooling)
    model = wide(backbone, method)
    wanted = by_transformers(model, backbone, FEW)
    torch.testing.assert_close(ours(model, backbone, FEW), wanted)
    if isinstance(method, Prefix):  # at its start both layers' keys weigh next to nothing
        nn.init.normal_(model.prefix.keys_values, std=3.0)
        wanted = by_transformers(model, backbone, FEW)
    monkeypatch.setattr(*twin)
    found = ours(model, backbone, FEW)
    assert found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)


# --- broken twins -------------------------------------------------------------------------------


def _leaking(q: Tensor, k: Tensor, v: Tensor, *more: Any, **named: Any) -> Tensor:
    """Attention over the whole row as if it were one text."""
    _, _, *rest = more
    return ATTEND(q, k, v, Packing.of([len(q)]), Packing.of([len(k)]), *rest, **named)


def _ahead(*given: Any, causal: bool = False) -> Tensor:
    """Attention without a causal mask."""
    return ATTEND(*given)


def _counted_through(given: Any) -> Batch:
    """A row whose positions do not begin again with every text."""
    made = PACK(given)
    return replace(made, positions=torch.arange(made.real_tokens))


def _doubled(given: Any) -> Batch:
    """A row whose tokens stand twice as far apart."""
    made = PACK(given)
    return replace(made, positions=2 * made.positions)


def _unfinished(encoder: Any, backbone: Backbone, states: Tensor) -> Tensor:
    """States that pass by the norm, which is used all the same."""
    return states + 0 * encoder.norm(states) if backbone.decoder else states


ATTEND, PACK = encode.attend, batches.pack
SHORT = (9, 1, 4)
TWINS: dict[str, tuple[Any, str, Any]] = {
    "positions from another row": (Backbone, "first_position", 1),
    "positions through the row": (batches, "pack", _counted_through),
    "positions doubled": (batches, "pack", _doubled),
    "attention over borders": (encode, "attend", _leaking),
    "padding not masked": (Packing, "real", lambda packing: None),
    "no causal mask": (encode, "attend", _ahead),
    "final norm forgotten": (encode, "_finished", _unfinished),
    "last token of another text": (
        Packing,
        "last",
        property(lambda packing: (packing.offsets[1:] - 1).roll(1)),
    ),
}
OF_DECODERS = {"no causal mask", "final norm forgotten"}
HARMLESS_TO_DECODERS = {"positions from another row", "positions through the row"}
"""They have no table, and turn queries and keys by how far apart they stand."""


def noticeable(backbone: Backbone, twin: str) -> bool:
    """Whether it is wrong for this backbone at all."""
    if twin == "last token of another text":
        return backbone.pooling == "last"
    if not backbone.decoder:
        return twin not in OF_DECODERS
    hidden = {"last": set(), "mean": {"padding not masked"}}
    # A rectangle is filled up behind a text, where only a token that asks alone would look; and the
    # first token sees none but itself.
    hidden["first"] = hidden["mean"] | {"positions doubled"}
    return twin not in HARMLESS_TO_DECODERS | hidden[backbone.pooling]


BROKEN = [
    pytest.param(backbone, twin, id=f"{name}-{twin}")
    for name, backbone in EVERY.items()
    for twin in TWINS
    if noticeable(backbone, twin)
]


@pytest.mark.parametrize(("backbone", "twin"), BROKEN)
def test_a_broken_twin_is_noticed(
    backbone: Backbone, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(backbone, SHORT)
    monkeypatch.setattr(*TWINS[twin])
    with pytest.raises(AssertionError):
        compare(backbone, SHORT)


@every_family
def test_a_shift_of_a_texts_positions_is_unnoticed_by_decoders_alone(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = FAMILIES[family]
    model = wide(backbone)
    before = ours(model, backbone, SHORT)
    monkeypatch.setattr(batches, "pack", _counted_through)
    after = ours(model, backbone, SHORT)
    # The angles themselves are computed in float32.
    assert torch.allclose(after, before, rtol=1e-5, atol=1e-6) == backbone.decoder


def test_positions_from_0_are_noticed_on_roberta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backbone, "first_position", 0)
    with pytest.raises(AssertionError):
        compare(TINY, SHORT)


@pytest.mark.parametrize(("pooling", "other"), [("first", "last"), ("last", "first")])
@every_family
def test_another_token_than_the_pooled_one_is_noticed(
    family: str, pooling: Any, other: Any
) -> None:
    backbone = replace(FAMILIES[family], pooling=pooling)
    model = wide(backbone)
    wanted = theirs(model, backbone, SHORT)
    found = ours(model, replace(backbone, pooling=other), SHORT)
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
    # the residual stream, which stays in float32, is a hundredth of it, or a decoder's a tenth.
    bounds = {"states": 0.01 if backbone.decoder else 1e-3, "gradients": 0.01}
    for which, bound in bounds.items():
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


@pytest.mark.parametrize(("backbone", "twin"), BROKEN)
def test_the_bf16_bound_is_narrow_enough_for_the_twins(
    backbone: Backbone, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*TWINS[twin])
    with pytest.raises(AssertionError):
        compare_in_bf16(backbone, SHORT)


def hidden_states(model: Any, backbone: Backbone) -> list[Tensor]:
    """Transformers' states of the real tokens below every layer."""
    tokens, mask = padded(backbone)
    hidden = model(input_ids=tokens, attention_mask=mask, output_hidden_states=True).hidden_states
    return [states[mask] for states in hidden[: backbone.layers]]


@every_pooling
def test_stopping_below_gives_transformers_hidden_states(backbone: Backbone) -> None:
    model = wide(backbone)
    for stop, wanted in enumerate(hidden_states(model, backbone)):
        states, packing = encode.encode(model, backbone, batches.pack(texts(backbone)), stop)
        torch.testing.assert_close(states, wanted, rtol=1e-10, atol=1e-12)
        assert packing.lengths.tolist() == [9, 4, 6]


@every_pooling
def test_starting_above_transformers_hidden_states_gives_its_last_ones(backbone: Backbone) -> None:
    model = wide(backbone)
    wanted = theirs(model, backbone, (9, 4, 6))
    for start, known in enumerate(hidden_states(model, backbone)):
        batch = replace(batches.pack(texts(backbone)), states=known, layers_done=start)
        states, packing = encode.encode(model, backbone, batch)
        torch.testing.assert_close(states, wanted, rtol=1e-10, atol=1e-12)
        assert packing.lengths.tolist() == ([9, 4, 6] if backbone.pooling == "mean" else [1] * 3)


@every_pooling
def test_pooled_states_above_all_layers_are_given_back(backbone: Backbone) -> None:
    known = torch.rand(3, backbone.width)
    batch = replace(batches.pack(texts(backbone)), states=known, layers_done=backbone.layers)
    states, packing = encode.encode(wide(backbone), backbone, batch)
    assert torch.equal(states, known)
    assert packing.lengths.tolist() == [1, 1, 1]


def rows_seen(model: PreTrainedModel, backbone: Backbone) -> dict[tuple[int, str], int]:
    """How many rows each linear map of the layers meets."""
    seen: dict[tuple[int, str], int] = {}
    hooks = [
        getattr(parent, attribute).register_forward_hook(
            lambda _, inputs, out, place=(number, target): seen.update({place: len(inputs[0])})
        )
        for number, target, parent, attribute in anatomy.linear_maps(model)
    ]
    ours(model, backbone, SHORT)
    for hook in hooks:
        hook.remove()
    return seen


VIRTUAL = {"none": None, "left": Prompt(tokens=3), "around": PTuning(tokens=5)}


@pytest.mark.parametrize("method", VIRTUAL.values(), ids=list(VIRTUAL))
@every_pooling
def test_above_the_last_layer_only_what_is_pooled_is_computed(
    backbone: Backbone, method: Method | None
) -> None:
    every = sum(SHORT) + len(SHORT) * (0 if method is None else method.virtual_tokens)
    few = sum(SHORT) if backbone.pooling == "mean" else len(SHORT)
    if backbone.decoder and (backbone.pooling == "first" or method == VIRTUAL["around"]):
        few = every  # what lies behind a token is hidden from it by the mask alone
    seen = rows_seen(encoder(backbone, method), backbone)
    for (number, target), rows in seen.items():
        reads_all = number < backbone.layers - 1 or target in ("key", "value")
        assert rows == (every if reads_all else few), (number, target)
