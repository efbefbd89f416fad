"""Interleaved timing and its records; and the comparison with peers, on tiny random encoders."""

import gc
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
import toy
from sklearn.metrics import f1_score
from torch import Tensor
from transformers import DataCollatorWithPadding

from experiments import thesis
from experiments.benchmarks import (
    card,
    command,
    commits,
    hf_trainer,
    peers,
    quality,
    sharing,
    step,
    targets,
    timing,
)
from experiments.benchmarks.hf_trainer import Tuning
from experiments.benchmarks.timing import Case, Record, Row
from lowrank_da import cost, discover
from lowrank_da.backbone import TINY, Backbone
from lowrank_da.batches import Batches, pack
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import ID, SELECT, TRAIN
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.machine import Machine
from lowrank_da.method import Method
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.prepared import prepare
from lowrank_da.run import hashed, load_all
from lowrank_da.study import Checkout

CPU = Machine.choose("cpu", "fp32")
BACKBONES = {
    "roberta_first": TINY,
    "bert_first": replace(tiny_models.TINY_BERT, pooling="first"),
    "bert_mean": tiny_models.TINY_BERT,
}
EVERY = pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)


def experiment(backbone: Backbone = TINY, method: Method | None = None, **changes: Any) -> Any:
    """A training on the toy corpus, by a tiny encoder that the peers know too."""
    own = toy.setting(backbone=backbone, epochs=changes.pop("epochs", 1))
    return toy.experiment(setting=own, method=method or LoRA(rank=2), **changes)


@pytest.fixture(autouse=True, scope="module")
def _quick_collection() -> Iterator[None]:
    """`Trainer` collects garbage whenever it starts; what was imported before is none."""
    gc.freeze()
    yield
    gc.unfreeze()


# --- measuring ----------------------------------------------------------------------------------


def clocked(seconds: dict[str, list[float]]) -> tuple[list[Case], list[str]]:
    """Cases that say these seconds one after another, and the order in which they were called."""
    called: list[str] = []

    def case(name: str) -> Case:
        left = iter(seconds[name])

        def repeat() -> dict[str, float]:
            called.append(name)
            return {"seconds": next(left)}

        return Case(name, repeat)

    return [case(name) for name in seconds], called


def test_cases_run_in_turn_each_round_begins_with_the_next_and_the_first_does_not_count() -> None:
    cases, called = clocked({"a": [99, 1, 2], "b": [99, 3, 4], "c": [99, 5, 6]})
    found = timing.interleaved(cases, 2)
    assert called == [*"abc", *"bca", *"cab"]
    seconds = {name: [m["seconds"] for m in several] for name, several in found.items()}
    assert seconds == {"a": [1, 2], "b": [3, 4], "c": [5, 6]}


def test_no_round_and_one_name_twice_are_refused() -> None:
    cases, called = clocked({"a": [1, 1]})
    with pytest.raises(ValueError, match="at least one round"):
        timing.interleaved(cases, 0)
    with pytest.raises(ValueError, match="different names"):
        timing.interleaved([*cases, *cases], 1)
    assert not called


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    over, under = np.array([8.0, 30.0, 5.0]), np.array([2.0, 5.0, 1.0])
    row = timing.ratio(
        "a over b",
        [{"seconds": s} for s in over.tolist()],
        [{"seconds": s} for s in under.tolist()],
        target=">= 4",
    )
    by_round = over / under
    assert row.rounds == tuple(by_round)
    assert (row.ratio, row.low, row.high) == (np.median(by_round), by_round.min(), by_round.max())
    assert row.ratio != np.median(over) / np.median(under), "else the example shows nothing"
    assert row.met


