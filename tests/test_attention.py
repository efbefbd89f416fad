"""attention.py: three ways to one function, held against PyTorch's own, text by text."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import LENGTHS
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

from lowrank_da import attention
from lowrank_da.packing import Packing

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}
HEADS, WIDTH = 3, 24
CPU = torch.device("cpu")
every_dtype = pytest.mark.parametrize("dtype", BOUNDS)
every_way = pytest.mark.parametrize("way", [attention._by_products, attention._by_fused])
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=list(LENGTHS))
Factors = tuple[Tensor, Tensor, Tensor]


def factors(
    *shape: int,
    queries: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device = CPU,
) -> Factors:
    """q, k, v of that shape and `WIDTH` numbers; `q` with so many queries instead."""
    generator = torch.Generator().manual_seed(0)
    asked = (*shape[:-1], shape[-1] if queries is None else queries)
    made = (torch.randn(*s, WIDTH, generator=generator, dtype=dtype) for s in (asked, shape, shape))
    q, k, v = (x.to(device).requires_grad_() for x in made)
    return q, k, v


def reference(
    q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, causal: bool = False
) -> Tensor:
    """PyTorch's attention on (texts, tokens, width); with `causal` the last query sees all keys."""
    split = [x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v)]
    mask = None if real is None else real[:, None, None, :]
    if causal:
        past = causal_lower_right(q.shape[1], k.shape[1])._materialize(q.device)
        mask = past if mask is None else mask & past
    mixed = functional.scaled_dot_product_attention(*split, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)


def text_by_text(
    q: Tensor, k: Tensor, v: Tensor, queries: Packing, keys: Packing, causal: bool = False
) -> Tensor:
    """PyTorch's attention on each text of a row alone: there is nothing to pad or to mask."""
    asked = q.split(queries.lengths.tolist())
    looked = zip(*(x.split(keys.lengths.tolist()) for x in (k, v)), strict=True)
    pairs = zip(asked, looked, strict=True)
    made = [reference(a[None], b[None], c[None], causal=causal)[0] for a, (b, c) in pairs]
    return torch.cat(made)


def same(
    found: Tensor, wanted: Tensor, ours: Factors, theirs: Factors, relative: float, absolute: float
) -> None:
    """Equal in value, and in the gradient of a fixed weighted sum."""
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    direction = direction.to(found.device)
    torch.testing.assert_close(found, wanted.to(found.dtype), rtol=relative, atol=absolute)
    (found * direction).sum().backward()
    (wanted * direction).sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        assert own.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(own.grad, other.grad.to(own.dtype), rtol=relative, atol=absolute)


# --- each way on a rectangle --------------------------------------------------------------------


@every_way
@every_dtype
@pytest.mark.parametrize("queries", [None, 3, 1])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_torch_in_value_and_gradient(
    causal: bool,
    masked: bool,
    queries: int | None,
    dtype: torch.dtype,
    way: Callable[..., Tensor],
) -> None:
    ours, theirs = (factors(2, 5, queries=queries, dtype=dtype) for _ in range(2))
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2]) if masked else None
    bound = BOUNDS[dtype]
    found = way(*ours, real, HEADS, 0.0, causal)
    same(found, reference(*theirs, real, causal), ours, theirs, bound, bound)


@every_way
def test_masked_tokens_have_no_influence_and_no_gradient(way: Callable[..., Tensor]) -> None:
    q, k, v = factors(2, 5)
    real = torch.tensor([[True] * 3 + [False] * 2] * 2)
    before = way(q, k, v, real, HEADS, 0.0)
    before.square().sum().backward()
    for x in (k, v):
        assert x.grad is not None
        assert torch.count_nonzero(x.grad[:, 3:]) == 0 < torch.count_nonzero(x.grad[:, :3])
    with torch.no_grad():
        k[:, 3:], v[:, 3:] = 9.0, -9.0
        assert torch.equal(before, way(q, k, v, real, HEADS, 0.0))
        assert not torch.equal(before, way(q, k, v, None, HEADS, 0.0))


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_the_numerical_ones(causal: bool) -> None:
    real = torch.tensor([[True, True, True], [True, False, False]])

    def call(*given: Tensor) -> Tensor:
        return attention._by_products(*given, real, HEADS, 0.0, causal)

    assert torch.autograd.gradcheck(call, tuple(factors(2, 3, queries=2)))


