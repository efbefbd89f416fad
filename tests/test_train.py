"""The training path, on an invented corpus and a tiny random encoder."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import toy
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from lowrank_da import corpus, metrics, train
from lowrank_da.batches import pack
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import ID, SELECT, TRAIN
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.journal import Journal
from lowrank_da.machine import Machine
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.prepared import prepare
from lowrank_da.run import Run, hashed, record_path
from lowrank_da.train import Cell
from paper import estimate


def record_of(cell: Cell, folder: Path) -> Path:
    return record_path(folder, cell.study, cell.setting, cell.name, cell.seed)


def weights_of(run: Run, folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run.path(folder).with_suffix(".safetensors"))


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def assert_same_predictions(one: Run, other: Run) -> None:
    assert one.predictions.keys() == other.predictions.keys()
    for role, own in one.predictions.items():
        for part in ("uid", "label", "probabilities"):
            np.testing.assert_array_equal(
                getattr(own, part), getattr(other.predictions[role], part)
            )


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(train, "_train", refuse)


# --- the same again, and not the same -----------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"method": LoRA(rank=2)}, {"hidden_dropout": 0.1}])
def test_two_runs_of_one_cell_are_identical(changes: dict[str, Any], tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    one, two = (toy.run(toy.cell(**changes), folder) for folder in folders)
    assert one.result == two.result
    assert_same_predictions(one, two)
    assert same_weights(weights_of(one, folders[0]), weights_of(two, folders[1]))


def test_another_seed_is_another_run_of_the_same_experiment(tmp_path: Path) -> None:
    one, two = (toy.run(toy.cell(seed), tmp_path) for seed in (0, 1))
    assert one.key == two.key
    assert one.result["curve"] != two.result["curve"]
    assert not same_weights(weights_of(one, tmp_path), weights_of(two, tmp_path))


def test_a_training_killed_twice_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    cell = toy.cell(epochs=30)
    unbroken = toy.run(cell, tmp_path / "unbroken")
    folder = tmp_path / "broken"
    resume = train.resume_path([cell], folder, Machine.choose("cpu", "fp32"))
    children = multiprocessing.get_context("forkserver")
    children.set_forkserver_preload(["lowrank_da.train"])

    def position() -> int:
        """The steps that the resume file knows of."""
        if not resume.exists():
            return 0
        return int(torch.load(resume, weights_only=True)["ledgers"][0]["step"])

    reached = [0]
    for _ in range(2):
        child = children.Process(target=toy.run, args=(cell, folder, 0.0))
        child.start()
        while child.is_alive() and position() <= reached[-1]:
            time.sleep(0.01)
        child.kill()
        child.join()
        assert child.exitcode == -9
        reached.append(position())
    assert 0 < reached[1] < reached[2] < unbroken.result["steps"]

    child = children.Process(target=toy.run, args=(cell, folder, 0.0))
    child.start()
    child.join()
    assert child.exitcode == 0
    resumed = Run.load(record_of(cell, folder))
    assert resumed.result == unbroken.result
    assert_same_predictions(resumed, unbroken)
    assert same_weights(weights_of(resumed, folder), weights_of(unbroken, tmp_path / "unbroken"))
    left = sorted(path.name for path in resumed.path(folder).parent.iterdir())
    assert left == ["full--seed0.json", "full--seed0.npz", "full--seed0.safetensors"]


# --- what a record says -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("learned")
    return toy.run(toy.cell(epochs=toy.LEARNED), folder), folder


def test_the_toy_is_learned_beyond_chance(learned: tuple[Run, Path]) -> None:
    run, _ = learned
    low = estimate.of_confusion([run], metrics.macro_f1)[()].low
    assert low is not None
    assert low > metrics.chance_macro_f1(4)


def test_the_record_is_scikit_learns_opinion_of_its_probabilities(
    learned: tuple[Run, Path],
) -> None:
    run, _ = learned
    assert list(run.result["splits"]) == [SELECT, ID, toy.OOD]
    for role, numbers in run.result["splits"].items():
        true = run.predictions[role].label
        said = run.predictions[role].probabilities.argmax(axis=1)
        assert numbers["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
        assert numbers["accuracy"] == pytest.approx(accuracy_score(true, said))
        np.testing.assert_array_equal(run.confusion(role), confusion_matrix(true, said))


def test_the_curve_is_that_of_select_and_its_best_epoch_is_kept(learned: tuple[Run, Path]) -> None:
    run, _ = learned
    curve = [point["select_macro_f1"] for point in run.result["curve"]]
    assert [point["epoch"] for point in run.result["curve"]] == list(range(1, toy.LEARNED + 1))
    assert curve[run.result["epoch"] - 1] == max(curve)
    said = run.predictions[SELECT]
    own = f1_score(said.label, said.probabilities.argmax(axis=1), average="macro")
    assert max(curve) == pytest.approx(own, abs=1e-6)
    losses = [point["loss"] for point in run.result["curve"]]
    assert losses[0] == pytest.approx(np.log(4), abs=0.3), "it starts by guessing"
    assert losses[-1] < losses[0]


def test_the_first_of_the_best_epochs_is_kept_with_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opinions, states = iter([0.2, 0.9, 0.9, 0.5]), []
    judge = Journal.on_validation_end

    def watch(self: Journal, trainer: Any, classifier: Any) -> None:
        states.append(classifier.trained_state())
        monkeypatch.setattr(classifier.select_f1, "compute", lambda: next(opinions))
        judge(self, trainer, classifier)

    monkeypatch.setattr(Journal, "on_validation_end", watch)
    run = toy.run(toy.cell(epochs=4), tmp_path)
    assert run.result["epoch"] == 2
    kept = weights_of(run, tmp_path)
    assert [same_weights(kept, state) for state in states] == [False, True, False, False]


def test_saved_weights_in_a_fresh_model_give_the_recorded_probabilities(
    learned: tuple[Run, Path],
) -> None:
    run, folder = learned
    experiment = toy.experiment(epochs=toy.LEARNED)
    fresh = Classifier(experiment, seed=5, steps=1)
    fresh.load_trained(weights_of(run, folder), "the saved weights")
    fresh.eval()
    texts = prepare(experiment.setting).splits
    for role in texts.evaluated:
        said = run.predictions[role]
        backbone, longest = experiment.setting.backbone, experiment.setting.max_tokens
        for example, uid, label, own in zip(
            texts[role], said.uid, said.label, said.probabilities, strict=True
        ):
            (ids,) = backbone.encode([example.text], [None], longest)
            with torch.no_grad():
                alone = fresh(pack([ids])).softmax(dim=-1)[0].numpy()
            np.testing.assert_allclose(alone, own, atol=1e-3)
            assert uid == hashed(example.uid)
            assert run.corpus_labels[label] == example.label


def test_counts_of_texts_steps_and_parameters(learned: tuple[Run, Path]) -> None:
    run, folder = learned
    sizes = {TRAIN: 24, SELECT: 8, ID: 12, toy.OOD: 4}
    assert run.result["corpus"]["texts"] == {
        role: dict.fromkeys(run.labels, n) for role, n in sizes.items()
    }
    counted = sum(weight.numel() for weight in weights_of(run, folder).values())
    assert run.result["parameters"]["trained"] == counted
    assert run.result["parameters"]["adapter"] == 0
    measured = run.measured
    ids = prepare(toy.setting(epochs=toy.LEARNED)).ids[TRAIN]
    assert measured["train_tokens"] == toy.LEARNED * sum(map(len, ids))
    assert 0.8 < measured["packing_efficiency"] <= 1
    assert measured["tokens_per_second"] == measured["train_tokens"] / measured["train_seconds"]
    assert run.made_by["precision"] == "32-true"
    assert run.made_by["device"] == "cpu"


def test_a_budget_of_texts_and_of_tokens_is_kept(tmp_path: Path) -> None:
    setting = toy.setting(train_texts=6, select_texts=3, id_texts=2, max_tokens=8, epochs=1)
    run = toy.run(toy.cell(setting=setting), tmp_path)
    assert {role: sum(n.values()) for role, n in run.result["corpus"]["texts"].items()} == {
        TRAIN: 24,
        SELECT: 12,
        ID: 8,
        toy.OOD: 16,
    }
    assert run.measured["train_tokens"] == 24 * 8


# --- finished cells -----------------------------------------------------------------------------


def test_a_finished_cell_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy.run(toy.cell(epochs=1), tmp_path)
    monkeypatch.setattr(train, "_train", None)
    again = toy.run(toy.cell(epochs=1), tmp_path)
    assert again.result == first.result
    assert again.made_by == first.made_by


def test_the_record_of_another_experiment_is_trained_over(tmp_path: Path) -> None:
    first = toy.run(toy.cell(epochs=1), tmp_path)
    other = toy.run(toy.cell(epochs=1, learning_rate=0.005), tmp_path)
    assert other.key != first.key
    assert Run.load(first.path(tmp_path)).key == other.key


def test_the_record_of_other_texts_is_trained_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget() -> None:
        corpus.splits.cache_clear()
        prepare.cache_clear()

    first = toy.run(toy.cell(epochs=1), tmp_path)
    try:
        monkeypatch.setitem(toy.WORDS, "owl", "wiwi iwwiw wiiw")
        forget()
        other = toy.run(toy.cell(epochs=1), tmp_path)
    finally:
        forget()
    assert other.key == first.key
    assert other.fingerprint != first.fingerprint
    assert Run.load(first.path(tmp_path)).fingerprint == other.fingerprint


@pytest.mark.usefixtures("no_training")
def test_a_damaged_record_is_told_and_not_trained_over(tmp_path: Path) -> None:
    path = record_of(toy.cell(), tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(UserError, match="the record is damaged") as caught:
        toy.run(toy.cell(), tmp_path)
    assert str(path) in str(caught.value)


# --- binary cells and trials --------------------------------------------------------------------


def test_a_binary_cell_learns_two_classes_and_predicts_every_text(tmp_path: Path) -> None:
    cell = toy.cell(name="owl_vs_human", labels=("human", "owl"))
    data = prepare(cell.experiment.setting)
    batches = data.batches(TRAIN, cell.experiment)
    labels = [e.label for e in data.splits[TRAIN] if e.label in ("owl", "human")]
    assert [("owl", "human")[n] for n in batches.labels] == labels

    run = toy.run(cell, tmp_path)
    assert run.labels == ("owl", "human")
    assert run.corpus_labels == tuple(toy.WORDS)
    assert run.result["steps"] == sum(len(batches.plan(0, epoch)) for epoch in range(2))
    for role in (SELECT, ID, toy.OOD):
        texts, said = data.splits[role], run.predictions[role]
        assert said.uid.tolist() == [hashed(e.uid) for e in texts]
        assert said.group.tolist() == [hashed(e.group) for e in texts]
        assert [run.corpus_labels[n] for n in said.label] == [e.label for e in texts]
        assert said.probabilities.shape == (len(texts), 2)
        own = [i for i, e in enumerate(texts) if e.label in run.labels]
        true = [texts[i].label == "human" for i in own]
        numbers = run.result["splits"][role]
        assert numbers["texts"] == len(own) == np.sum(numbers["confusion_matrix"])
        human = said.probabilities[own].argmax(axis=1) == 1
        assert numbers["macro_f1"] == pytest.approx(f1_score(true, human, average="macro"))


def test_a_trial_holds_select_alone(tmp_path: Path) -> None:
    run = toy.run(toy.cell(select_only=True, epochs=1), tmp_path)
    assert set(run.result["splits"]) == {SELECT}
    assert set(Run.load(run.path(tmp_path)).predictions) == {SELECT}


# --- a head from another training ---------------------------------------------------------------

PROBE = toy.experiment(method=LinearProbe(), learning_rate=0.05)


def lp_ft(seed: int = 0, before: Experiment = PROBE, **changes: Any) -> Cell:
    """A cell that starts from the head of `before`."""
    return toy.cell(seed, name="lp_ft", head_from=before, **changes)


def head_record(cell: Cell, folder: Path) -> Path:
    return record_path(folder, cell.study, cell.setting, f"{cell.name}.head", cell.seed)


def heads(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: w for name, w in weights.items() if name.startswith("head.")}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The weights with which every training from now on begins, one after the other."""
    seen: list[dict[str, torch.Tensor]] = []
    whole = train._train

    def watch(members: Any, *given: Any) -> None:
        states = (member.classifier.state_dict() for member in members)
        seen.extend({name: w.clone() for name, w in state.items()} for state in states)
        whole(members, *given)

    monkeypatch.setattr(train, "_train", watch)
    return seen