def test_the_share_of_the_limit_is_work_done_over_work_possible() -> None:
    measured = [{"seconds": 2.0, "flops": 1e9}, {"seconds": 4.0, "flops": 1e9}]
    assert timing.share_of_limit(measured, peak=1e9) == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (None, None),
        (">= 1.5", True),
        (">= 1.6", False),
        ("<= 1.5", True),
        ("<= 1.4", False),
        ("> 1.5", False),
        ("< 2", True),
        ("low > -2", True),
        ("low > 1", False),
    ],
)
def test_whether_a_target_is_met(target: str | None, met: bool | None) -> None:
    assert Row(what="it", target=target, ratio=1.5, low=1.0, high=2.0).met is met


@pytest.mark.parametrize("target", ["8", ">= many", "high > 2", ">=8"])
def test_a_target_that_cannot_be_read_is_refused_at_once(target: str) -> None:
    with pytest.raises(ValueError, match="write"):
        Row(what="it", target=target, ratio=1.0, low=1.0, high=1.0)


# --- the record ---------------------------------------------------------------------------------


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    monkeypatch.setattr(Machine, "peak_flops", lambda self: 1e9)
    slow = [{"seconds": s, "tokens": 100.0, "flops": 1e9} for s in (4.0, 2.0)]
    fast = [{"seconds": 1.0, "tokens": 300.0, "flops": 1e9 / 4}] * 2
    rows = [
        timing.ratio("slow / fast", slow, fast, target=">= 8", limit=12.0, note="sleep"),
        Row(what="points", ratio=-0.5, low=-1.5, high=0.5),
    ]
    measured = {"slow": slow, "fast": fast, "quality": [{"macro_f1": 0.5}]}
    return timing.record("sleeping", "tiny", rows, measured, CPU, tmp_path, fingerprint="abc")


def test_a_record_is_read_as_it_was_written(record: Record, tmp_path: Path) -> None:
    path = record.save(timing.runs_folder(tmp_path))
    assert path == tmp_path / "runs" / "benchmarks" / "sleeping-tiny-cpu.json"
    assert Record.load(path) == record
    body = json.loads(path.read_text())
    assert body["schema"] == 1
    assert body["peak_flops_per_second"] == 1e9
    assert body["made_by"]["fingerprint"] == "abc"
    assert body["made_by"]["precision"] == "32-true"
    assert body["made_by"]["threads"] == torch.get_num_threads()
    assert body["made_by"]["versions"]["torch"] == torch.__version__
    assert body["rows"][0]["rounds"] == [4.0, 2.0]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda text: text[:50], "damaged"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2"),
        (lambda text: text.replace('"rounds"', '"turns"'), "damaged"),
        (lambda text: text.replace('"size"', '"length"'), "damaged"),
        (lambda text: "[]", "damaged"),
        (None, "cannot be read"),
    ],
)
def test_a_record_that_is_not_whole_is_refused_in_one_line(
    record: Record, damage: Any, what: str, tmp_path: Path
) -> None:
    path = record.save(tmp_path)
    text = path.read_text()
    path.unlink()
    if damage is not None:
        path.write_text(damage(text))
        assert path.read_text() != text
    with pytest.raises(UserError, match=what) as error:
        Record.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_table_says_what_was_asked_measured_possible_and_met(record: Record) -> None:
    lines = timing.markdown(record).splitlines()
    assert "1 threads, 32-true, 0.00 TFLOP/s" in lines[0]
    assert "| slow / fast | >= 8 | 3.00 [2.00, 4.00] | 12.00 | no | sleep |" in lines
    assert "| points | - | -0.50 [-1.50, 0.50] | - | - |  |" in lines
    assert "| slow | 3.00 [2.00, 4.00] | 38 | 37.5% |" in lines
    assert "| fast | 1.00 [1.00, 1.00] | 300 | 25.0% |" in lines
    assert not any("quality" in line for line in lines)


# --- the peers ----------------------------------------------------------------------------------


def logits(model: Any, ids: list[list[int]], backbone: Backbone) -> Tensor:
    """(texts, classes) by transformers' own forward on padded texts."""
    batch = hf_trainer.collator(backbone)([{"input_ids": i} for i in ids])
    with torch.no_grad():
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return out["logits"]


