"""methods/: what every method keeps on every family, and methods that break it are caught.

A property is a function `check_...(how, backbone)` that raises `AssertionError`. It is tried on
every file of `methods/`, and on throw-away methods, each of which breaks one thing.
"""

import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
import toy
from tiny_models import FAMILIES, lora_layers, padded, texts
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, RobertaForSequenceClassification

from lowrank_da import anatomy, discover, train
from lowrank_da.backbone import DISTILROBERTA, MINILM, TINY, TINY_DECODER, Backbone
from lowrank_da.batches import Batch, pack
from lowrank_da.classifier import Classifier, clip
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.joint import Joint, JointBatch
from lowrank_da.journal import Journal
from lowrank_da.machine import Machine
from lowrank_da.method import Method, method
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.both import Both
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt
from lowrank_da.packing import Packing

FILES = {name: method(name)() for name in discover.names("lowrank_da.methods")}
VARIANTS: dict[str, Method] = {
    "lora-published": LoRA(rank=5, alpha=8.0, targets=("query", "value"), start="gaussian"),
    "lora-top": LoRA(rank=2, top_layers=1),
    "lora-dropout": LoRA(rank=2, targets=("ffn_out",), dropout=0.1, rank_stabilised=True),
    "dora": LoRA(rank=2, decomposed=True),
    "lora+": LoRA(rank=2, b_rate=16.0),
    "lora-data": LoRA(rank=2, start="data"),
    "lora-data-rotated": LoRA(rank=2, start="data_rotated"),
    "prompt-text": Prompt(tokens=5, start="text"),
    "p_tuning-left": PTuning(tokens=3, side="left", hidden=8),
    "prefix-one": Prefix(tokens=1),
    "both-lora-bitfit": Both(LoRA(rank=2), BitFit()),
    "both-prompt-prefix": Both(Prompt(tokens=2), Prefix(tokens=3)),
}
METHODS = FILES | VARIANTS
LARGER = replace(
    TINY_DECODER,
    name="larger_decoder",
    layers=3,
    width=2048,
    heads=32,
    kv_heads=4,
    ffn=5632,
    vocab=32000,
    positions=2048,
)
"""The facts of TinyLlama 1.1B, but for its 22 layers."""

every_method = pytest.mark.parametrize("how", METHODS.values(), ids=list(METHODS))
every_family = pytest.mark.parametrize("backbone", FAMILIES.values(), ids=list(FAMILIES))


def classifier(how: Method, backbone: Backbone, seed: int = 0) -> Classifier:
    """A model of the toy's four classes, built as a training builds it."""
    setting = toy.setting(backbone=backbone)
    made = Classifier(toy.experiment(setting=setting, method=how), seed, steps=10)
    how.look(made.encoder, backbone, [every_token(backbone)], seed)
    return made.eval()


def every_token(backbone: Backbone) -> Batch:
    """Four texts, one a class, in which all tokens of the vocabulary occur."""
    return pack(torch.arange(backbone.vocab).view(4, -1).tolist(), labels=range(4))


def logits(model: Classifier, batch: Batch | None = None) -> Tensor:
    """(texts, classes), by default of three texts."""
    batch = batch or pack(texts(model.experiment.setting.backbone))
    with torch.no_grad():
        found: Tensor = model(batch)
    return found