@pytest.mark.parametrize("before", [PROBE, toy.experiment(method=LoRA(rank=2))])
def test_the_second_training_starts_from_the_firsts_head_and_from_nothing_else(
    before: Experiment, tmp_path: Path, starts: list[dict[str, torch.Tensor]]
) -> None:
    cell = lp_ft(before=before)
    run = toy.run(cell, tmp_path)
    head = Run.load(head_record(cell, tmp_path))
    assert (head.key, head.seed) == (before.key, cell.seed)
    assert set(head.result["splits"]) == set(head.predictions) == {SELECT}
    trained = heads(weights_of(head, tmp_path))
    fresh = Classifier(cell.experiment, cell.seed, steps=1).state_dict()
    assert len(starts) == 2
    assert not same_weights(heads(starts[0]), trained)
    assert same_weights(heads(starts[1]), trained)
    assert same_weights(
        {n: w for n, w in starts[1].items() if n not in trained},
        {n: w for n, w in fresh.items() if n not in trained},
    )
    alone = toy.run(toy.cell(name="full"), tmp_path)
    assert alone.result["curve"] != run.result["curve"]
    assert alone.key != run.key


def test_a_head_is_that_of_its_training_alone(tmp_path: Path) -> None:
    cell = lp_ft(seed=1)
    toy.run(cell, tmp_path / "two")
    alone = toy.run(Cell("play", "toy", "probe", PROBE, 1), tmp_path / "one")
    head = Run.load(head_record(cell, tmp_path / "two"))
    own = weights_of(head, tmp_path / "two")
    assert same_weights(own, weights_of(alone, tmp_path / "one"))
    assert head.result["curve"] == alone.result["curve"]
    toy.run(lp_ft(seed=2), tmp_path / "two")
    other = Run.load(head_record(lp_ft(seed=2), tmp_path / "two"))
    assert not same_weights(own, weights_of(other, tmp_path / "two"))