def same_head(own: Classifier, model: Any) -> None:
    """Give our head the weights of the peer's."""
    weights = {name.replace("base_model.model.", ""): w for name, w in model.state_dict().items()}
    weights = {name.replace("modules_to_save.default.", ""): w for name, w in weights.items()}
    bert = "bert.pooler.dense.weight" in weights
    dense, project = (
        ("bert.pooler.dense", "classifier") if bert else ("classifier.dense", "classifier.out_proj")
    )
    for layer, name in ((own.head.dense, dense), (own.head.out_proj, project)):
        layer.load_state_dict({p: weights[f"{name}.{p}"] for p in ("weight", "bias")})


@EVERY
@pytest.mark.parametrize("method", [Full(), LoRA(rank=2)], ids=["full", "lora"])
@pytest.mark.parametrize("attention", hf_trainer.ATTENTIONS)
def test_the_tuned_peer_starts_as_our_model(
    backbone: Backbone, method: Method, attention: hf_trainer.Attention
) -> None:
    asked = experiment(backbone, method)
    ids = prepare(asked.setting).ids[TRAIN][:7]
    own = Classifier(asked, seed=0, steps=1).eval()
    peer = hf_trainer.build(asked, 0, torch.float32, Tuning(attention)).eval()
    same_head(own, peer)
    with torch.no_grad():
        ours = own(pack(ids))
    assert float(ours.std()) > 1e-3, "logits that are all alike would show nothing"
    torch.testing.assert_close(logits(peer, ids, backbone), ours, rtol=0, atol=1e-5)


def test_a_peer_that_pools_otherwise_is_noticed() -> None:
    asked = experiment(tiny_models.TINY_BERT)
    ids = prepare(asked.setting).ids[TRAIN][:7]
    own = Classifier(asked, seed=0, steps=1).eval()
    stock = hf_trainer.build(asked, 0, torch.float32, None).eval()
    same_head(own, stock)
    with torch.no_grad():
        ours = own(pack(ids))
    assert float((logits(stock, ids, asked.setting.backbone) - ours).abs().max()) > 1e-3


@EVERY
def test_the_peers_adapters_are_ours_in_number_and_all_else_is_frozen(backbone: Backbone) -> None:
    method = LoRA(rank=2)
    for tuning in (None, Tuning("sdpa")):
        peer = hf_trainer.build(experiment(backbone, method), 0, torch.bfloat16, tuning)
        trained = {n: p for n, p in peer.named_parameters() if p.requires_grad}
        adapters = [p.numel() for n, p in trained.items() if "lora_" in n]
        assert sum(adapters) == method.added_parameters(backbone)
        head = sum(p.numel() for n, p in trained.items() if "lora_" not in n)
        whole = tuning is not None or backbone.family == "roberta"
        project = backbone.width * 4 + 4
        assert head == (backbone.head_parameters(4) if whole else project)
        assert {p.dtype for p in trained.values()} == {torch.float32}
        frozen = {p.dtype for p in peer.parameters() if not p.requires_grad}
        assert frozen == {torch.float32 if tuning is None else torch.bfloat16}


@EVERY
def test_frozen_weights_in_bfloat16_and_no_casts_change_what_peft_says_by_rounding_alone(
    backbone: Backbone,
) -> None:
    asked = experiment(backbone)
    ids = prepare(asked.setting).ids[TRAIN][:7]

    def said(tuned: bool, adapted: bool = True) -> Tensor:
        dtype = torch.bfloat16 if tuned else torch.float32
        peer = hf_trainer.build(asked, 0, dtype, Tuning("sdpa")).eval()
        torch.manual_seed(1)
        for name, parameter in peer.named_parameters():
            if parameter.requires_grad and parameter.ndim > 1 and "lora_A" not in name:
                # Away from the start: adapters act, and logits are not all alike.
                lora = "lora_B" in name
                torch.nn.init.normal_(parameter, std=(0.05 if adapted else 0.0) if lora else 0.3)
        casting = hf_trainer.disable_input_dtype_casting(peer, active=tuned)
        with torch.autocast("cpu", torch.bfloat16), casting:
            return logits(peer, ids, backbone).float()

    plain = said(tuned=False)
    bound = 0.01 * float(plain.std())
    assert float((said(tuned=True) - plain).abs().mean()) < bound
    assert float((said(tuned=True, adapted=False) - plain).abs().mean()) > bound