def everything(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def relative(found: Tensor, wanted: Tensor) -> float:
    """Frobenius norm of the difference over that of `wanted`."""
    return float((found - wanted).norm() / wanted.norm())


@dataclass(frozen=True, eq=False)
class Trained:
    """A model after three steps."""

    model: Classifier
    before: dict[str, Tensor]
    """All of it, before them."""
    reached: set[str]
    """Parameters that had a gradient other than zero in the first two steps."""
    given: set[str]
    """Parameters that had any gradient tensor."""


@cache
def trained(how: Method, backbone: Backbone) -> Trained:
    """Three steps of the real optimizer and clipping; whoever changes the model copies it first."""
    model = classifier(how, backbone)
    before = {name: tensor.detach().clone() for name, tensor in everything(model).items()}
    optimizer = model.configure_optimizers()
    reached: set[str] = set()
    model.train()
    torch.manual_seed(0)
    for step in range(3):
        optimizer.zero_grad()
        model.training_step(every_token(backbone), step).backward()  # type: ignore[no-untyped-call]
        clip(model, 1.0)
        optimizer.step()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        if step < 2:
            reached |= {name for name, grad in grads.items() if grad.count_nonzero() > 0}
    model.zero_grad()
    return Trained(model.eval(), before, reached, set(grads))


def blind(name: str) -> bool:
    """Whether a bias adds the same to all scores of a query: softmax does not see it.

    In exact arithmetic its gradient is zero. A decoder turns its keys, so there it is seen.
    """
    return name.endswith("attention.self.key.bias")


# --- the properties -----------------------------------------------------------------------------


def check_gradients(how: Method, backbone: Backbone) -> None:
    """Gradients reach exactly as many parameters as are declared, within two steps."""
    after = trained(how, backbone)
    declared = after.model.trained()
    assert {"head.dense.weight", "head.out_proj.bias"} <= declared.keys()
    assert {name for name in declared if not blind(name)} <= after.reached
    assert after.given <= declared.keys()
    in_encoder = (p.numel() for name, p in declared.items() if not name.startswith("head."))
    assert sum(in_encoder) == how.trained_parameters(backbone)


def check_moves(how: Method, backbone: Backbone) -> None:
    """In three steps what is frozen stays, bit by bit, and what trains moves."""
    after = trained(how, backbone)
    declared = after.model.trained()
    for name, tensor in everything(after.model).items():
        stays = torch.equal(tensor, after.before[name])
        assert stays == (name not in declared) or blind(name), name


def check_counts(how: Method, backbone: Backbone) -> None:
    """The closed forms are what is counted on an encoder without weights."""
    with torch.device("meta"):
        pooler: dict[str, Any] = {} if backbone.decoder else {"add_pooling_layer": False}
        model = AutoModel.from_config(backbone.config(), **pooler)
        assert sum(p.numel() for p in model.parameters()) == backbone.body_parameters
        how.attach(model, backbone)
    every = list(model.parameters())
    added = sum(p.numel() for p in every) - backbone.body_parameters
    assert added == how.added_parameters(backbone)
    assert sum(p.numel() for p in every if p.requires_grad) == how.trained_parameters(backbone)


def check_disk(how: Method, backbone: Backbone) -> None:
    """The trained weights, in a file and out of it, make a model of another seed the same."""
    model = trained(how, backbone).model
    wanted, file = logits(model), safetensors.torch.save(model.trained_state())
    fresh = classifier(how, backbone, seed=7)
    assert not torch.equal(logits(fresh), wanted)
    fresh.load_trained(safetensors.torch.load(file), "a file")
    assert torch.equal(logits(fresh), wanted)


def check_start(how: Method, backbone: Backbone) -> None:
    """Before training the function is the plain encoder's, but for virtual tokens: never there."""
    model = classifier(how, backbone).double()
    plain = backbone.load().double().eval()
    batch = pack(texts(backbone))
    with torch.no_grad():
        wanted = model.head(*encode(plain, backbone, batch))
    change = relative(logits(model, batch), wanted)
    if how.virtual_tokens:
        assert change > 1e-3
    elif how.name == "adapter":
        # Its `up` and `down` begin at 0.01, so they add products of 0.0001.
        assert 0 < change < 1e-3
    else:
        # In float32, in which DoRA measures its lengths.
        assert change < 1e-6


def check_seed(how: Method, backbone: Backbone) -> None:
    """What is drawn at the start hangs on the seed alone."""
    one = trained(how, backbone).before
    torch.rand(5)
    two, other = (everything(classifier(how, backbone, seed)) for seed in (0, 1))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.dense.weight"], other["head.dense.weight"])


def check_neighbours(how: Method, backbone: Backbone) -> None:
    """A text's logits are the same alone, in another order, and beside longer texts."""
    model = deepcopy(trained(how, backbone).model).double()
    some = texts(backbone, (9, 4, 6, 40))
    together = logits(model, pack(some))
    alone = torch.cat([logits(model, pack([text])) for text in some])
    turned = logits(model, pack(some[::-1])).flip(0)
    few = logits(model, pack(some[:2]))
    for found, wanted in ((alone, together), (turned, together), (few, together[:2])):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def check_bf16(how: Method, backbone: Backbone) -> None:
    """With frozen weights in bfloat16, logits and gradients stay within its rounding."""
    model = deepcopy(trained(how, backbone).model)
    batch = every_token(backbone)
    exact = logits(deepcopy(model).double(), batch)
    model.fit_to(torch.bfloat16)
    assert {p.dtype for p in model.trained().values()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(batch)
        loss = model.loss(rounded, batch.labels)
    loss.backward()
    # bf16 keeps 8 bits, so one rounding is off by up to 0.4 %, and some forty follow each other.
    assert 1e-5 < relative(rounded.detach().double(), exact) < 0.05
    for name, parameter in model.trained().items():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def check_joint(how: Method, backbone: Backbone) -> None:
    """A joint step's gradients are each member's own, or joint training is refused in one line."""
    labels, some = [0, 1, 2], texts(backbone)
    parts = [pack(some, labels), pack(some[:2], labels[:2])]
    alone = [classifier(how, backbone, seed).double() for seed in (0, 1)]
    torch.manual_seed(0)
    for parameter in (p for one in alone for p in one.trained().values()):
        parameter.data += 0.1 * torch.randn_like(parameter)
    together = deepcopy(alone)
    joint = joined(together)
    if joint is None:
        return
    for one, part in zip(alone, parts, strict=True):
        one.training_step(part, 0).backward()  # type: ignore[no-untyped-call]
    joint.training_step(JointBatch.of(parts), 0)["loss"].backward()
    wanted, found = gradients(alone), gradients(together)
    assert {number for number, _ in wanted} == {0, 1}
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def gradients(models: list[Classifier]) -> dict[tuple[int, str], Tensor]:
    """Those that there are, by the model's number and the parameter's name."""
    pairs = ((n, own) for n, one in enumerate(models) for own in one.trained().items())
    return {(n, name): p.grad for n, (name, p) in pairs if p.grad is not None}


def joined(members: list[Classifier]) -> Joint | None:
    """The members as one training; None where that is refused, in one line."""
    try:
        return Joint(members)
    except UserError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        return None


def check_resume(how: Method, backbone: Backbone) -> None:
    """A training that goes on from its resume file ends as the unbroken one."""
    few = toy.Toy(train_texts=3, select_texts=2, id_texts=1, ood_texts=1)
    setting = toy.setting(corpus=few, backbone=backbone, max_tokens=24, epochs=1)
    facts: dict[str, Any] = {"setting": setting, "method": how, "batch_tokens": 96}
    cell = toy.cell(select_only=True, **facts)
    files: list[bytes] = []

    class Watched(Journal):
        def save(self, *arguments: Any) -> None:
            super().save(*arguments)
            files.append(self.path.read_bytes())

    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, again = Path(name) / "unbroken", Path(name) / "resumed"
        patch.setenv("LOWRANK_DA_CACHE", name)
        patch.setattr(train, "Journal", Watched)
        unbroken = toy.run(cell, folder, resume_seconds=0.0)
        assert unbroken.result["steps"] >= 3
        resume = train.resume_path([cell], again, Machine.choose("cpu", "fp32"))
        resume.parent.mkdir(parents=True)
        resume.write_bytes(files[0])
        resumed = toy.run(cell, again)
    assert resumed.result == unbroken.result
    for role, own in unbroken.predictions.items():
        np.testing.assert_array_equal(own.probabilities, resumed.predictions[role].probabilities)


Check = Callable[[Method, Backbone], None]
CHECKS: dict[str, Check] = {
    "gradients": check_gradients,
    "moves": check_moves,
    "counts": check_counts,
    "disk": check_disk,
    "start": check_start,
    "seed": check_seed,
    "neighbours": check_neighbours,
    "bf16": check_bf16,
    "joint": check_joint,
}
"""Those that take no time; `check_resume` trains."""
every_check = pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))


