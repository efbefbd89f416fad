"""layers.py: the low-rank layer against peft's, in value, gradient and start; the bottleneck."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from scipy.special import erf
from tiny_models import FAMILIES, encoder, lora_layers, padded, texts
from torch import Tensor, nn
from torch.func import functional_call

from lowrank_da.backbone import Backbone
from lowrank_da.batches import pack
from lowrank_da.encode import encode
from lowrank_da.layers import Adapted, LoRALinear
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.both import Both
from lowrank_da.methods.lora import LoRA

VARIANTS = {
    "all maps": LoRA(rank=3, alpha=5.0),
    "query and value": LoRA(rank=2, alpha=8.0, targets=("query", "value")),
    "rank-stabilised": LoRA(rank=4, alpha=2.0, rank_stabilised=True),
    "dora": LoRA(rank=3, alpha=5.0, decomposed=True),
    "top": LoRA(rank=2, top_layers=1, targets=("ffn_in", "ffn_out")),
}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def peft_twin(
    ours: nn.Module,
    backbone: Backbone,
    method: LoRA,
    dtype: torch.dtype = torch.float64,
    bias: str = "none",
) -> nn.Module:
    """The same encoder adapted by peft, with our A, B and lengths in its adapters."""
    config = peft.LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,
        target_modules=list(lora_layers(ours)),
        lora_dropout=0.0,
        use_rslora=method.rank_stabilised,
        use_dora=method.decomposed,
        bias=bias,
    )
    twin = peft.get_peft_model(backbone.load(), config).to(dtype).eval()
    for name, layer in lora_layers(ours).items():
        theirs = twin.base_model.model.get_submodule(name)
        with torch.no_grad():
            theirs.lora_A["default"].weight.copy_(layer.lora_A)
            theirs.lora_B["default"].weight.copy_(layer.lora_B)
            if layer.magnitude is not None:
                theirs.lora_magnitude_vector["default"].weight.copy_(layer.magnitude)
    adapted = [m for m in twin.modules() if isinstance(m, peft.tuners.lora.Linear)]
    assert len(adapted) == len(lora_layers(ours)) > 0
    return twin


def pulled(model: nn.Module, states: Tensor) -> dict[str, Tensor]:
    """The states of the real tokens, and the gradients of a fixed weighted sum of them."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    (states.double() * weights).sum().backward()
    found = {"states": states.detach().double()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.grad is not None:
            short = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
            short = short.replace("lora_magnitude_vector.default.weight", "magnitude")
            found[short.replace(".default.weight", "")] = parameter.grad.double()
    return found


def states_and_gradients(model: nn.Module, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """By transformers' forward on a padded batch."""
    return pulled(model, model(input_ids=tokens, attention_mask=mask).last_hidden_state[mask])


def packed(model: nn.Module, backbone: Backbone, lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """By our forward on the packed one; the backbone pools the mean, so all tokens are there."""
    return pulled(model, encode(model, backbone, pack(texts(backbone, lengths)))[0])


def mean_pooled(family: str) -> Backbone:
    return replace(FAMILIES[family], pooling="mean")


@pytest.mark.parametrize("lengths", [(6, 6), (9, 4, 6)], ids=["unpadded", "padded"])
@every_family
@every_variant
def test_equals_peft_in_value_and_gradient(
    family: str, variant: str, lengths: tuple[int, ...]
) -> None:
    backbone, method = mean_pooled(family), VARIANTS[variant]
    ours = encoder(backbone, method)
    theirs = peft_twin(ours, backbone, method)
    own = packed(ours, backbone, lengths)
    other = states_and_gradients(theirs, *padded(backbone, lengths))
    factors = 3 if method.decomposed else 2
    assert len(own) == 1 + factors * len(lora_layers(ours))
    torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_with_trained_biases_it_equals_peft_too(family: str) -> None:
    backbone, lora = mean_pooled(family), LoRA(rank=3, targets=("query", "ffn_out"))
    ours = encoder(backbone, Both(lora, BitFit()))
    own = packed(ours, backbone, (9, 4, 6))
    other = states_and_gradients(peft_twin(ours, backbone, lora, bias="all"), *padded(backbone))
    more = other.keys() - own.keys()
    assert more == {"embeddings.LayerNorm.bias"}, "peft trains the embeddings' bias as well"
    assert sum(name.endswith("query.bias") for name in own) == backbone.layers
    torch.testing.assert_close(own, {name: other[name] for name in own}, rtol=1e-9, atol=1e-12)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the difference over that of `wanted`."""
    return float((found - wanted).norm() / wanted.norm())


@every_family
@pytest.mark.parametrize("variant", ["all maps", "dora"])
def test_is_within_bf16_rounding_of_peft_under_autocast(family: str, variant: str) -> None:
    backbone, method = FAMILIES[family], VARIANTS[variant]
    ours = encoder(backbone, method, torch.float32)
    theirs = peft_twin(ours, backbone, method, torch.float32)
    tokens, mask = padded(backbone)
    exact = states_and_gradients(deepcopy(ours).double(), tokens, mask)
    with torch.autocast("cpu", torch.bfloat16):
        own, other = (states_and_gradients(m, tokens, mask) for m in (ours, theirs))
    # bf16 keeps 8 bits: one rounding is off by up to 0.4 %, and some twenty follow each other.
    for which, bound in (("states", 0.01), ("gradients", 0.02)):
        found, theirs_found, wanted = (of(which, numbers) for numbers in (own, other, exact))
        # Differences of nearly equal scores lose more; peft shows how much has to be lost.
        lost = max(bound, 2 * relative(theirs_found, wanted))
        assert 1e-4 < relative(found, wanted) < lost, which


def of(which: str, numbers: dict[str, Tensor]) -> Tensor:
    """The states, or all gradients together."""
    names = ["states"] if which == "states" else sorted(numbers.keys() - {"states"})
    return torch.cat([numbers[name].flatten() for name in names])


def merged(model: nn.Module) -> nn.Module:
    """A copy without adapters: plain linear maps of the merged matrices."""
    plain = deepcopy(model)
    for name, one in lora_layers(plain).items():
        parent, _, attribute = name.rpartition(".")
        linear = nn.Linear(one.weight.shape[1], one.weight.shape[0], one.bias is not None)
        linear.weight.data = one.merged().detach()
        if one.bias is not None:
            linear.bias.data = one.bias.detach()
        setattr(plain.get_submodule(parent), attribute, linear)
    assert not lora_layers(plain)
    return plain


@every_family
@every_variant
def test_merged_equals_unmerged(family: str, variant: str) -> None:
    backbone, method = mean_pooled(family), VARIANTS[variant]
    batch = pack(texts(backbone))
    model = encoder(backbone, method, torch.float32)
    plain = merged(model)
    with torch.no_grad():
        exact, _ = encode(deepcopy(model).double(), backbone, batch)
        unmerged, _ = encode(model, backbone, batch)
        in_fp32, _ = encode(plain, backbone, batch)
        with torch.autocast("cpu", torch.bfloat16):
            both = [encode(one, backbone, batch)[0] for one in (model, plain)]
        in_bf16, _ = encode(plain.bfloat16(), backbone, batch)
    for found in (unmerged, in_fp32):
        assert relative(found.double(), exact) < 1e-6
    # A training merges in float32 and rounds once after, as a merged map is rounded.
    assert torch.equal(*both)
    # Stored in bf16, states, norms and softmax are rounded too: by 0.4 %, some forty times.
    assert 1e-4 < relative(in_bf16.double(), exact) < 0.05


def layer(
    rank: int = 2,
    shape: tuple[int, int] = (5, 3),
    bias: bool = True,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float64,
    decomposed: bool = False,
) -> LoRALinear:
    """One adapted map away from its start, frozen but for A, B and the lengths."""
    torch.manual_seed(4)
    base = nn.Linear(*shape, bias=bias, dtype=dtype).requires_grad_(False)
    made = LoRALinear(base, rank, 1.5, dropout, "gaussian", decomposed)
    nn.init.normal_(made.lora_B)
    if made.magnitude is not None:
        nn.init.uniform_(made.magnitude, 0.5, 1.5)
    return made


@pytest.mark.parametrize("x_trains", [True, False])
@pytest.mark.parametrize("bias", ["none", "frozen", "trained"])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_gradients_are_the_numerical_ones(
    x_trains: bool, bias: str, batch: tuple[int, ...]
) -> None:
    one = layer(bias=bias != "none")
    x = torch.randn(*batch, 5, dtype=torch.float64, requires_grad=x_trains)
    if bias == "trained":
        one.bias.requires_grad_(True)
    names = [name for name, p in one.named_parameters() if p.requires_grad]
    assert names == ["lora_A", "lora_B"] if bias != "trained" else "bias" in names

    def call(x: Tensor, *own: Tensor) -> Tensor:
        return functional_call(one, dict(zip(names, own, strict=True)), (x,))

    own = (one.get_parameter(name).detach().clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(call, (x, *own))
    one(x).sum().backward()
    assert (x.grad is None) == (not x_trains)
    assert one.weight.grad is None


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_merged_matrix_acts_like_the_layer_in_evaluation(dropout: float, decomposed: bool) -> None:
    one = layer(dropout=dropout, decomposed=decomposed).eval()
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    updated = one.weight + 1.5 * one.lora_B @ one.lora_A
    if one.magnitude is None:
        torch.testing.assert_close(one.merged(), updated)
    else:
        directions = nn.functional.normalize(updated, dim=1)
        torch.testing.assert_close(one.merged(), one.magnitude.diag() @ directions)
    torch.testing.assert_close(one(x), nn.functional.linear(x, one.merged(), one.bias))


@pytest.mark.parametrize("decomposed", [False, True])
def test_dropout_in_training_is_unbiased_and_spares_the_frozen_map(decomposed: bool) -> None:
    one = layer(dropout=0.3, decomposed=decomposed).train()
    x = torch.randn(5, dtype=torch.float64)
    many = one(x.expand(20_000, 5))
    error = many.std(dim=0) / math.sqrt(len(many))
    assert (error > 0).all()
    assert ((many.mean(dim=0) - one.eval()(x)).abs() < 5 * error).all()
    with torch.no_grad():
        one.lora_B.zero_()
        if one.magnitude is not None:
            one.magnitude.copy_(one.weight.norm(dim=1))
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
@every_family
def test_at_the_start_the_function_is_unchanged_and_only_b_has_a_gradient(
    family: str, start: str
) -> None:
    backbone = FAMILIES[family]
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


# --- the bottleneck of adapters -----------------------------------------------------------------


def test_a_bottleneck_adds_up_gelu_down_of_what_the_map_gives() -> None:
    torch.manual_seed(8)
    one = Adapted(nn.Linear(5, 4), width=4, bottleneck=3).double()
    for parameter in one.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    own = {name: p.detach().numpy() for name, p in one.named_parameters()}
    y = one.base(x).detach().numpy()
    inner = y @ own["down.weight"].T + own["down.bias"]
    gelu = inner * (1 + erf(inner / np.sqrt(2))) / 2
    wanted = y + gelu @ own["up.weight"].T + own["up.bias"]
    np.testing.assert_allclose(one(x).detach().numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_a_bottleneck_starts_near_identity_with_both_matrices_on_their_way() -> None:
    torch.manual_seed(9)
    one = Adapted(nn.Linear(64, 64), width=64, bottleneck=16)
    for linear in (one.down, one.up):
        assert float(linear.weight.detach().abs().max()) <= 2e-2, "two standard deviations"
        # Cut off there, a normal distribution keeps 0.88 of its spread.
        assert float(linear.weight.detach().std()) == pytest.approx(0.88e-2, rel=0.05)
        assert torch.count_nonzero(linear.bias) == 0
    x = torch.randn(10, 64)
    y = one.base(x)
    assert 0 < relative(one(x).detach(), y.detach()) < 1e-2
    one(x).square().sum().backward()
    assert one.down.weight.grad.count_nonzero() > 0
    assert one.up.weight.grad.count_nonzero() > 0
