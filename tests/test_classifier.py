"""classifier.py: schedule, clipping, loss, precision, and what Lightning does with them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from tiny_models import BACKBONES, CAP, lora_layers, move_from_start, texts
from torch import Tensor, nn

from lowrank_da import encode
from lowrank_da.backbone import Backbone
from lowrank_da.batches import Batch, Batches, pack
from lowrank_da.classifier import Classifier, clip, seed_step
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.packing import Packing


def classifier(steps: int = 10, weights: list[float] | None = None, **changes: Any) -> Classifier:
    """Of the toy's four classes, on the tiny encoder."""
    return Classifier(toy.experiment(**changes), 0, steps, weights)


def batch() -> Batch:
    """Four texts, one of each class."""
    return pack(texts(lengths=(9, 4, 6, 7)), labels=range(4))


class TestSchedule:
    """Linear warm-up, linear decay."""

    def test_values(self) -> None:
        model = classifier(steps=10, learning_rate=1.0, warmup=0.4)
        found = [model.learning_rate(step) for step in range(10)]
        rising, falling = [1 / 4, 2 / 4, 3 / 4, 1], [6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]
        assert found == pytest.approx(rising + falling)

    def test_without_warm_up_it_only_falls(self) -> None:
        model = classifier(steps=4, learning_rate=1.0, warmup=0.0)
        assert [model.learning_rate(s) for s in range(4)] == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4])

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(steps=st.integers(1, 300), warmup=st.floats(0, 1, exclude_max=True))
    def test_never_above_the_rate_nor_down_to_zero(self, steps: int, warmup: float) -> None:
        model = classifier(steps, warmup=warmup)
        rates = [model.learning_rate(step) for step in range(steps)]
        assert 0 < min(rates) <= max(rates) <= model.experiment.learning_rate
        top = rates.index(max(rates))
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)


class Recorder(pl.Callback):
    """The learning rate and the gradients' norm of each step, as the optimizer met them."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, Classifier)
        self.rates += {group["lr"] for group in trainer.optimizers[0].param_groups}
        self.norms.append(total_norm(module))
        module.step += 1


def total_norm(model: Classifier) -> float:
    """Euclidean norm of all gradients together."""
    grads = [p.grad.flatten() for p in model.trained().values() if p.grad is not None]
    return float(torch.cat(grads).norm())


class Loader:
    """Six equal batches."""

    def __iter__(self) -> Iterator[Batch]:
        return iter([batch()] * 6)


def trainer(**more: Any) -> pl.Trainer:
    """One quiet pass on the CPU."""
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
        **more,
    )


@pytest.mark.filterwarnings("ignore")
def test_lightning_follows_the_schedule_and_clips() -> None:
    model = classifier(steps=6, learning_rate=0.01, warmup=0.5)
    recorder = Recorder()
    trainer(callbacks=[recorder], gradient_clip_val=0.01).fit(model, Loader())
    assert recorder.rates == pytest.approx([model.learning_rate(step) for step in range(6)])
    assert recorder.norms == pytest.approx([0.01] * 6, rel=1e-3)


def test_clipping_equals_scaling_by_the_norm() -> None:
    model = classifier()
    model.training_step(batch(), 0).backward()
    before = {name: p.grad.clone() for name, p in model.trained().items()}
    norm = total_norm(model)
    optimizer = model.configure_optimizers()
    for bound in (None, 2 * norm):
        model.configure_gradient_clipping(optimizer, bound)
        assert all(torch.equal(p.grad, before[name]) for name, p in model.trained().items())
    model.configure_gradient_clipping(optimizer, norm / 4)
    for name, p in model.trained().items():
        torch.testing.assert_close(p.grad, before[name] / 4, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0, 4.0]])
def test_loss_is_torchs_weighted_cross_entropy(weights: list[float] | None) -> None:
    model = classifier(weights=weights)
    one = batch()
    chosen = None if weights is None else torch.tensor(weights)
    wanted = torch.nn.CrossEntropyLoss(weight=chosen)(model(one), one.labels)
    torch.testing.assert_close(model.training_step(one, 0), wanted)
    unweighted = torch.nn.CrossEntropyLoss()(model(one), one.labels)
    assert torch.equal(wanted, unweighted) == (weights is None)


def test_only_matrices_are_decayed() -> None:
    model = classifier(method=LoRA(), weight_decay=0.1, learning_rate=0.5)
    optimizer = model.configure_optimizers()
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in others["params"]} == {1}
    ids = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.trained().values())


@pytest.mark.filterwarnings("ignore")
def test_predictions_are_probabilities_by_position() -> None:
    model = classifier()
    made = Batches([[0, 9, 2], [0, 9, 9, 9, 2], [0, 7, 2]], [0, 0, 0], budget=10)

    class Once:
        def __iter__(self) -> Iterator[Batch]:
            return made.epoch()

    outputs = trainer().predict(model, Once())
    found = {int(i): p for index, rows in outputs for i, p in zip(index, rows, strict=True)}
    assert sorted(found) == [0, 1, 2]
    for i, row in found.items():
        logits = model(pack([made.ids[i]]))
        torch.testing.assert_close(row, logits.softmax(dim=-1)[0])


def test_select_f1_is_scikit_learns() -> None:
    model = classifier()
    torch.manual_seed(1)
    with torch.no_grad():
        model.head.out_proj.weight.normal_()
    tokens = torch.randint(4, 260, (40, 8)).tolist()
    labels = torch.randint(0, 4, (40,)).tolist()
    predicted = model(pack(tokens)).argmax(dim=1)
    for part in (slice(15), slice(15, 30), slice(30, 40)):
        model.validation_step(pack(tokens[part], labels[part]), 0)
    wanted = f1_score(labels, predicted, average="macro")
    assert 0 < wanted < 1
    assert float(model.select_f1.compute()) == pytest.approx(wanted)


def in_bf16(model: Classifier, batch: Batch) -> Tensor:
    """Logits under autocast, as trained."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found: Tensor = model(batch)
    return found.float()