@every_check
@every_method
@every_family
def test_every_method_keeps(backbone: Backbone, how: Method, check: Check) -> None:
    check(how, backbone)


@pytest.mark.parametrize("backbone", [DISTILROBERTA, MINILM, LARGER], ids=lambda b: b.name)
@every_method
def test_closed_forms_hold_on_larger_models(how: Method, backbone: Backbone) -> None:
    if isinstance(how, Prompt) and how.start == "text" and not backbone.random:
        how = replace(how, start="random")  # a text needs the tokenizer's file
    check_counts(how, backbone)


@pytest.mark.parametrize("how", FILES.values(), ids=list(FILES))
@every_family
def test_every_method_resumes(backbone: Backbone, how: Method) -> None:
    check_resume(how, backbone)


@pytest.mark.parametrize("name", ["lora-dropout", "dora", "lora-data", "both-lora-bitfit"])
def test_variants_resume(name: str) -> None:
    check_resume(METHODS[name], TINY_DECODER)


# --- throw-away methods: one keeps all of it, each of the others breaks something ----------------


class Behind(nn.Module):
    """`y + up (down y)` behind a map, with one number an output; `up` starts at zero."""

    def __init__(self, base: nn.Module, width: int) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Parameter(torch.randn(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x)
        return y + self.added(y).to(y.dtype)

    def added(self, y: Tensor) -> Tensor:
        return self.up * (self.down * y)


class Idle(Behind):
    """`down` never gets a gradient."""

    def added(self, y: Tensor) -> Tensor:
        return self.up * (self.down.detach() * y)


class Moving(Behind):
    """Training moves a frozen weight."""

    def added(self, y: Tensor) -> Tensor:
        if self.training:
            self.base.bias.data.add_(0.1)
        return super().added(y)


class Remembering(Behind):
    """What training saw is kept, but in no parameter."""

    seen: Tensor | float = 0.0

    def added(self, y: Tensor) -> Tensor:
        if self.training:
            self.seen = self.seen + y.detach().mean(dim=0)
        return super().added(y) + self.seen


class Shifting(Behind):
    """The function is another one from the start."""

    def added(self, y: Tensor) -> Tensor:
        return super().added(y) + 0.01 * self.down


class Wild(Behind):
    """Drawn from the system's entropy."""

    def __init__(self, base: nn.Module, width: int) -> None:
        super().__init__(base, width)
        generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(6)))
        self.down = nn.Parameter(torch.randn(width, generator=generator))


