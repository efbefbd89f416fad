"""methods/: every method on every family trains what it says, counts it right and survives disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
import toy
from safetensors.torch import load_file, save_file
from tiny_models import BACKBONES, lora_layers, texts
from transformers import AutoModel, PreTrainedModel, RobertaForSequenceClassification

from lowrank_da import discover
from lowrank_da.backbone import DISTILROBERTA, MINILM, Backbone
from lowrank_da.batches import pack
from lowrank_da.classifier import Classifier
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.method import Method, method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA

NAMES = discover.names("lowrank_da.methods")
METHODS = {name: method(name)() for name in NAMES} | {
    "lora-published": LoRA(rank=5, alpha=8.0, targets=("query", "value"), start="gaussian"),
    "lora-top": LoRA(rank=2, top_layers=1),
    "lora-dropout": LoRA(rank=2, targets=("ffn_out",), dropout=0.1, rank_stabilised=True),
}
every_method = pytest.mark.parametrize("how", METHODS.values(), ids=list(METHODS))
every_family = pytest.mark.parametrize("backbone", BACKBONES.values(), ids=list(BACKBONES))


def classifier(backbone: Backbone, how: Method, seed: int = 0) -> Classifier:
    """A model of the toy's four classes."""
    setting = toy.setting(backbone=backbone)
    return Classifier(toy.experiment(setting=setting, method=how), seed, steps=10).eval()


def train_two_steps(model: Classifier) -> None:
    """Two, for LoRA's A has no gradient in the first; all tokens of the vocabulary occur."""
    backbone = model.experiment.setting.backbone
    optimizer = model.configure_optimizers()
    batch = pack(torch.arange(backbone.vocab).view(4, -1).tolist(), labels=range(4))
    for _ in range(2):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()


def logits(model: Classifier) -> torch.Tensor:
    """(3, classes)."""
    with torch.no_grad():
        found: torch.Tensor = model(pack(texts(model.experiment.setting.backbone)))
    return found


def test_methods_are_found_by_their_files() -> None:
    assert {"full", "lora"} <= set(NAMES)
    for name in NAMES:
        assert method(name)().name == name
    with pytest.raises(UserError, match="unknown method 'lorra'; did you mean 'lora'"):
        method("lorra")


@pytest.fixture(params=[DISTILROBERTA, MINILM, *BACKBONES.values()], ids=lambda b: b.name)
def described(request: pytest.FixtureRequest) -> Iterator[tuple[Backbone, PreTrainedModel]]:
    """A backbone and its encoder without weights, built from its configuration alone."""
    backbone: Backbone = request.param
    with torch.device("meta"):
        yield backbone, AutoModel.from_config(backbone.config(), add_pooling_layer=False)


@every_method
def test_closed_forms_count_the_parameters(
    how: Method, described: tuple[Backbone, PreTrainedModel]
) -> None:
    backbone, model = described
    assert sum(p.numel() for p in model.parameters()) == backbone.body_parameters
    how.attach(model, backbone)
    every = list(model.parameters())
    added = sum(p.numel() for p in every) - backbone.body_parameters
    assert added == how.added_parameters(backbone)
    assert sum(p.numel() for p in every if p.requires_grad) == how.trained_parameters(backbone)


@every_family
def test_lora_trains_its_factors_and_full_all(backbone: Backbone) -> None:
    model = backbone.load()
    before = {name for name, _ in model.named_parameters()}
    Full().attach(model, backbone)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == before
    LoRA(targets=("key", "ffn_in")).attach(model, backbone)
    maps = ("attention.self.key", "intermediate.dense")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"encoder.layer.{n}.{one}.lora_{factor}"
        for n in range(backbone.layers)
        for one in maps
        for factor in "AB"
    }
    assert before <= {name for name, _ in model.named_parameters()}


@every_method
@every_family
def test_frozen_weights_stay_and_trained_ones_move(backbone: Backbone, how: Method) -> None:
    model = classifier(backbone, how)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_two_steps(model)
    trained = set(model.trained())
    assert {"head.dense.weight", "head.out_proj.bias"} <= trained
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name not in trained), name


