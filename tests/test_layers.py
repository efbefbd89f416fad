"""layers.py: the low-rank layer against peft's, in value, gradient and start."""

import math
from copy import deepcopy

import peft
import pytest
import torch
from tiny_models import BACKBONES, encoder, lora_layers, padded
from torch import Tensor, nn
from torch.func import functional_call

from lowrank_da.backbone import Backbone
from lowrank_da.layers import LoRALinear
from lowrank_da.methods.lora import LoRA

VARIANTS = {
    "all maps": (LoRA(rank=3, alpha=5.0), ["query", "key", "value", "dense"]),
    "query and value": (
        LoRA(rank=2, alpha=8.0, targets=("query", "value")),
        ["query", "value"],
    ),
    "rank-stabilised": (
        LoRA(rank=4, alpha=2.0, rank_stabilised=True),
        ["query", "key", "value", "dense"],
    ),
}


def peft_twin(
    ours: nn.Module, backbone: Backbone, method: LoRA, targets: list[str], dtype: torch.dtype
) -> nn.Module:
    """The same encoder adapted by peft, with our A and B in its adapters."""
    config = peft.LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,
        target_modules=targets,
        lora_dropout=0.0,
        use_rslora=method.rank_stabilised,
    )
    twin = peft.get_peft_model(backbone.load(), config).to(dtype).eval()
    for name, layer in lora_layers(ours).items():
        theirs = twin.base_model.model.get_submodule(name)
        with torch.no_grad():
            theirs.lora_A["default"].weight.copy_(layer.lora_A)
            theirs.lora_B["default"].weight.copy_(layer.lora_B)
    adapted = [m for m in twin.modules() if isinstance(m, peft.tuners.lora.Linear)]
    assert len(adapted) == len(lora_layers(ours))
    return twin