class Neighbourly(Behind):
    """A token is compared with all others of its batch."""

    def added(self, y: Tensor) -> Tensor:
        return super().added(y - y.mean(dim=0))


MODULES = {m.__name__: m for m in (Behind, Idle, Moving, Remembering, Shifting, Wild, Neighbourly)}


@dataclass(frozen=True)
class Throwaway(Method):
    """Train what stands behind the map that ends attention."""

    behind: str = "Behind"

    def change(self, encoder: nn.Module, backbone: Backbone) -> None:
        for _, target, parent, attribute in list(anatomy.linear_maps(encoder)):
            if target == "attention_output":
                own = MODULES[self.behind](getattr(parent, attribute), backbone.width)
                setattr(parent, attribute, own)

    def added_parameters(self, backbone: Backbone) -> int:
        return backbone.layers * 2 * backbone.width


class Unfreezing(Throwaway):
    """Freezes nothing."""

    def attach(self, encoder: nn.Module, backbone: Backbone) -> None:
        self.change(encoder, backbone)


class Miscounting(Throwaway):
    """Counts one more than it adds."""

    def added_parameters(self, backbone: Backbone) -> int:
        return super().added_parameters(backbone) + 1

    def trained_parameters(self, backbone: Backbone) -> int:
        return super().added_parameters(backbone)


TWINS: dict[str, tuple[Method, set[str]]] = {
    "sound": (Throwaway(), set()),
    "freezes nothing": (Unfreezing(), {"gradients", "counts"}),
    "counts wrong": (Miscounting(), {"counts"}),
    "cuts a gradient": (Throwaway("Idle"), {"gradients", "moves"}),
    "moves what is frozen": (Throwaway("Moving"), {"moves", "disk", "resume"}),
    "keeps state in no parameter": (Throwaway("Remembering"), {"disk", "resume"}),
    "changes the function": (Throwaway("Shifting"), {"start"}),
    "draws without the seed": (Throwaway("Wild"), {"seed"}),
    "looks at neighbours": (Throwaway("Neighbourly"), {"neighbours"}),
}
"""A throw-away method, and the checks that catch it; it passes all others."""


