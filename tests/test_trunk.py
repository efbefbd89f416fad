"""trunk.py: cached equals uncached, is computed once, and never stands for something else."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import toy
from tiny_models import CAP, FAMILIES, LENGTHS, encoder, texts
from torch import Tensor

from lowrank_da import cost, train, trunk
from lowrank_da.backbone import Backbone
from lowrank_da.batches import Batches, Known
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import CACHE_VARIABLE, ID, SELECT, TRAIN
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.head import pool
from lowrank_da.machine import Machine
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.prompt import Prompt
from lowrank_da.prepared import prepare
from lowrank_da.run import Run

CPU = torch.device("cpu")
DEEPER = {family: replace(backbone, layers=3) for family, backbone in FAMILIES.items()}
TOP = LoRA(rank=2, top_layers=1)
ALL_LENGTHS = LENGTHS | {"more than a batch": (30, 1, CAP, 7, 1, 29, 30, CAP, 2)}
every_family = pytest.mark.parametrize("family", DEEPER)
every_length = pytest.mark.parametrize("lengths", ALL_LENGTHS.values(), ids=list(ALL_LENGTHS))
POOLED = {
    f"{family}-{pooling}": replace(backbone, pooling=pooling)
    for family, backbone in FAMILIES.items()
    for pooling in (("last", "mean") if backbone.decoder else ("first", "last", "mean"))
}
every_pooling = pytest.mark.parametrize("backbone", POOLED.values(), ids=list(POOLED))
every_depth = pytest.mark.parametrize("layers", [1, 2])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the trunks lie: in a cache of this test alone."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "trunks"


def names(folder: Path) -> set[str]:
    """The files in it, unfinished ones too, but for locks."""
    there = folder.iterdir() if folder.exists() else ()
    return {path.name for path in there if path.suffix != ".lock"}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of every batch that the trunk computes from now on."""
    seen: list[int] = []

    def watch(*given: Any) -> Any:
        seen.append(given[2].real_tokens)
        return encode(*given)

    monkeypatch.setattr(trunk, "encode", watch)
    return seen


# --- states -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A classifier in a precision, and texts."""

    model: Classifier
    backbone: Backbone
    ids: list[list[int]]
    dtype: torch.dtype

    def known(self, layers: int) -> Known:
        """What the trunk gives."""
        return trunk.known(
            self.model.encoder, self.backbone, self.ids, layers, CPU, self.dtype, budget=64
        )

    def logits(self, known: Known | None, seed: int | None = None) -> Tensor:
        """(texts, classes) in the texts' order, from batches in the order of `seed`."""
        batches = Batches(self.ids, [0] * len(self.ids), budget=64, known=known)
        found = torch.empty(len(self.ids), 4)
        half = self.dtype != torch.float32
        with torch.no_grad(), torch.autocast("cpu", self.dtype, enabled=half):
            for batch in batches.epoch(seed):
                found[batch.index] = self.model(batch).float()
        return found


def case(family: str, lengths: tuple[int, ...], layers: int, dtype: torch.dtype) -> Case:
    """As trained: only what is above `layers` holds adapters, the rest is rounded to `dtype`."""
    backbone = DEEPER[family]
    method = LoRA(rank=2, top_layers=backbone.layers - layers)
    setting = toy.setting(backbone=backbone, max_tokens=CAP)
    model = Classifier(toy.experiment(setting=setting, method=method), 0, steps=10).eval()
    torch.manual_seed(1)
    for name, parameter in model.trained().items():
        if name.endswith(("lora_B", "out_proj.weight")):
            torch.nn.init.normal_(parameter, std=0.3)
    model.fit_to(dtype)
    return Case(model, backbone, texts(backbone, lengths), dtype)


def test_the_file_of_one_budget_serves_every_other(folder: Path) -> None:
    one = case("bert", (9, 1, CAP, 30, 9), 1, torch.float32)
    made = one.known(1)
    given = (one.model.encoder, one.backbone, one.ids, 1, CPU, one.dtype)
    other = trunk.known(*given, budget=10**6)
    assert (made.computed, other.computed) == (True, False)
    assert other.starts == made.starts
    assert torch.equal(other.table, made.table)