def test_what_the_head_took_is_told_apart(tmp_path: Path) -> None:
    twice = replace(PROBE, head_from=PROBE)
    cell = lp_ft(before=twice)
    run = toy.run(cell, tmp_path)
    head = Run.load(head_record(cell, tmp_path))
    name = f"{cell.name}.head"
    first = Run.load(head_record(Cell("play", "toy", name, twice, 0), tmp_path))

    def spent(one: Run) -> float:
        parts = ("head_seconds", "trunk_seconds", "train_seconds")
        return float(sum(one.measured[part] for part in parts))

    assert first.measured["head_seconds"] == 0.0
    assert head.measured["head_seconds"] == spent(first) > 0
    assert run.measured["head_seconds"] == spent(head) > spent(first)
    assert toy.run(toy.cell(), tmp_path).measured["head_seconds"] == 0.0


def test_both_records_are_used_again(tmp_path: Path, starts: list[dict[str, torch.Tensor]]) -> None:
    cell = lp_ft()
    run = toy.run(cell, tmp_path)
    starts.clear()
    assert toy.run(cell, tmp_path).made_by == run.made_by
    assert starts == []
    run.path(tmp_path).unlink()
    again = toy.run(cell, tmp_path)
    assert len(starts) == 1, "the head is there"
    assert again.result == run.result
    toy.run(lp_ft(before=replace(PROBE, learning_rate=0.01)), tmp_path)
    assert len(starts) == 3, "another head"