@pytest.mark.parametrize("check", [*CHECKS, "resume"])
@pytest.mark.parametrize("twin", TWINS)
def test_a_method_that_breaks_a_property_is_caught(twin: str, check: str) -> None:
    how, caught = TWINS[twin]
    run = (CHECKS | {"resume": check_resume})[check]
    with pytest.raises(AssertionError) if check in caught else nullcontext():
        run(how, TINY)


# --- properties of some -------------------------------------------------------------------------

DRAWING = (Adapter(), LoRA(), LoRA(start="data"), Prefix(), Prompt(), PTuning(), Both())
CERTAIN = (Full(), LinearProbe(), BitFit(), Prompt(start="text"))


@pytest.mark.parametrize("how", [*DRAWING, *CERTAIN], ids=repr)
def test_another_seed_draws_other_weights_where_any_are_drawn(how: Method) -> None:
    one, two = (everything(classifier(how, TINY, seed).encoder) for seed in (3, 4))
    same = all(torch.equal(one[name], two[name]) for name in one)
    assert same == (how in CERTAIN)


@every_method
@every_family
def test_training_changes_nothing_below_the_frozen_layers_and_what_is_above(
    backbone: Backbone, how: Method
) -> None:
    frozen = how.frozen_layers(backbone)
    after, start = trained(how, backbone).model, classifier(how, backbone)

    def states(model: Classifier, layers: int) -> Tensor:
        with torch.no_grad():
            return encode(model.encoder, backbone, pack(texts(backbone)), layers)[0]

    if frozen or how.name not in ("full", "prompt", "p_tuning", "both"):
        assert torch.equal(states(after, frozen), states(start, frozen))
    else:
        assert frozen == 0, "what enters the lowest layer trains"
    if frozen < backbone.layers:
        assert not torch.equal(states(after, frozen + 1), states(start, frozen + 1))


STRUCTURED = {name: how for name, how in METHODS.items() if not how.virtual_tokens}
"""They leave modules that transformers can run."""


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("how", STRUCTURED.values(), ids=list(STRUCTURED))
@every_family
def test_padding_of_transformers_own_forward_changes_nothing(
    backbone: Backbone, how: Method, side: Literal["left", "right"]
) -> None:
    model = deepcopy(trained(how, backbone).model).double()
    lengths = (9, 4, 30)
    tokens, mask = padded(backbone, lengths, side)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0) + backbone.first_position
    with torch.no_grad():
        states = model.encoder(input_ids=tokens, attention_mask=mask, position_ids=positions)
        real = states.last_hidden_state[mask]
        wanted = model.head(real, Packing.of(lengths))
    found = logits(model, pack(texts(backbone, lengths)))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@every_method
@every_family
def test_weights_of_another_model_are_refused(backbone: Backbone, how: Method) -> None:
    model = trained(how, backbone).model
    before = logits(model)
    state = model.trained_state()
    name = next(iter(state))
    wider = state | {name: torch.zeros(*state[name].shape, 2)}
    for foreign in (wider, state | {"more": state[name]}, dict(list(state.items())[1:])):
        with pytest.raises(UserError, match="a file holds the weights of another experiment"):
            model.load_trained(foreign, "a file")
    assert torch.equal(logits(model), before)


def test_joint_training_refuses_those_alone_that_it_must() -> None:
    refused = {
        name
        for name, how in METHODS.items()
        if joined([classifier(how, TINY, seed) for seed in (0, 1)]) is None
    }
    virtual = {name for name, how in METHODS.items() if how.virtual_tokens}
    assert refused == virtual | {"full", "lora-dropout"}


@pytest.mark.parametrize("top", [None, 1, 2, 3])
@every_family
def test_only_the_top_layers_hold_adapters(backbone: Backbone, top: int | None) -> None:
    deeper = replace(backbone, layers=3)
    how = LoRA(rank=2, targets=("key", "ffn_in"), top_layers=top)
    model = deeper.load()
    how.attach(model, deeper)
    first = 3 - (top or 3)
    assert how.frozen_layers(deeper) == first
    layers, maps = ("layers", ("self_attn.k_proj", "mlp.gate_proj", "mlp.up_proj"))
    if not backbone.decoder:
        layers, maps = ("encoder.layer", ("attention.self.key", "intermediate.dense"))
    assert set(lora_layers(model)) == {
        f"{layers}.{layer}.{name}" for layer in range(first, 3) for name in maps
    }
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == how.added_parameters(
        deeper
    )