def check(one: Case, known: Known) -> None:
    """Cached equals uncached: to the bit in the same company, else to rounding."""
    whole = one.logits(None)
    same = one.logits(known)
    assert torch.equal(same, whole), "in equal batches"
    other = one.logits(known, seed=1)
    spread = float(whole.abs().max())
    bound = 1e-5 if one.dtype == torch.float32 else 0.05
    torch.testing.assert_close(other, whole, rtol=0, atol=bound * spread)


@every_length
@every_depth
@every_family
def test_cached_equals_uncached(family: str, lengths: tuple[int, ...], layers: int) -> None:
    # The longest case in the narrower type: it holds all the others.
    most = lengths == ALL_LENGTHS["more than a batch"]
    for dtype in (torch.float32, torch.bfloat16)[: 1 + most]:
        check_states(case(family, lengths, layers, dtype), lengths, layers)


def check_states(one: Case, lengths: tuple[int, ...], layers: int) -> None:
    """The states above that many layers, and what comes of them."""
    known = one.known(layers)
    assert known.layers == layers
    assert known.table.shape == (sum(lengths), one.backbone.width)
    assert known.table.dtype == one.dtype
    check(one, known)


@every_depth
@every_family
def test_states_are_those_of_transformers(family: str, layers: int) -> None:
    one = case(family, (9, 1, CAP, 4), layers, torch.float32)
    known = one.known(layers)
    model = encoder(one.backbone, dtype=torch.float32)
    for ids, start in zip(one.ids, known.starts, strict=True):
        hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        own = known.table[start : start + len(ids)]
        torch.testing.assert_close(own, hidden[layers][0], rtol=1e-5, atol=1e-5)


TWINS = {
    "of another layer": lambda one, known: replace(one.known(2), layers=1),
    "shifted by a row": lambda one, known: replace(known, table=known.table.roll(1, dims=0)),
    "of another text": lambda one, known: replace(known, starts=known.starts[::-1]),
}


@pytest.mark.parametrize("twin", TWINS)
@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrong_states_are_noticed(family: str, twin: str, dtype: torch.dtype) -> None:
    one = case(family, (9, 5, 9), 1, dtype)
    known = one.known(1)
    check(one, known)
    with pytest.raises(AssertionError):
        check(one, TWINS[twin](one, known))


def test_the_encoder_is_left_as_it_was_and_no_gradient_is_kept() -> None:
    one = case("roberta", (9, 1), 1, torch.float32)
    before = {name: p.clone() for name, p in one.model.named_parameters()}
    for training in (True, False):
        one.model.train(training)
        known = one.known(1)
        assert {module.training for module in one.model.encoder.modules()} == {training}
        assert not known.table.requires_grad
    assert all(torch.equal(p, before[name]) for name, p in one.model.named_parameters())


# --- files --------------------------------------------------------------------------------------


def test_it_is_found_again_and_not_computed_again(folder: Path, computed: list[int]) -> None:
    one = case("bert", ALL_LENGTHS["more than a batch"], 2, torch.float32)
    first = one.known(2)
    assert sum(computed) == sum(ALL_LENGTHS["more than a batch"])
    assert len(computed) > 1
    assert len(names(folder)) == 1
    computed.clear()
    again = one.known(2)
    assert computed == []
    assert torch.equal(again.table, first.table)
    assert again.starts == first.starts