def test_a_record_without_its_head_is_told_in_one_line(tmp_path: Path) -> None:
    cell = lp_ft()
    run = toy.run(cell, tmp_path)
    run.path(tmp_path).unlink()
    weights = head_record(cell, tmp_path).with_suffix(".safetensors")
    weights.unlink()
    with pytest.raises(UserError, match=r"is missing; delete .*json to train it again") as told:
        toy.run(cell, tmp_path)
    assert str(weights) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("stage", ["the head", "the whole"])
def test_interrupted_in_either_stage_it_ends_as_the_unbroken_one(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = lp_ft()
    unbroken = toy.run(cell, tmp_path / "unbroken")
    head = Run.load(head_record(cell, tmp_path / "unbroken"))
    step, steps = Classifier.training_step, iter(range(10**6))
    last = head.result["steps"] * (1 if stage == "the whole" else 0) + unbroken.result["steps"] // 2

    def stop(self: Classifier, *given: Any) -> torch.Tensor:
        if next(steps) == last:
            raise KeyboardInterrupt
        return step(self, *given)

    folder = tmp_path / "broken"
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            toy.run(cell, folder, resume_seconds=0.0)
    assert head_record(cell, folder).exists() == (stage == "the whole")
    assert not record_of(cell, folder).exists()
    assert list(record_of(cell, folder).parent.glob("*.resume")), "something to go on from"
    resumed = toy.run(cell, folder)
    assert resumed.result == unbroken.result
    assert_same_predictions(resumed, unbroken)
    assert same_weights(weights_of(resumed, folder), weights_of(unbroken, tmp_path / "unbroken"))
    assert not list(record_of(cell, folder).parent.glob("*.resume"))


def test_cells_trained_jointly_start_from_their_own_heads(
    tmp_path: Path, starts: list[dict[str, torch.Tensor]]
) -> None:
    method = LoRA(rank=2)
    cells = [
        replace(lp_ft(seed, method=method), name=name) for seed, name in ((0, "one"), (1, "two"))
    ]
    plain = replace(cells[0], name="plain", experiment=toy.experiment(method=method))
    group = [cells[0], plain, cells[1]]
    machine = Machine.choose("cpu", "fp32")
    runs = train.run(group, tmp_path, tmp_path, machine, jointly=True)
    assert [run.name for run in runs] == ["one", "plain", "two"]
    one, two = (weights_of(Run.load(head_record(c, tmp_path)), tmp_path) for c in cells)
    begun = [heads(state) for state in starts[2:]]
    assert len(begun) == 3
    assert same_weights(begun[0], heads(one))
    assert same_weights(begun[2], heads(two))
    fresh = Classifier(plain.experiment, plain.seed, steps=1).state_dict()
    assert same_weights(begun[1], heads(fresh))


# --- class weights and precision ----------------------------------------------------------------


def test_class_weights_reach_the_loss_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, seen = Classifier.__init__, []

    def watch(self: Classifier, *arguments: Any) -> None:
        build(self, *arguments)
        seen.append(self.class_weights)

    monkeypatch.setattr(Classifier, "__init__", watch)
    setting = toy.setting(corpus=toy.Toy(humans=3), epochs=1)
    runs = [
        toy.run(toy.cell(name=f"{on}", setting=setting, class_weights=on), tmp_path)
        for on in (False, True)
    ]
    assert seen[0] is None
    assert seen[1] is not None
    machine, human = 6 * 24 / (4 * 24), 6 * 24 / (4 * 72)
    assert seen[1].tolist() == pytest.approx([machine] * 3 + [human])
    assert not same_weights(*(weights_of(run, tmp_path) for run in runs))


def test_a_run_in_bfloat16_says_so_and_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    cell = toy.cell(method=LoRA(rank=2), epochs=1)
    (run,) = train.run([cell], tmp_path, tmp_path, Machine.choose("cpu", "bf16"))
    assert run.made_by["precision"] == "bf16-mixed"
    assert {weight.dtype for weight in weights_of(run, tmp_path).values()} == {torch.float32}
    assert run.result != toy.run(cell, tmp_path / "fp32").result


def test_a_training_takes_the_threads_it_records(tmp_path: Path) -> None:
    machine, seen = Machine.choose("cpu", "fp32", threads=2), []

    def watch(epoch: int, macro_f1: float) -> None:
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    (run,) = train.run([toy.cell()], tmp_path, tmp_path, machine, watch=watch)
    assert set(seen) == {2} != {before}
    assert torch.get_num_threads() == before
    assert run.made_by["threads"] == 2


@pytest.mark.gpu
def test_a_card_learns_the_toy(tmp_path: Path) -> None:
    cell = toy.cell(epochs=toy.LEARNED)
    (run,) = train.run([cell], tmp_path, tmp_path, Machine.choose("cuda"))
    assert run.made_by["device"] == torch.cuda.get_device_name()
    assert run.result["splits"][ID]["macro_f1"] > 0.5
    assert run.measured["peak_memory_bytes"] > 0