@every_family
def test_bitfit_trains_the_layers_biases_and_adds_them_to_a_decoder(backbone: Backbone) -> None:
    model = backbone.load()
    before = {name for name, _ in model.named_parameters()}
    BitFit().attach(model, backbone)
    after = dict(model.named_parameters())
    trained_names = {name for name, p in after.items() if p.requires_grad}
    if backbone.decoder:
        assert trained_names == after.keys() - before
        assert {n.removesuffix("bias") for n in trained_names} == {
            n.removesuffix("weight") for n in before if n.endswith("_proj.weight")
        }
        assert all(after[name].count_nonzero() == 0 for name in trained_names)
    else:
        assert after.keys() == before
        assert trained_names == {n for n in before if n.startswith("encoder.") and "bias" in n}


# --- two methods --------------------------------------------------------------------------------


def attached(how: Method, backbone: Backbone = TINY) -> PreTrainedModel:
    model = backbone.load()
    torch.manual_seed(0)
    how.attach(model, backbone)
    return model


@pytest.mark.parametrize("second", [Prefix(tokens=2), LoRA(rank=2), BitFit(), Prompt(tokens=2)])
@pytest.mark.parametrize("first", [LoRA(rank=3), Adapter(2), BitFit(), PTuning(), Prefix()])
def test_two_methods_are_refused_or_train_what_both_declare(first: Method, second: Method) -> None:
    if first.name == second.name:
        with pytest.raises(UserError, match=f"both: {first.name} twice; choose two methods"):
            Both(first, second)
        return
    meeting = {
        ("adapter", "lora"): "lora: attention_output is adapted already; let lora come first",
        ("p_tuning", "prompt"): "prompt: another method holds the encoder's virtual already",
        ("adapter", "bitfit"): "both: adapter and bitfit train the same parameters",
    }.get((first.name, second.name))
    if meeting is not None:
        with pytest.raises(UserError, match=meeting) as caught:
            attached(Both(first, second))
        assert "\n" not in str(caught.value)
        return
    both = {n for n, p in attached(Both(first, second)).named_parameters() if p.requires_grad}
    each = [
        {n.replace(".base.", ".") for n, p in attached(how).named_parameters() if p.requires_grad}
        for how in (first, second)
    ]
    assert {name.replace(".base.", ".") for name in both} == each[0] | each[1]
    assert not each[0] & each[1]


def test_adapters_and_biases_do_not_meet_on_a_decoder() -> None:
    check_counts(Both(Adapter(), BitFit()), TINY_DECODER)


def test_of_both_each_sees_the_texts() -> None:
    how = Both(BitFit(), LoRA(rank=2, start="data"))
    model = attached(how)
    before = model.encoder.layer[0].attention.self.query.lora_A.detach().clone()
    how.look(model, TINY, iter([every_token(TINY)]), seed=3)
    alone = attached(LoRA(rank=2, start="data"))
    how.second.look(alone, TINY, iter([every_token(TINY)]), seed=3)
    for name, layer in lora_layers(model).items():
        assert torch.equal(layer.lora_A, lora_layers(alone)[name].lora_A)
    assert not torch.equal(model.encoder.layer[0].attention.self.query.lora_A, before)


# --- counts, scales and arguments ---------------------------------------------------------------


def test_methods_are_found_by_their_files() -> None:
    for name, how in FILES.items():
        assert how.name == name
    with pytest.raises(UserError, match="unknown method 'lorra'; did you mean 'lora'"):
        method("lorra")


def test_the_thesis_counts() -> None:
    lora = LoRA(rank=5, targets=("query", "value"))
    assert lora.added_parameters(DISTILROBERTA) == 92_160
    assert DISTILROBERTA.head_parameters(4) == 593_668
    assert DISTILROBERTA.body_parameters == 81_527_808