@pytest.mark.parametrize("wanted", list(product([False, True], repeat=3))[1:])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_gradient_is_the_same_whichever_others_are_wanted(
    dropout: float, wanted: tuple[bool, ...]
) -> None:
    def gradients(chosen: tuple[bool, ...]) -> list[Tensor | None]:
        given = factors(2, 3)
        for x, one in zip(given, chosen, strict=True):
            x.requires_grad_(one)
        torch.manual_seed(5)
        attention._by_products(*given, None, HEADS, dropout).square().sum().backward()
        return [x.grad for x in given]

    every = gradients((True, True, True))
    for own, grad, one in zip(gradients(wanted), every, wanted, strict=True):
        assert grad is not None
        assert (own is not None and torch.equal(own, grad)) if one else own is None


# --- dropout ------------------------------------------------------------------------------------


@every_way
def test_dropout_is_unbiased(way: Callable[..., Tensor]) -> None:
    one = [x.detach() for x in factors(1, 5)]
    plain = way(*one, None, HEADS, 0.0)
    torch.manual_seed(0)
    dropped = way(*(x.expand(4000, -1, -1) for x in one), None, HEADS, 0.4)
    error = dropped.std(dim=0) / 4000**0.5
    assert (error > 0).all()
    assert ((dropped.mean(dim=0) - plain[0]).abs() < 5 * error).all()


def with_dropout(*given: Tensor) -> Tensor:
    """Products under masks that are the same in every call."""
    torch.manual_seed(5)
    real = torch.tensor([[True, True, True], [True, True, False]])
    return attention._by_products(*given, real, HEADS, 0.4)


def test_dropout_has_the_gradients_of_its_own_mask() -> None:
    assert torch.autograd.gradcheck(with_dropout, tuple(factors(2, 3)))


def test_gradients_of_another_mask_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.native_dropout

    def another(weights: Tensor, share: float, training: bool) -> tuple[Tensor, Tensor]:
        return drawn(weights, share, training)[0], drawn(weights, share, training)[1]

    monkeypatch.setattr(torch, "native_dropout", another)
    assert not torch.autograd.gradcheck(with_dropout, tuple(factors(2, 3)), raise_exception=False)


# --- packed rows --------------------------------------------------------------------------------


ASKED = ("all", "last", "real")
"""Every token of a text, its last alone, or those that do not lie `before` it."""
every_asked = pytest.mark.parametrize("asked", ASKED)
every_causal = pytest.mark.parametrize("causal", [False, True])


def packings(lengths: tuple[int, ...], before: int, asked: str) -> tuple[Packing, Packing]:
    """Of the queries and of the keys of texts of these lengths, with keys before each."""
    keys = Packing.of([before + n for n in lengths])
    return {"all": keys, "last": keys.singles(), "real": Packing.of(lengths)}[asked], keys


def check(lengths: tuple[int, ...], asked: str, causal: bool, before: int) -> None:
    """Attention on a packed row is that on each text alone."""
    queries, keys = packings(lengths, before, asked)
    ours, theirs = (factors(keys.tokens, queries=queries.tokens) for _ in range(2))
    found = attention.attend(*ours, queries, keys, HEADS, causal=causal)
    wanted = text_by_text(*theirs, queries, keys, causal)
    same(found, wanted, ours, theirs, 1e-10, 1e-12)


@pytest.mark.parametrize("before", [0, 3])
@every_length
@every_asked
@every_causal
def test_a_packed_row_is_its_texts_alone(
    lengths: tuple[int, ...], asked: str, causal: bool, before: int
) -> None:
    check(lengths, asked, causal, before)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    asked=st.sampled_from(ASKED),
    causal=st.booleans(),
    before=st.integers(0, 5),
)
def test_any_packed_row_is_its_texts_alone(
    lengths: list[int], asked: str, causal: bool, before: int
) -> None:
    check(tuple(lengths), asked, causal, before)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    asked=st.sampled_from(ASKED),
    causal=st.booleans(),
    before=st.integers(0, 5),
)
def test_the_fused_way_gives_the_same_rows(
    lengths: list[int], asked: str, causal: bool, before: int
) -> None:
    queries, keys = packings(tuple(lengths), before, asked)
    q, k, v = factors(keys.tokens, queries=queries.tokens)
    parts = (queries.rectangle(q), keys.rectangle(k), keys.rectangle(v))
    found = queries.row(attention._by_fused(*parts, keys.real(), HEADS, 0.0, causal))
    torch.testing.assert_close(found, attention.attend(q, k, v, queries, keys, HEADS, 0, causal))