@pytest.mark.parametrize("family", BACKBONES)
def test_what_is_frozen_is_rounded_once_but_not_what_is_merged(family: str) -> None:
    backbone = BACKBONES[family]
    changes = {"setting": toy.setting(backbone=backbone), "method": LoRA(targets=("query",))}
    model = classifier(**changes).eval()
    move_from_start(model.encoder)
    one = pack(texts(backbone))
    wanted = model(one)
    model.fit_to(torch.bfloat16)
    adapted = {
        f"encoder.{name}.{part}"
        for name in lora_layers(model.encoder)
        for part in ("weight", "bias")
    }
    for name, p in model.named_parameters():
        kept = p.requires_grad or name in adapted
        assert p.dtype == (torch.float32 if kept else torch.bfloat16), name
    # Logits are about 0.02; two roundings of bf16 in a row are off by under 1 % of the largest.
    found = in_bf16(model, one)
    assert 0 < (found - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_full_fine_tuning_is_never_rounded() -> None:
    model = classifier(method=Full())
    model.fit_to(torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("changes", [{"hidden_dropout": 0.3}, {"attention_dropout": 0.3}])
def test_dropout_changes_training_and_not_evaluation(changes: dict[str, float]) -> None:
    model, one = classifier(**changes), batch()
    model.train()
    assert not torch.equal(model(one), model(one))
    model.eval()
    assert torch.equal(model(one), classifier().eval()(one))


@cache
def exact(family: str) -> Classifier:
    """In float64 and evaluation mode."""
    return classifier(setting=toy.setting(backbone=BACKBONES[family])).double().eval()


def check_neighbours(family: str, rows: list[list[int]]) -> None:
    """The logits of a batch of texts are those of each text alone."""
    model = exact(family)
    alone = torch.cat([model(pack([row])) for row in rows])
    torch.testing.assert_close(model(pack(rows)), alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", BACKBONES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(lengths=st.permutations([1, 1, 2, 5, 9, 14, CAP]), company=st.integers(1, 7))
def test_neither_company_nor_order_nor_length_of_neighbours_changes_a_text(
    family: str, lengths: list[int], company: int
) -> None:
    check_neighbours(family, texts(BACKBONES[family], tuple(lengths))[:company])


EMBED = encode.embed


def _positions_go_on(encoder: nn.Module, backbone: Backbone, batch: Batch) -> Tensor:
    counted = replace(batch, positions=torch.arange(batch.real_tokens))
    return EMBED(encoder, backbone, counted)


TWINS: dict[str, tuple[Any, ...]] = {
    "padding is looked at": (Packing, "real", lambda packing: None),
    "positions go on": (encode, "embed", _positions_go_on),
}


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("family", BACKBONES)
def test_a_neighbours_influence_is_noticed(
    family: str, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = texts(BACKBONES[family])
    check_neighbours(family, rows)
    monkeypatch.setattr(*TWINS[twin])
    with pytest.raises(AssertionError):
        check_neighbours(family, rows)


def test_a_norm_that_trains_its_bias_keeps_the_type_of_both() -> None:
    model = classifier()
    model.encoder.requires_grad_(False)
    norm = model.encoder.get_submodule("encoder.layer.0.output.LayerNorm")
    norm.bias.requires_grad_(True)
    model.fit_to(torch.bfloat16)
    assert norm.weight.dtype == norm.bias.dtype == torch.float32
    assert in_bf16(model, batch()).isfinite().all()


def test_a_step_draws_what_torch_draws_from_its_seed() -> None:
    torch.manual_seed(1_000_003)
    wanted = torch.rand(4)
    seed_step(1_000_003, torch.device("cpu"))
    assert torch.equal(torch.rand(4), wanted)


def test_what_is_clipped_is_what_trains() -> None:
    classifier = Classifier(toy.experiment(method=LoRA(rank=2)), seed=0, steps=1)
    assert [id(p) for p in classifier.clipped] == [id(p) for p in classifier.trained().values()]
    for parameter in classifier.clipped:
        parameter.grad = torch.ones_like(parameter)
    clip(classifier, 1.0)
    grads = [p.grad for p in classifier.trained().values() if p.grad is not None]
    assert torch.stack([g.norm() for g in grads]).norm() == pytest.approx(1.0, abs=1e-4)