def test_the_facts_of_a_decoder_give_its_published_size() -> None:
    tied = 2048 * 32000  # TinyLlama's language head, which no classifier has
    assert replace(LARGER, layers=22).body_parameters == 1_100_048_384 - tied


def test_peft_counts_what_the_thesis_printed() -> None:
    config = DISTILROBERTA.config()
    config.num_labels = 4
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=5, target_modules=["query", "value"])
    with torch.device("meta"):
        model = peft.get_peft_model(RobertaForSequenceClassification(config), lora)
    ours = LoRA(rank=5, targets=("query", "value")).trained_parameters(DISTILROBERTA)
    head = DISTILROBERTA.head_parameters(4)
    trained_there, every = model.get_nb_trainable_parameters()
    assert (trained_there, every) == (685_828, 82_807_304)
    assert trained_there == ours + head
    assert every == DISTILROBERTA.body_parameters + ours + 2 * head


def test_lora_scale() -> None:
    assert LoRA(rank=4, alpha=8.0).scale == 2.0
    assert LoRA(rank=4, alpha=8.0, rank_stabilised=True).scale == 4.0


def test_lora_plus_multiplies_the_rate_of_b_alone() -> None:
    model = classifier(LoRA(rank=2, b_rate=16.0), TINY)
    rates = {
        id(parameter): group["lr"]
        for group in model.configure_optimizers().param_groups
        for parameter in group["params"]
    }
    rate = model.experiment.learning_rate
    for name, parameter in model.trained().items():
        assert rates[id(parameter)] == rate * (16 if name.endswith("lora_B") else 1)


NAN = math.nan


@pytest.mark.parametrize(
    ("how", "bad", "says"),
    [
        (LoRA, {"rank": 0}, "rank=0 must be at least 1"),
        (LoRA, {"alpha": 0.0}, "alpha=0.0 must be above 0"),
        (LoRA, {"alpha": NAN}, "alpha=nan must be above 0"),
        (LoRA, {"targets": ()}, r"targets=\(\): choose among query"),
        (LoRA, {"targets": ("query", "dense")}, "choose among query, key"),
        (LoRA, {"targets": ("query", "query")}, "name each map once"),
        (LoRA, {"dropout": 1.0}, "dropout=1.0 must be in"),
        (LoRA, {"dropout": -0.1}, "dropout=-0.1 must be in"),
        (LoRA, {"top_layers": 0}, "top_layers=0 must be at least 1"),
        (LoRA, {"top_layers": -2}, "top_layers=-2 must be at least 1"),
        (LoRA, {"start": "zeros"}, "start='zeros': choose among gaussian, kaiming, data"),
        (LoRA, {"b_rate": 0.0}, "b_rate=0.0 must be above 0"),
        (LoRA, {"b_rate": NAN}, "b_rate=nan must be above 0"),
        (Adapter, {"bottleneck": 0}, "bottleneck=0 must be at least 1"),
        (Prefix, {"tokens": 0}, "tokens=0 must be at least 1"),
        (Prefix, {"std": -0.1}, "std=-0.1 must be at least 0"),
        (Prefix, {"std": NAN}, "std=nan must be at least 0"),
        (Prompt, {"tokens": 0}, "tokens=0 must be at least 1"),
        (Prompt, {"start": "words"}, "start='words': choose random or text"),
        (PTuning, {"tokens": 0}, "tokens=0 must be at least 1"),
        (PTuning, {"side": "right"}, "side='right': choose both or left"),
        (PTuning, {"hidden": 0}, "hidden=0 must be at least 1"),
        (Both, {"first": Full()}, "both: Full does not go together with another method"),
        (Both, {"second": LinearProbe()}, "both: LinearProbe does not go together"),
        (Both, {"second": Both()}, "both: Both does not go together"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    how: type[Method], bad: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        how(**bad)
    assert "\n" not in str(caught.value)


def test_a_prompt_of_no_tokens_and_too_many_layers_are_refused() -> None:
    with pytest.raises(UserError, match="text='' has no tokens to start the prompt from"):
        attached(Prompt(start="text", text=""))
    with pytest.raises(UserError, match="top_layers=3: tiny has 2 layers"):
        classifier(LoRA(top_layers=3), TINY)