def states_and_gradients(model: nn.Module, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Last states of the real tokens, and the gradients of A and B of a fixed weighted sum."""
    states = model(input_ids=tokens, attention_mask=mask).last_hidden_state[mask].double()
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    (states * weights).sum().backward()
    found = {"states": states.detach()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            short = name.removeprefix("base_model.model.").replace(".default.weight", "")
            found[short] = parameter.grad.double()
    return found


@pytest.mark.parametrize("family", BACKBONES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_peft_in_value_and_gradient(family: str, variant: str) -> None:
    backbone, (method, targets) = BACKBONES[family], VARIANTS[variant]
    ours = encoder(backbone, method)
    theirs = peft_twin(ours, backbone, method, targets, torch.float64)
    tokens, mask = padded(backbone)
    own, other = (states_and_gradients(m, tokens, mask) for m in (ours, theirs))
    assert own.keys() == other.keys()
    assert len(own) == 1 + 2 * len(lora_layers(ours))
    for name in own:
        torch.testing.assert_close(own[name], other[name], rtol=1e-10, atol=1e-12)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the difference over that of `wanted`."""
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("family", BACKBONES)
def test_is_within_bf16_rounding_of_peft_under_autocast(family: str) -> None:
    backbone, (method, targets) = BACKBONES[family], VARIANTS["all maps"]
    ours = encoder(backbone, method, torch.float32)
    theirs = peft_twin(ours, backbone, method, targets, torch.float32)
    tokens, mask = padded(backbone)
    exact = states_and_gradients(deepcopy(ours).double(), tokens, mask)
    with torch.autocast("cpu", torch.bfloat16):
        own, other = (states_and_gradients(m, tokens, mask) for m in (ours, theirs))
    # bf16 keeps 8 bits: one rounding is off by up to 0.4 %, and some twenty follow each other.
    assert 1e-4 < relative(own["states"], other["states"]) < 0.01
    for name in own:
        bound = 0.01 if name == "states" else 0.05
        assert relative(own[name], exact[name]) < bound, name
        assert relative(own[name], other[name]) < 2 * bound, name


def layer(
    rank: int = 2,
    shape: tuple[int, int] = (5, 3),
    bias: bool = True,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> LoRALinear:
    """One adapted map away from its start, frozen but for A and B."""
    torch.manual_seed(4)
    base = nn.Linear(*shape, bias=bias, dtype=dtype).requires_grad_(False)
    made = LoRALinear(base, rank, 1.5, dropout, "gaussian")
    nn.init.normal_(made.lora_B)
    return made


@pytest.mark.parametrize("x_trains", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_gradients_are_the_numerical_ones(
    x_trains: bool, bias: bool, batch: tuple[int, ...]
) -> None:
    one = layer(bias=bias)
    x = torch.randn(*batch, 5, dtype=torch.float64, requires_grad=x_trains)

    def call(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return functional_call(one, {"lora_A": a, "lora_B": b}, (x,))

    a, b = (p.detach().clone().requires_grad_() for p in (one.lora_A, one.lora_B))
    assert torch.autograd.gradcheck(call, (x, a, b))
    one(x).sum().backward()
    assert (x.grad is None) == (not x_trains)
    assert one.weight.grad is None


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_merged_matrix_acts_like_the_layer_in_evaluation(dropout: float) -> None:
    one = layer(dropout=dropout).eval()
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    update = 1.5 * one.lora_B @ one.lora_A
    torch.testing.assert_close(one.merged(), one.weight + update)
    torch.testing.assert_close(one(x), nn.functional.linear(x, one.merged(), one.bias))


def test_dropout_in_training_is_unbiased_and_spares_the_frozen_map() -> None:
    one = layer(dropout=0.3).train()
    x = torch.randn(5, dtype=torch.float64)
    many = one(x.expand(20_000, 5))
    error = many.std(dim=0) / math.sqrt(len(many))
    assert (error > 0).all()
    assert ((many.mean(dim=0) - one.eval()(x)).abs() < 5 * error).all()
    with torch.no_grad():
        one.lora_B.zero_()
    frozen = nn.functional.linear(x, one.weight, one.bias)
    torch.testing.assert_close(one.train()(x), frozen)


def test_dropout_path_has_the_gradients_of_its_own_mask() -> None:
    one = layer(dropout=0.3).train()
    x = torch.randn(6, 5, dtype=torch.float64)

    def call(a: Tensor, b: Tensor) -> Tensor:
        torch.manual_seed(5)
        return functional_call(one, {"lora_A": a, "lora_B": b}, (x,))

    a, b = (p.detach().clone().requires_grad_() for p in (one.lora_A, one.lora_B))
    assert torch.autograd.gradcheck(call, (a, b))


def test_a_small_update_survives_bf16() -> None:
    one = layer(rank=8, shape=(128, 256), bias=False, dtype=torch.float32)
    with torch.no_grad():
        one.lora_B.mul_(3e-5)
    one.requires_grad_(False)
    update = one.merged().double() - one.weight.double()
    step = 2.0**-8 * one.weight.abs()
    assert (update.abs() < step).float().mean() > 0.9, "else it would survive any rounding"
    with torch.autocast("cpu", torch.bfloat16):
        seen = one(torch.eye(128)).T.double()
    survived = seen - one.weight.to(torch.bfloat16).double()
    share = (survived * update).sum() / update.square().sum()
    assert float(share) == pytest.approx(1, abs=0.1)
    assert one.merged().dtype == torch.float32


@pytest.mark.parametrize(("start", "name"), [("gaussian", "gaussian"), ("kaiming", True)])
def test_starts_are_those_of_peft(start: str, name: str | bool) -> None:
    base = nn.Sequential(nn.Linear(512, 64))
    twin = peft.get_peft_model(base, peft.LoraConfig(r=16, target_modules=["0"]))
    theirs = twin.base_model.model[0]
    torch.manual_seed(6)
    theirs.reset_lora_parameters("default", name)
    torch.manual_seed(6)
    ours = LoRALinear(theirs.base_layer, 16, 1.0, 0.0, start)
    assert torch.equal(ours.lora_A, theirs.lora_A["default"].weight)
    assert torch.equal(ours.lora_B, theirs.lora_B["default"].weight)


def test_spread_of_the_starts() -> None:
    base = nn.Linear(4096, 8)
    gaussian = LoRALinear(base, 4, 1.0, 0.0, "gaussian").lora_A.detach()
    assert float(gaussian.std()) == pytest.approx(1 / 4, rel=0.05)
    uniform = LoRALinear(base, 4, 1.0, 0.0, "kaiming").lora_A.detach()
    bound = 1 / math.sqrt(4096)
    assert 0.99 * bound < float(uniform.abs().max()) <= bound


@pytest.mark.parametrize("start", ["gaussian", "kaiming"])
@pytest.mark.parametrize("family", BACKBONES)
def test_at_the_start_the_function_is_unchanged_and_only_b_has_a_gradient(
    family: str, start: str
) -> None:
    backbone = BACKBONES[family]
    tokens, mask = padded(backbone)
    plain, adapted = (backbone.load().double().eval() for _ in range(2))
    LoRA(rank=3, start=start).attach(adapted, backbone)
    before = plain(input_ids=tokens, attention_mask=mask).last_hidden_state
    after = adapted(input_ids=tokens, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    after.square().sum().backward()
    for one in lora_layers(adapted).values():
        assert one.lora_A.abs().min() > 0
        assert torch.count_nonzero(one.lora_B) == 0
        assert torch.count_nonzero(one.lora_A.grad) == 0
        assert torch.count_nonzero(one.lora_B.grad) > 0