def test_a_causal_row_is_unmoved_by_what_lies_ahead() -> None:
    queries, keys = packings((4, 6), 2, "real")
    q, k, v = factors(keys.tokens, queries=queries.tokens)
    before = attention.attend(q, k, v, queries, keys, HEADS, causal=True)
    ahead = torch.tensor([5, 12, 13])  # the first text's last key, the second's last two
    with torch.no_grad():
        k[ahead], v[ahead] = 9.0, -9.0
    moved = attention.attend(q, k, v, queries, keys, HEADS, causal=True) != before
    assert moved.any(dim=1).tolist() == [False] * 3 + [True] + [False] * 4 + [True] * 2


RECTANGLE, SEEN = Packing.rectangle, attention._seen


def _shifted(packing: Packing, row: Tensor) -> Tensor:
    return RECTANGLE(packing, row.roll(1, dims=0))


def _all_seen(q: Tensor, k: Tensor, real: Tensor | None, causal: bool) -> Any:
    return SEEN(q, k, real, False)


def _from_the_top(q: Tensor, k: Tensor, real: Tensor | None, causal: bool) -> Any:
    """A mask under which the first query sees the first key alone, whatever lies before."""
    return torch.ones(1, q.shape[1], k.shape[1], dtype=torch.bool).tril()


TWINS: dict[str, tuple[Any, str, Any]] = {
    "padding is looked at": (Packing, "real", lambda packing: None),
    "shifted by one token": (Packing, "rectangle", _shifted),
    "no causal mask": (attention, "_seen", _all_seen),
    "a mask from the top": (attention, "_seen", _from_the_top),
}
BROKEN = [
    *product(["padding is looked at", "shifted by one token"], ASKED, [False]),
    # A rectangle is filled up behind its texts, where a causal mask lets lone queries look.
    ("padding is looked at", "last", True),
    *product(["shifted by one token"], ASKED, [True]),
    # The last token sees all of its text anyway.
    *product(["no causal mask"], ["all", "real"], [True]),
    *product(["a mask from the top"], ["last", "real"], [True]),
]


@pytest.mark.parametrize(("twin", "asked", "causal"), BROKEN)
def test_a_broken_twin_is_noticed(
    twin: str, asked: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    check((9, 1, 4), asked, causal, before=2)
    monkeypatch.setattr(*TWINS[twin])
    with pytest.raises(AssertionError):
        check((9, 1, 4), asked, causal, before=2)


def test_products_are_what_runs_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("fused attention was called")

    monkeypatch.setattr(functional, "scaled_dot_product_attention", refused)
    packing = Packing.of([3, 2])
    assert attention.attend(*factors(5), packing, packing, HEADS).isfinite().all()
    with pytest.raises(AssertionError, match="fused"):
        attention._by_fused(*factors(1, 5), None, HEADS, 0.0)


# --- on a card ----------------------------------------------------------------------------------


@pytest.mark.gpu
@every_length
@every_asked
@every_causal
def test_a_cards_kernels_agree_too(lengths: tuple[int, ...], asked: str, causal: bool) -> None:
    card = torch.device("cuda")
    queries, keys = packings(lengths, 2, asked)
    # Rounded to bf16 beforehand, so that all compute with equal numbers.
    rounded = [x.detach().bfloat16() for x in factors(keys.tokens, queries=queries.tokens)]
    for dtype, bound in ((torch.bfloat16, 0.05), (torch.float32, 1e-4)):
        ours = [x.to(card, dtype, copy=True).requires_grad_() for x in rounded]
        theirs = [x.to(card, torch.float64).requires_grad_() for x in rounded]
        found = attention.attend(*ours, queries.to(card), keys.to(card), HEADS, causal=causal)
        wanted = text_by_text(*theirs, queries, keys, causal)
        same(found, wanted, ours, theirs, bound, bound)


@pytest.mark.gpu
def test_a_card_takes_the_packed_kernel_in_half_precision_without_dropout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = torch.device("cuda")
    packing = Packing.of([3, 2]).to(card)
    taken, varlen = [], attention._by_varlen

    def watch(*given: Any) -> Tensor:
        taken.append(given[0].dtype)
        return varlen(*given)

    monkeypatch.setattr(attention, "_by_varlen", watch)
    for dtype in (torch.bfloat16, torch.float32):
        for dropout in (0.0, 0.1):
            rows = factors(5, dtype=dtype, device=card)
            out = attention.attend(*rows, packing, packing, HEADS, dropout)
            assert out.shape == (5, WIDTH)
    assert taken == [torch.bfloat16]