def test_two_at_a_time_compute_it_once(
    folder: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits for the first one's file."""
    lengths = ALL_LENGTHS["more than a batch"]
    cases = [case("bert", lengths, 2, torch.float32) for _ in range(2)]
    write, both = trunk._write, threading.Barrier(2, timeout=60)

    def slow(*given: Any) -> None:
        time.sleep(0.5)
        write(*given)

    def known(one: Case) -> Known:
        both.wait()
        return one.known(2)

    monkeypatch.setattr(trunk, "_write", slow)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(known, cases)
    assert sum(computed) == sum(lengths)
    assert first.computed != second.computed
    assert torch.equal(first.table, second.table)


@pytest.mark.parametrize("more", [1, 2])
def test_other_threads_have_a_file_of_their_own(folder: Path, more: int) -> None:
    one = case("bert", ALL_LENGTHS["more than a batch"], 1, torch.float32)
    one.known(1)
    before = torch.get_num_threads()
    with replace(Machine.choose("cpu", "fp32"), threads=before + more - 1).at_work():
        one.known(1)
    assert len(names(folder)) == more
    assert torch.get_num_threads() == before


def test_other_batches_find_the_same_file(folder: Path, computed: list[int]) -> None:
    one = case("bert", ALL_LENGTHS["more than a batch"], 1, torch.float32)
    one.known(1)
    computed.clear()
    larger = trunk.known(
        one.model.encoder, one.backbone, one.ids, 1, CPU, torch.float32, budget=1000
    )
    assert computed == []
    check(one, larger)


def test_another_text_weight_depth_or_precision_is_another_file(folder: Path) -> None:
    one = case("roberta", (9, 1, 4), 1, torch.float32)
    one.known(1)
    assert len(names(folder)) == 1

    changed = [[*one.ids[0][:-1], 7 + one.ids[0][-1] % 2], *one.ids[1:]]
    moved = [one.ids[0][:-1], [one.ids[0][-1], *one.ids[1]], one.ids[2]]
    for number, ids in enumerate((changed, moved, one.ids[1:], one.ids[::-1]), start=2):
        one._replace(ids=ids).known(1)
        assert len(names(folder)) == number, "other texts"
    one.known(2)
    assert len(names(folder)) == 6, "another depth"
    one._replace(dtype=torch.bfloat16).known(1)
    assert len(names(folder)) == 7, "another precision"

    layers = one.model.encoder.get_submodule("encoder.layer")
    parts = (one.model.encoder.get_submodule("embeddings"), layers[0])
    for number, part in enumerate(parts, start=8):
        weight = list(part.parameters())[-1]
        with torch.no_grad():
            weight[0] += 0.5
        one.known(1)
        assert len(names(folder)) == number, "another weight"
    with torch.no_grad():
        list(layers[1].parameters())[-1][0] += 0.5
    one.known(1)
    assert len(names(folder)) == 9, "what is above does not matter"


@pytest.mark.parametrize("damage", [b"", b"a few bytes", None])
def test_a_file_of_another_size_is_made_again(
    damage: bytes | None, folder: Path, computed: list[int]
) -> None:
    one = case("roberta", (9, 1, 4), 1, torch.float32)
    one.known(1)
    (name,) = names(folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-4] if damage is None else damage)
    computed.clear()
    check(one, one.known(1))
    assert sum(computed) == 14
    assert (folder / name).read_bytes() == whole