@pytest.mark.parametrize("tuning", [None, Tuning("sdpa"), Tuning("eager")])
def test_ours_and_the_peers_train_the_same_texts(
    tuning: Tuning | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = experiment(epochs=2)
    ours: Counter[tuple[int, ...]] = Counter()
    theirs: Counter[tuple[int, ...]] = Counter()
    batch, collate = Batches.epoch, DataCollatorWithPadding.__call__

    def watch_ours(self: Batches, seed: Any = None, *more: Any) -> Any:
        for made in batch(self, seed, *more):
            if seed is not None:
                ours.update(tuple(self.ids[i].tolist()) for i in made.index.tolist())
            yield made

    def watch_theirs(self: DataCollatorWithPadding, features: Any) -> Any:
        made = collate(self, features)
        rows = zip(made["input_ids"], made["attention_mask"], strict=True)
        theirs.update(tuple(ids[mask.bool()].tolist()) for ids, mask in rows)
        return made

    monkeypatch.setattr(Batches, "epoch", watch_ours)
    monkeypatch.setattr(DataCollatorWithPadding, "__call__", watch_theirs)
    measured = peers.ours(asked, CPU, tmp_path)
    other = peers.theirs(asked, CPU, tuning)
    expected = Counter(tuple(ids) for ids in prepare(asked.setting).ids[TRAIN])
    assert ours == theirs == expected + expected
    for numbers in (measured, other):
        assert 0 < numbers["seconds"] <= numbers["whole_seconds"]
        assert numbers["tokens"] == sum(len(ids) * n for ids, n in ours.items())
        lengths = [len(ids) for ids, n in ours.items() for _ in range(n)]
        flops = cost.training_flops(asked.setting.backbone, asked.method, lengths)
        assert numbers["flops"] == flops


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("method", [Full(), LoRA(rank=2)], ids=["full", "lora"])
def test_training_moves_what_trains_and_nothing_else(method: Method, precision: str) -> None:
    asked, machine = experiment(tiny_models.TINY_BERT, method), Machine.choose("cpu", precision)
    tuning = Tuning("sdpa")
    start = hf_trainer.build(asked, 0, machine.dtype, tuning).state_dict()
    done = hf_trainer.fit(asked, prepare(asked.setting), machine, tuning=tuning)
    trained = {n for n, p in done.model.named_parameters() if p.requires_grad}
    moved = {n for n, w in done.model.state_dict().items() if not torch.equal(w, start[n])}
    assert moved == trained
    assert all(bool(w.isfinite().all()) for w in done.model.state_dict().values())


def test_the_schedule_and_the_rate_are_the_experiments(tmp_path: Path) -> None:
    asked = experiment(epochs=3, learning_rate=0.003, warmup=0.25, batch_tokens=256)
    for tuned in (False, True):
        told = hf_trainer.arguments(asked, 5, CPU, tuned, tmp_path)
        assert (told.learning_rate, told.num_train_epochs, told.seed) == (0.003, 3, 5)
        assert told.lr_scheduler_type == "linear"
        assert told.get_warmup_steps(100) == 25
        assert told.max_grad_norm == 1.0
        assert told.per_device_train_batch_size == (256 // 64 if tuned else 8)


def test_the_best_epoch_on_select_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, tuning = experiment(epochs=3), Tuning("sdpa")
    data = prepare(asked.setting)
    right = np.eye(4)[[text["labels"] for text in hf_trainer.texts_of(data, SELECT, asked)]]
    opinions, states = iter([right[::-1], right, right]), []

    def say(model: Any, *_: Any) -> Any:
        states.append({n: p.detach().clone() for n, p in model.named_parameters()})
        return next(opinions)

    monkeypatch.setattr(hf_trainer, "probabilities", say)
    kept = hf_trainer.fit(asked, data, CPU, tuning=tuning, keep_best=True).model.state_dict()
    same = [all(torch.equal(kept[name], w) for name, w in state.items()) for state in states]
    assert same == [False, True, False]


def test_other_methods_and_mean_pooling_on_roberta_are_refused() -> None:
    class Other(Method):
        name = "other"

        def change(self, encoder: Any, backbone: Backbone) -> None: ...

        def added_parameters(self, backbone: Backbone) -> int:
            return 0

    with pytest.raises(ValueError, match="other: the peers are"):
        hf_trainer.build(experiment(method=Other()), 0, torch.float32, None)
    with pytest.raises(ValueError, match="BERT alone"):
        hf_trainer.build(experiment(toy.BACKBONE), 0, torch.float32, Tuning("sdpa"))


# --- the whole benchmark ------------------------------------------------------------------------


def checkout(root: Path) -> Checkout:
    """This checkout's studies and kept records, with `runs/` in another place."""
    here = Checkout.here()
    here.root, here.runs = root, root / "runs"
    return here


def run(name: str, asked: list[str]) -> int:
    """The benchmark of that name, from its command line."""
    module = discover.find("experiments.benchmarks", name, "benchmark")
    return command.run(name, "", module.SIZES, module.measure, asked)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    few = toy.Toy(train_texts=8, select_texts=4, id_texts=6)
    setting = toy.setting(corpus=few, backbone=TINY, epochs=1)
    size = peers.Size(setting, 1)
    monkeypatch.setattr(peers, "SIZES", {"tiny": size, "small": size})
    monkeypatch.setattr(quality, "SIZES", {"tiny": quality.Size(setting, (0, 1))})
    here = checkout(tmp_path)
    monkeypatch.setattr(Checkout, "here", lambda: here)
    monkeypatch.setattr(Machine, "peak_flops", lambda self: 1e11)
    return tmp_path


def test_the_whole_benchmark(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--size", "tiny", "--device", "cpu", "--precision", "fp32"]
    assert run("peers", asked) == 0
    done = Record.load(tiny / "runs" / "benchmarks" / "peers-tiny-cpu.json")
    printed = capsys.readouterr().out
    assert timing.markdown(done) in printed
    texts = prepare(peers.SIZES["tiny"].speed).splits
    assert done.made_by["fingerprint"] == texts.fingerprint

    cases = ("ours", "ours_dropout", "library_tuned", "library_defaults")
    for method in peers.METHODS:
        seconds = {c: done.measurements[f"{method}/{c}"][0]["seconds"] for c in cases}
        own = {
            row.what.split(": ")[1]: row
            for row in done.rows
            if row.what.startswith(peers.NAMES[method])
        }
        assert own["(b) library tuned / ours"].ratio == pytest.approx(
            seconds["library_tuned"] / seconds["ours"]
        )
        assert own["(a) library defaults / ours"].ratio == pytest.approx(
            seconds["library_defaults"] / seconds["ours"]
        )
        assert own["(a) library defaults / ours with dropout 0.1"].ratio == pytest.approx(
            seconds["library_defaults"] / seconds["ours_dropout"]
        )
        assert own["(a) library defaults / (b) library tuned"].ratio == pytest.approx(
            seconds["library_defaults"] / seconds["library_tuned"]
        )
    asked_for = {row.what: row.target for row in done.rows if row.target}
    assert asked_for["LoRA: (a) library defaults / ours"] == ">= 8"
    assert asked_for["LoRA: (b) library tuned / ours"] == ">= 1.4"
    assert asked_for["LoRA: (a) library defaults / (b) library tuned"] == ">= 3"
    assert "| LoRA: (b) library tuned / ours | >= 1.4 |" in targets.table([done])


def test_the_peers_answers_are_of_the_same_texts_and_scored_like_ours() -> None:
    asked = experiment(tiny_models.TINY_BERT, Full(), epochs=toy.LEARNED)
    data = prepare(asked.setting)
    (said,) = quality.theirs(asked, CPU, (0,))
    assert said.uid.tolist() == [hashed(e.uid) for e in data.splits[ID]]
    answers = said.probabilities.argmax(axis=1)
    own = f1_score(said.label, answers, average="macro")
    assert timing.macro_f1(said.label, answers[None], 4) == [pytest.approx(own)]
    assert own > 0.5, "the toy is learned by the peer too"


def test_a_row_of_points_is_a_difference_of_means_over_seeds() -> None:
    true, groups = np.arange(200) % 4, np.arange(200, dtype=np.uint64)
    wrong = (0, 4), (30, 34)
    first, second = (
        np.stack([np.where(np.arange(200) < n, (true + 1) % 4, true) for n in numbers])
        for numbers in wrong
    )
    scores = [[f1_score(true, s, average="macro") for s in seeds] for seeds in (first, second)]
    row = timing.points("a - b", true, first, second, 4, groups, target="low > -2", note="why")
    assert row.ratio == pytest.approx(100 * (np.mean(scores[0]) - np.mean(scores[1])))
    assert row.low < row.ratio < row.high
    assert row.rounds == pytest.approx([100 * (a - b) for a, b in zip(*scores, strict=True)])
    assert row.note.startswith("mean over 2 seeds, 200 texts")
    assert row.note.endswith("; why")
    assert row.met
    assert not timing.points("b - a", true, second, first, 4, groups, target="low > -2").met


def test_quality_is_compared_with_the_peers_with_dropout_and_with_the_top(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--size", "tiny", "--device", "cpu", "--precision", "fp32"]
    assert run("quality", asked) == 0
    done = Record.load(tiny / "runs" / "benchmarks" / "quality-tiny-cpu.json")
    assert timing.markdown(done) in capsys.readouterr().out
    f1 = {arm: [m["macro_f1"] for m in several] for arm, several in done.measurements.items()}
    assert {len(scores) for scores in f1.values()} == {2}
    pairs = (
        ("lora", "lora_library"),
        ("full", "full_library"),
        ("lora", "lora_dropout"),
        ("lora_top", "lora"),
    )
    for row, (first, second) in zip(done.rows, pairs, strict=True):
        assert row.ratio == pytest.approx(100 * (np.mean(f1[first]) - np.mean(f1[second])))
        assert len(row.rounds) == 2
    trained = load_all(tiny / "runs", "benchmarks", "quality")
    methods = {name: runs[0].experiment["method"] for name, runs in trained.items()}
    assert methods["lora_top"]["top_layers"] == 1
    assert "top_layers" not in methods["lora"]
    assert trained["lora_dropout"][0].experiment["attention_dropout"] == peers.DROPOUT
    trials = [runs[0] for name, runs in trained.items() if name.startswith("grid/lora_top--lr")]
    assert len(trials) == len(thesis.RATES["lora"])
    best = max(trials, key=lambda r: r.result["splits"][SELECT]["macro_f1"])
    rate = best.experiment["learning_rate"]
    assert trained["lora_top"][0].experiment["learning_rate"] == rate
    assert f"own rate, {rate:g}," in done.rows[3].note


def test_the_targets_table_gathers_what_was_measured(
    record: Record, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = timing.runs_folder(tiny)
    assert targets.main(["--size", "tiny"]) == 2
    assert "make bench SIZE=tiny" in capsys.readouterr().err
    replace(record, benchmark="step").save(folder)
    replace(record, benchmark="peers", rows=record.rows[::-1]).save(folder)
    assert targets.main(["--size", "tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("- **peers, tiny: ")
    assert lines[1].startswith("- **step, tiny: ")
    rows = [line for line in lines if line.startswith("| ")]
    assert rows[2:] == [
        "| points | - | -0.50 [-1.50, 0.50] | - | - |  |",
        *["| slow / fast | >= 8 | 3.00 [2.00, 4.00] | 12.00 | no | sleep |"] * 2,
    ], "of step only what has a target"


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (["--size", "smal"], "did you mean 'small'"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--precision", "fp8"], "unknown precision 'fp8'"),
        (["--siize", "small"], "unrecognized arguments: --siize small"),
    ],
)
def test_a_typo_is_one_line(
    tiny: Path, asked: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("peers", asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert what in said.err
    assert said.err.count("\n") == 1


def test_rates_come_from_trials_and_from_nowhere_else(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Checkout.here()
    best = command.rates(here)
    for name, own in peers.experiments_of(peers.SIZES["tiny"].speed, best).items():
        assert isinstance(own, Experiment)
        assert own.learning_rate == best[name]
    here.results = tiny / "nothing"
    assert run("peers", ["--size", "tiny", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "run `lowrank-da reproduce`" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["step", "scaling"])
def test_steps_are_measured_beside_their_operations(
    name: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, ["--size", "tiny", "--device", "cpu", "--precision", "fp32"]) == 0
    done = Record.load(tiny / "runs" / "benchmarks" / f"{name}-tiny-cpu.json")
    assert timing.markdown(done) in capsys.readouterr().out
    assert all(m["flops"] > 0 and m["seconds"] > 0 for ms in done.measurements.values() for m in ms)
    limits = {row.what: row.limit for row in done.rows}
    if name == "step":
        assert 0 < limits["tiny, 4 x 16 tokens: LoRA on query, value / full"] < 1
        assert [row.target for row in done.rows if row.target] == ["<= 0.75"]
        parts = [row.ratio for row in done.rows if row.what.endswith(" / step")]
        assert len(parts) == 3
        assert sum(parts) == pytest.approx(1, abs=0.1), "each is a median of its own"
        assert all(part > 0 for part in parts)
    else:
        assert limits["adapters: 2 / 1"] == 2.0
        assert 1 < limits["texts: 2 / 1"] < 2.0, "merging is done once a step"
        trunk, whole = limits["layers over a trunk: 2 / 1"], limits["layers: 2 / 1"]
        assert trunk is not None
        assert whole is not None
        assert trunk > whole, "above a trunk the lower layer is not paid for"


@pytest.mark.slow
def test_a_compiled_step_is_told_with_what_compiling_took() -> None:
    row, measured = step.compiled_row(step.SIZES["tiny"].shapes[0], CPU, 2)
    seconds = {name.split("/")[1]: m for name, m in measured.items()}
    ratios = [
        a["seconds"] / b["seconds"]
        for a, b in zip(seconds["LoRA, compiled"], seconds["LoRA, again"], strict=True)
    ]
    assert row.rounds == tuple(ratios)
    (first,) = seconds["LoRA, compiling"]
    assert f"takes {first['seconds']:.0f} s" in row.note
    assert first["seconds"] > max(m["seconds"] for m in seconds["LoRA, compiled"])


def test_sharing_counts_the_trunk_once_and_trains_every_member(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = toy.setting(corpus=toy.Toy(train_texts=4, select_texts=2, id_texts=2), backbone=TINY)
    monkeypatch.setattr(sharing, "SIZES", {"tiny": sharing.Size(few, 1, ranks=(1, 2))})
    assert run("sharing", ["--size", "tiny", "--device", "cpu", "--precision", "fp32"]) == 0
    done = Record.load(tiny / "runs" / "benchmarks" / "sharing-tiny-cpu.json")
    assert timing.markdown(done) in capsys.readouterr().out
    probes = {n: done.measurements.pop(n) for n in ("a first linear probe", "a second one")}
    (row,) = (row for row in done.rows if row.what.startswith("a second linear probe"))
    first, second = (several[0] for several in probes.values())
    assert row.rounds == (second["seconds"] / first["seconds"],)
    assert all(0 < m["seconds"] < m["whole_seconds"] for m in (first, second))
    flops = {name: several[0]["flops"] for name, several in done.measurements.items()}
    assert flops["three binaries jointly"] == flops["three binaries"]
    top = LoRA(rank=1, alpha=16.0, top_layers=1)
    thesis_top = replace(thesis.TUNED, top_layers=1)
    ids = prepare(few).batches("train", experiment(TINY, top)).ids
    lengths = [len(text) for text in ids]
    above = cost.training_flops(TINY, top, lengths * few.epochs, known=True)
    other = cost.training_flops(TINY, replace(top, rank=2), lengths * few.epochs, known=True)
    once = cost.forward_flops(TINY, lengths, 1)
    assert flops["ranks, top 2"] == above + other + once
    pairs = sharing.binaries(few, 1.0, top)
    own = [prepare(few).batches("train", pair).ids for pair in pairs]
    parts = [[len(text) for text in texts] * few.epochs for texts in own]
    each = [cost.training_flops(TINY, thesis_top, part, known=True) for part in parts]
    assert flops["three binaries, top 2"] == sum(each) + once, "one pass, over all texts"


@pytest.mark.slow
@pytest.mark.parametrize("before", ["HEAD~0", commits.BEFORE])
def test_two_commits_are_trained_in_turn(before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = subprocess.run(
        ["git", "cat-file", "-e", before], cwd=Checkout.here().root, capture_output=True
    )
    if here.returncode:
        pytest.skip(f"this clone's history does not reach {before}")
    monkeypatch.setattr(commits, "BEFORE", before)
    done = commits.measure("tiny", commits.SIZES["tiny"], CPU)
    assert set(done.measurements) == {
        f"{arm}/{when}" for arm in ("lora", "all") for when in ("before", "now")
    }
    assert [row.what for row in done.rows] == [
        "trainings of make reproduce, lora: before / now",
        "trainings of make reproduce, lora: before / now",
        "lora: packing efficiency, real / computed tokens",
        "lora, now - before: macro-F1, points",
    ]
    if before == "HEAD~0":
        assert (done.rows[-1].low, done.rows[-1].ratio, done.rows[-1].high) == (0, 0, 0)


def test_a_commit_that_never_was_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "BEFORE", "0badc0de")
    with pytest.raises(UserError, match="commit 0badc0de cannot be checked out"):
        commits.measure("tiny", commits.SIZES["tiny"], CPU)


def test_the_cards_texts_are_as_many_and_as_long_as_the_thesis_had() -> None:
    texts = card.RandomLetters(4000).load()
    assert len(texts[TRAIN]) == 4000
    assert texts.labels == ("chatGPT", "cohere", "davinci", "human")
    human = [len(e.text) for e in texts[TRAIN] if e.label == "human"]
    assert np.mean(human) == pytest.approx(card.TOKENS_A_WORD * 607, rel=0.05)
    assert card.RandomLetters(4000).load().fingerprint == texts.fingerprint


def test_the_card_benchmark_counts_all_five_trainings(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("card", ["--size", "tiny", "--device", "cpu", "--precision", "fp32"]) == 0
    done = Record.load(tiny / "runs" / "benchmarks" / "card-tiny-cpu.json")
    assert timing.markdown(done) in capsys.readouterr().out
    seconds = {case: several[0]["seconds"] for case, several in done.measurements.items()}
    five = sum(seconds[case] for case in ("full", "lora", "three binaries jointly"))
    minutes = next(row for row in done.rows if row.what.endswith("minutes"))
    assert minutes.ratio == pytest.approx(five / 60)
    tokens = {case: several[0]["tokens"] for case, several in done.measurements.items()}
    assert tokens["three binaries jointly"] == pytest.approx(1.5 * tokens["lora"], rel=0.05)