@every_method
@every_family
def test_training_changes_nothing_below_the_frozen_layers_and_what_is_above(
    backbone: Backbone, how: Method
) -> None:
    model = classifier(backbone, how)
    frozen = how.frozen_layers(backbone)
    assert 0 <= frozen < backbone.layers

    def states(layers: int) -> torch.Tensor:
        with torch.no_grad():
            return encode(model.encoder, backbone, pack(texts(backbone)), layers)[0]

    below, above = states(frozen), states(frozen + 1)
    train_two_steps(model)
    assert torch.equal(states(frozen), below) == (how != Full())
    assert not torch.equal(states(frozen + 1), above)


@pytest.mark.parametrize("top", [None, 1, 2, 3])
@every_family
def test_only_the_top_layers_hold_adapters(backbone: Backbone, top: int | None) -> None:
    deeper = replace(backbone, layers=3)
    how = LoRA(rank=2, targets=("key", "ffn_in"), top_layers=top)
    model = deeper.load()
    how.attach(model, deeper)
    first = 3 - (top or 3)
    assert how.frozen_layers(deeper) == first
    assert set(lora_layers(model)) == {
        f"encoder.layer.{layer}.{name}"
        for layer in range(first, 3)
        for name in ("attention.self.key", "intermediate.dense")
    }
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == how.added_parameters(deeper) == (3 - first) * 2 * (16 + 16 + 16 + 32)


@every_method
@every_family
def test_trained_weights_survive_the_disk(backbone: Backbone, how: Method, tmp_path: Path) -> None:
    model = classifier(backbone, how)
    train_two_steps(model)
    wanted, state = logits(model), model.trained_state()
    train_two_steps(model)  # and the state stays as it was
    assert not torch.equal(logits(model), wanted)
    save_file(state, tmp_path / "trained.safetensors")
    fresh = classifier(backbone, how, seed=7)
    assert not torch.equal(logits(fresh), wanted)
    fresh.load_trained(load_file(tmp_path / "trained.safetensors"), "a file")
    assert torch.equal(logits(fresh), wanted)


@every_method
@every_family
def test_weights_of_another_model_are_refused(backbone: Backbone, how: Method) -> None:
    model = classifier(backbone, how)
    before = logits(model)
    state = model.trained_state()
    name = next(iter(state))
    wider = state | {name: torch.zeros(*state[name].shape, 2)}
    for foreign in (wider, state | {"more": state[name]}, dict(list(state.items())[1:])):
        with pytest.raises(UserError, match="a file holds the weights of another experiment"):
            model.load_trained(foreign, "a file")
    assert torch.equal(logits(model), before)


@every_method
@every_family
def test_the_seed_decides_what_is_built(backbone: Backbone, how: Method) -> None:
    one = classifier(backbone, how, seed=3).state_dict()
    torch.rand(5)
    two, other = (classifier(backbone, how, seed=s).state_dict() for s in (3, 4))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.dense.weight"], other["head.dense.weight"])


def test_the_thesis_counts() -> None:
    lora = LoRA(rank=5, targets=("query", "value"))
    assert lora.added_parameters(DISTILROBERTA) == 92_160
    assert DISTILROBERTA.head_parameters(4) == 593_668
    assert DISTILROBERTA.body_parameters == 81_527_808


def test_peft_counts_what_the_thesis_printed() -> None:
    config = DISTILROBERTA.config()
    config.num_labels = 4
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=5, target_modules=["query", "value"])
    with torch.device("meta"):
        model = peft.get_peft_model(RobertaForSequenceClassification(config), lora)
    ours = LoRA(rank=5, targets=("query", "value")).trained_parameters(DISTILROBERTA)
    head = DISTILROBERTA.head_parameters(4)
    trained, every = model.get_nb_trainable_parameters()
    assert (trained, every) == (685_828, 82_807_304)
    assert trained == ours + head
    assert every == DISTILROBERTA.body_parameters + ours + 2 * head


def test_lora_scale() -> None:
    assert LoRA(rank=4, alpha=8.0).scale == 2.0
    assert LoRA(rank=4, alpha=8.0, rank_stabilised=True).scale == 4.0


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"rank": 0}, "rank=0"),
        ({"targets": ()}, "targets="),
        ({"targets": ("query", "dense")}, "choose among query, key"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"top_layers": 0}, "top_layers=0 must be at least 1"),
        ({"top_layers": -2}, "top_layers=-2 must be at least 1"),
        ({"start": "zeros"}, "start='zeros': choose gaussian or kaiming"),
    ],
)
def test_bad_lora_is_refused(bad: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        LoRA(**bad)