def test_a_small_disk_is_told_in_one_line_beforehand(
    folder: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = case("roberta", (9, 1, 4), 1, torch.float32)
    size = 14 * one.backbone.width * 4

    class Disk(NamedTuple):
        free: int

    monkeypatch.setattr(trunk.shutil, "disk_usage", lambda path: Disk(size - 1))
    with pytest.raises(UserError, match=r"frozen layers' states need .* LOWRANK_DA_CACHE") as told:
        one.known(1)
    assert "\n" not in str(told.value)
    assert str(folder) in str(told.value)
    assert computed == []
    assert names(folder) == set()
    monkeypatch.setattr(trunk.shutil, "disk_usage", lambda path: Disk(size))
    one.known(1)


def test_an_interrupted_pass_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = case("roberta", ALL_LENGTHS["more than a batch"], 1, torch.float32)
    batches = iter(range(3))

    def stop(*given: Any) -> Any:
        if next(batches) == 2:
            raise KeyboardInterrupt
        return encode(*given)

    with monkeypatch.context() as patch:
        patch.setattr(trunk, "encode", stop)
        with pytest.raises(KeyboardInterrupt):
            one.known(1)
    assert names(folder) == set()
    check(one, one.known(1))


# --- whole trainings ----------------------------------------------------------------------------


def trained(folder: Path, *, cached: bool, precision: str = "fp32", **changes: Any) -> Run:
    """A run with adapters in the top layer; its record lies below `folder`."""
    cell = toy.cell(**{"method": TOP, "learning_rate": 0.05} | changes)
    machine = Machine.choose("cpu", precision)
    (done,) = train.run([cell], folder, folder, machine, cached_trunk=cached)
    return done


def same_run(cached: Run, uncached: Run) -> None:
    """Equal but for rounding: the probabilities are kept in float16."""
    for role, own in uncached.predictions.items():
        given = cached.predictions[role].probabilities.astype(float)
        np.testing.assert_allclose(given, own.probabilities.astype(float), rtol=0, atol=2e-3)
    for part in ("parameters", "corpus", "epoch", "steps"):
        assert cached.result[part] == uncached.result[part], part
    for own, other in zip(cached.result["curve"], uncached.result["curve"], strict=True):
        assert own == pytest.approx(other, abs=1e-4)
    for role, own in cached.result["splits"].items():
        assert own["confusion_matrix"] == uncached.result["splits"][role]["confusion_matrix"]


@every_family
def test_a_training_ends_the_same_with_and_without_it(
    family: str, tmp_path: Path, folder: Path
) -> None:
    setting = toy.setting(backbone=replace(DEEPER[family], pooling="mean"), epochs=3)
    uncached = trained(tmp_path / "uncached", cached=False, setting=setting)
    assert names(folder) == set()
    cached = trained(tmp_path / "cached", cached=True, setting=setting)
    assert len(names(folder)) == 2, "train and select"
    same_run(cached, uncached)
    losses = [point["loss"] for point in cached.result["curve"]]
    assert losses[-1] < losses[0], "something must have been learned"


def _shifted(*given: Any, **named: Any) -> Known:
    found = KNOWN(*given, **named)
    return replace(found, table=found.table.roll(1, dims=0))


def _one_layer_less(*given: Any, **named: Any) -> Known:
    encoder, backbone, ids, layers, *rest = given
    return replace(KNOWN(encoder, backbone, ids, layers - 1, *rest, **named), layers=layers)


KNOWN = trunk.known


@pytest.mark.parametrize("twin", [_shifted, _one_layer_less])
def test_wrong_states_would_change_a_training(
    twin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncached = trained(tmp_path / "uncached", cached=False)
    monkeypatch.setattr(trunk, "known", twin)
    with pytest.raises(AssertionError):
        same_run(trained(tmp_path / "cached", cached=True), uncached)


def test_a_bf16_training_learns_as_much_with_it(tmp_path: Path) -> None:
    runs = [
        trained(tmp_path / str(cached), cached=cached, precision="bf16") for cached in (True, False)
    ]
    for role, own in runs[0].predictions.items():
        difference = own.probabilities.astype(float) - runs[1].predictions[role].probabilities
        assert np.abs(difference).max() < 0.05


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({}, True),
        ({"method": LoRA(rank=2, top_layers=1, dropout=0.1)}, True),
        ({"hidden_dropout": 0.1}, False),
        ({"attention_dropout": 0.1}, False),
        ({"method": LoRA(rank=2)}, False),
        ({"method": LoRA(rank=2, top_layers=2)}, False),
        ({"method": Full()}, False),
        ({"method": Prompt(tokens=2)}, False),
        ({"method": LinearProbe()}, True),
        ({"method": LinearProbe(), "hidden_dropout": 0.1}, False),
    ],
)
def test_it_is_used_where_lower_layers_stay_the_same(
    changes: dict[str, Any], used: bool, tmp_path: Path, folder: Path
) -> None:
    run = trained(tmp_path, cached=True, epochs=1, **changes)
    assert (names(folder) != set()) == used
    assert (run.measured["trunk_seconds"] > 0) == (run.measured["trunk_flops"] > 0) == used


def test_seeds_ranks_and_binaries_share_it(
    tmp_path: Path, folder: Path, computed: list[int]
) -> None:
    trained(tmp_path, cached=True, epochs=1)
    made = names(folder)
    computed.clear()
    others: Sequence[dict[str, Any]] = (
        {"name": "owl", "labels": ("owl", "human")},
        {"name": "seed", "seed": 1},
        {"name": "rank", "method": LoRA(rank=4, top_layers=1)},
    )
    for changes in others:
        trained(tmp_path, cached=True, epochs=1, **changes)
    assert names(folder) == made
    assert computed == []


def test_a_binarys_states_are_those_of_its_own_texts(tmp_path: Path) -> None:
    runs = [
        trained(tmp_path / str(cached), cached=cached, name="owl", labels=("owl", "human"))
        for cached in (True, False)
    ]
    same_run(*runs)


# --- of all layers: what a probe reads ----------------------------------------------------------


def probe(backbone: Backbone, dtype: torch.dtype = torch.float32) -> Case:
    """A frozen encoder with a head, and more texts than a batch takes."""
    setting = toy.setting(backbone=backbone, max_tokens=CAP)
    model = Classifier(toy.experiment(setting=setting, method=LinearProbe()), 0, steps=10).eval()
    torch.nn.init.normal_(model.head.out_proj.weight, std=0.3)
    model.fit_to(dtype)
    return Case(model, backbone, texts(backbone, ALL_LENGTHS["more than a batch"]), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_pooling
def test_cached_features_equal_uncached_ones(backbone: Backbone, dtype: torch.dtype) -> None:
    one = probe(backbone, dtype)
    known = one.known(backbone.layers)
    assert known.pooled
    assert known.table.shape == (len(one.ids), backbone.width)
    assert known.table.dtype == torch.float32
    check(one, known)


@every_pooling
def test_features_are_those_of_transformers(backbone: Backbone) -> None:
    one = probe(backbone)
    known = one.known(backbone.layers)
    model = encoder(backbone, dtype=torch.float32)
    for ids, start in zip(one.ids, known.starts, strict=True):
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        plain = {"first": states[0], "last": states[-1], "mean": states.mean(dim=0)}
        wanted = plain[backbone.pooling]
        torch.testing.assert_close(known.table[start], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("twin", ["shifted by a row", "of another text"])
@every_pooling
def test_wrong_features_are_noticed(backbone: Backbone, twin: str) -> None:
    one = probe(backbone)
    known = one.known(backbone.layers)
    check(one, known)
    with pytest.raises(AssertionError):
        check(one, TWINS[twin](one, known))


def test_features_are_computed_once_whatever_the_batches(computed: list[int]) -> None:
    one = probe(POOLED["bert-mean"])
    first = one.known(2)
    assert sum(computed) == sum(map(len, one.ids))
    computed.clear()
    again = one.known(2)
    larger = trunk.known(one.model.encoder, one.backbone, one.ids, 2, CPU, one.dtype, budget=1000)
    assert computed == []
    assert [found.computed for found in (first, again, larger)] == [True, False, False]
    assert torch.equal(first.table, again.table)
    check(one, larger)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_pooling_weight_or_text_is_another_features_file(
    family: str, folder: Path, computed: list[int]
) -> None:
    poolings = [backbone for name, backbone in POOLED.items() if name.startswith(family)]
    for number, backbone in enumerate(poolings, start=1):
        probe(backbone).known(backbone.layers)
        assert len(names(folder)) == number, "another pooling"
    one, made = probe(poolings[0]), len(poolings)
    changed = one._replace(ids=[*one.ids[:-1], [*one.ids[-1][:-1], 7 + one.ids[-1][-1] % 2]])
    changed.known(one.backbone.layers)
    assert len(names(folder)) == made + 1, "another text"
    for number, weight in enumerate(one.model.encoder.parameters(), start=made + 2):
        with torch.no_grad():
            weight.view(-1)[-1] += 0.5
        one.known(one.backbone.layers)
        assert len(names(folder)) == number, "another weight, wherever it is"
    made = len(names(folder))
    computed.clear()
    with torch.no_grad():
        one.model.head.dense.weight += 0.5
    one.known(one.backbone.layers)
    assert (len(names(folder)), computed) == (made, []), "the head does not matter"


@every_pooling
def test_a_probe_trained_over_features_is_the_probe(
    backbone: Backbone, tmp_path: Path, folder: Path
) -> None:
    changes = {"setting": toy.setting(backbone=backbone, epochs=2), "method": LinearProbe()}
    uncached = trained(tmp_path / "uncached", cached=False, **changes)
    assert names(folder) == set()
    cached = trained(tmp_path / "cached", cached=True, **changes)
    assert len(names(folder)) == 4, "train, select, id and ood"
    same_run(cached, uncached)
    losses = [point["loss"] for point in cached.result["curve"]]
    assert losses[-1] < losses[0], "something must have been learned"


def test_features_of_other_texts_would_change_a_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncached = trained(tmp_path / "uncached", cached=False, method=LinearProbe())
    monkeypatch.setattr(trunk, "known", _shifted)
    with pytest.raises(AssertionError):
        same_run(trained(tmp_path / "cached", cached=True, method=LinearProbe()), uncached)


def test_a_second_probe_computes_no_layer_in_training_or_prediction(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = toy.setting()
    ids = prepare(setting).ids
    first = trained(tmp_path, cached=True, setting=setting, method=LinearProbe())
    assert sum(computed) == sum(len(text) for role in ids.values() for text in role)
    assert set(ids) == {TRAIN, SELECT, ID, toy.OOD} == {TRAIN, *first.predictions}
    whole = cost.forward_flops(setting.backbone, map(len, ids[TRAIN]))
    assert first.measured["trunk_flops"] == whole
    assert first.measured["needed_flops"] == 0

    def refuse(*_: Any) -> None:
        raise AssertionError("a layer is computed")

    monkeypatch.setattr("lowrank_da.encode.embed", refuse)
    others: Sequence[dict[str, Any]] = (
        {"name": "seed", "seed": 1},
        {"name": "rate", "learning_rate": 0.01},
        {"name": "owl", "labels": ("owl", "human")},
    )
    for changes in others:
        again = trained(tmp_path, cached=True, setting=setting, method=LinearProbe(), **changes)
        assert set(again.predictions) == set(first.predictions)
        assert again.measured["trunk_flops"] == 0


def test_pooling_what_is_pooled_changes_nothing() -> None:
    one = probe(POOLED["decoder-last"])
    batch = Batches(one.ids, [0] * len(one.ids), budget=64, known=one.known(2)).batch([3, 0])
    assert batch.states is not None
    states, packing = encode(one.model.encoder, one.backbone, batch)
    assert torch.equal(pool(states, packing, one.backbone.pooling), batch.states)


# --- on a card ----------------------------------------------------------------------------------


@pytest.mark.gpu
def test_on_a_card_it_lies_in_the_cards_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one = case("roberta", (9, 1, CAP), 1, torch.float32)
    card = torch.device("cuda")
    model = one.model.encoder.to(card)
    places = {}
    for share in (trunk.SHARE_OF_FREE, 0.0):
        monkeypatch.setattr(trunk, "SHARE_OF_FREE", share)
        found = trunk.known(model, one.backbone, one.ids, 1, card, torch.bfloat16, budget=64)
        places[found.table.device.type] = found.table.cpu()
    assert set(places) == {"cuda", "cpu"}
    assert torch.equal(places["cuda"], places["cpu"])
