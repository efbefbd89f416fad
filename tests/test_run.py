"""run.py: records survive the disk, and what is damaged, foreign or edited is refused."""

import dataclasses
import errno
import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from lowrank_da.errors import UserError
from lowrank_da.run import (
    PARTS,
    SCHEMA,
    Predictions,
    Run,
    atomic,
    hashed,
    load_all,
    machine_score,
    one_fingerprint,
    score,
)

LABELS = ("chatgpt", "cohere", "human")


def predictions(texts=60, classes=3, seed=0):
    """Random probabilities that lean towards the true class of `texts` texts."""
    rng = np.random.default_rng(seed)
    label = rng.integers(len(LABELS), size=texts)
    lean = np.eye(len(LABELS))[label][:, :classes]
    probabilities = rng.dirichlet(np.ones(classes), size=texts) + lean
    return Predictions(
        np.array([hashed(f"text {n}") for n in range(texts)], dtype=np.uint64),
        np.array([hashed(f"group {n // 2}") for n in range(texts)], dtype=np.uint64),
        label.astype(np.int16),
        (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float16),
    )


def record(name="full", seed=0, **changes):
    """A record with two evaluated roles, one of them with a slash in its name."""
    roles = {"id": predictions(seed=seed), "ood/peerread": predictions(30, seed=seed + 1)}
    splits = {role: score(p, LABELS, LABELS) for role, p in roles.items()}
    run = Run(
        study="thesis",
        setting="embedded",
        name=name,
        seed=seed,
        key="0123456789abcdef",
        experiment={"is": "experiment", "learning_rate": 1e-3},
        labels=LABELS,
        corpus_labels=LABELS,
        result={"splits": splits, "parameters": {"trained": 7}},
        measured={"seconds": 1.5},
        made_by={"fingerprint": "f", "dirty": False},
        predictions=roles,
    )
    return dataclasses.replace(run, **changes)


# Round trip


def test_a_record_survives_the_disk(tmp_path):
    run = record()
    path = run.save(tmp_path)
    assert path == tmp_path / "thesis" / "embedded" / "full--seed0.json"
    loaded = Run.load(path)
    for field in dataclasses.fields(Run):
        if field.name != "predictions":
            assert getattr(loaded, field.name) == getattr(run, field.name)
    assert list(loaded.predictions) == ["id", "ood/peerread"]
    for role, own in run.predictions.items():
        for part in PARTS:
            there = getattr(loaded.predictions[role], part)
            np.testing.assert_array_equal(there, getattr(own, part))
            assert there.dtype == getattr(own, part).dtype
    np.testing.assert_array_equal(
        loaded.confusion("id"), run.result["splits"]["id"]["confusion_matrix"]
    )


def test_the_json_is_strict_and_names_its_schema(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    body = json.loads(record().save(tmp_path).read_text(), parse_constant=refuse)
    assert body["schema"] == SCHEMA


def test_saving_again_replaces_the_record(tmp_path):
    record().save(tmp_path)
    path = record(key="another key").save(tmp_path)
    assert Run.load(path).key == "another key"
    assert sorted(p.name for p in path.parent.iterdir()) == ["full--seed0.json", "full--seed0.npz"]


# Damage


def edit(path, change):
    """Apply `change` to the parsed JSON of a record."""
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def leave_out_probabilities(path):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if not name.endswith("probabilities")}
    np.savez_compressed(path, **arrays)


def swap_two_labels(path):
    with np.load(path) as file:
        arrays = dict(file)
    label = arrays["id/label"]
    arrays["id/label"] = np.where(label < 2, 1 - label, label)
    np.savez_compressed(path, **arrays)


def add_pickle(path):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez_compressed(path, **arrays | {"id/uid": np.array([{}], dtype=object)})


DAMAGE = {
    "JSON missing": lambda path: path.unlink(),
    "JSON empty": lambda path: path.write_text(""),
    "JSON truncated": cut,
    "JSON no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "JSON a list": lambda path: path.write_text("[]"),
    "another schema": lambda path: edit(path, lambda body: body.update(schema=SCHEMA + 1)),
    "no schema": lambda path: edit(path, lambda body: body.pop("schema")),
    "a field missing": lambda path: edit(path, lambda body: body.pop("corpus_labels")),
    "a section missing": lambda path: edit(path, lambda body: body.pop("measured")),
    "an edited number": lambda path: edit(
        path, lambda body: body["result"]["splits"]["id"]["confusion_matrix"][0].reverse()
    ),
    "a role without predictions": lambda path: edit(
        path, lambda body: body["result"]["splits"].update(extra={"confusion_matrix": []})
    ),
    "a class fewer": lambda path: edit(path, lambda body: body["corpus_labels"].pop()),
    "npz missing": lambda path: path.with_suffix(".npz").unlink(),
    "npz empty": lambda path: path.with_suffix(".npz").write_bytes(b""),
    "npz truncated": lambda path: cut(path.with_suffix(".npz")),
    "npz foreign": lambda path: path.with_suffix(".npz").write_bytes(b"no archive at all"),
    "npz incomplete": lambda path: leave_out_probabilities(path.with_suffix(".npz")),
    "npz other labels": lambda path: swap_two_labels(path.with_suffix(".npz")),
    "npz with a pickle": lambda path: add_pickle(path.with_suffix(".npz")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_is_refused_in_one_line_that_names_it(damage, tmp_path):
    path = record().save(tmp_path)
    damage(path)
    with pytest.raises(UserError, match="full--seed0") as caught:
        Run.load(path)
    assert "\n" not in str(caught.value)


def error_of_loading(path):
    """The `UserError` that loading gives, or None."""
    try:
        Run.load(path)
    except UserError as error:
        return error
    return None


def test_a_changed_byte_of_the_npz_is_refused_or_harmless(tmp_path):
    run = record()
    path = run.save(tmp_path)
    archive = path.with_suffix(".npz")
    whole = archive.read_bytes()
    refused = 0
    for position in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        archive.write_bytes(changed)
        error = error_of_loading(path)
        refused += error is not None
        if error is None:  # a byte that says nothing of the content, such as a date
            for role, own in Run.load(path).predictions.items():
                np.testing.assert_array_equal(
                    own.probabilities, run.predictions[role].probabilities
                )
        else:
            assert "\n" not in str(error)
    assert refused > 0


def test_a_record_of_another_schema_says_which(tmp_path):
    path = record().save(tmp_path)
    edit(path, lambda body: body.update(schema=99))
    with pytest.raises(UserError, match=f"schema 99, this code reads {SCHEMA}"):
        Run.load(path)


# Atomic writing


def write_half(path, error):
    """Begin to write `path` and be stopped by `error`."""
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise error


def test_atomic_leaves_nothing_behind_when_writing_fails(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with pytest.raises(KeyError):
        write_half(path, KeyError("stop"))
    assert list(path.parent.iterdir()) == []


def test_atomic_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt())
    assert path.read_text() == "old"
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_in_one_line(tmp_path):
    path = tmp_path / "file.txt"
    with pytest.raises(UserError, match="no space left") as caught:
        write_half(path, OSError(errno.ENOSPC, "No space left on device"))
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_record_whose_arrays_cannot_be_written_leaves_no_json(tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(UserError, match="no space left"):
        record().save(tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


# Several records


def test_load_all_groups_by_name_and_orders_seeds_by_number(tmp_path):
    for name, seed in (("lora", 10), ("lora", 2), ("full", 0), ("grid/lora", 1)):
        record(name, seed).save(tmp_path)
    record(setting="outfox").save(tmp_path)
    found = load_all(tmp_path, "thesis", "embedded")
    seeds = {name: [run.seed for run in runs] for name, runs in found.items()}
    assert seeds == {"full": [0], "grid/lora": [1], "lora": [2, 10]}
    assert load_all(tmp_path, "thesis", "nowhere") == {}


def test_runs_on_other_texts_are_not_compared():
    runs = [record("full"), record("lora", seed=1)]
    assert one_fingerprint(runs) == "f"
    other = dataclasses.replace(runs[1], made_by={"fingerprint": "g"})
    with pytest.raises(UserError, match=r"full \(seed 0\) and lora \(seed 1\)"):
        one_fingerprint([runs[0], other])


# Scores


def test_the_score_of_a_full_model_is_that_of_scikit_learn():
    own = predictions(200)
    found = score(own, LABELS, LABELS)
    p = own.probabilities.astype(float)
    assert found["texts"] == 200
    np.testing.assert_array_equal(
        found["confusion_matrix"], sk.confusion_matrix(own.label, p.argmax(axis=1))
    )
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(own.label, p.argmax(axis=1), average="macro")
    )
    machine, suspicion = own.label != 2, p[:, 0] + p[:, 1]
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(machine, suspicion))
    fpr, tpr, _ = sk.roc_curve(machine, suspicion, drop_intermediate=False)
    assert found["tpr_at_5_fpr"] == pytest.approx(tpr[fpr <= 0.05].max())


def test_machine_scores_keep_what_one_minus_a_float16_would_lose():
    sure = np.array([[1e-5, 1.0], [3e-5, 1.0], [0.5, 0.5]]).astype(np.float16)
    found = machine_score(sure.astype(np.float64), ("machine", "human"))
    assert found[0] < found[1] < found[2]
    assert len({*(1 - sure[:, 1].astype(float))}) == 2
    assert machine_score(sure.astype(np.float64), ("LOC", "NUM")) is None


def test_the_score_of_a_binary_model_ignores_the_other_classes():
    binary = ("cohere", "human")
    own = predictions(200, classes=2)
    kept = own.label != LABELS.index("chatgpt")
    alone = Predictions(*(getattr(own, part)[kept] for part in PARTS))
    found = score(own, binary, LABELS)
    assert found == score(alone, binary, LABELS)
    assert found["texts"] == kept.sum() < 200
    np.testing.assert_array_equal(
        found["confusion_matrix"],
        sk.confusion_matrix(own.label[kept] - 1, own.probabilities[kept].argmax(axis=1)),
    )


def test_hashes_are_the_first_bytes_of_sha256():
    # SHA-256 of "abc", FIPS 180-2 appendix B.1.
    assert hashed("abc") == 0xBA7816BF8F01CFEA


def test_records_are_read_and_judged_without_torch():
    code = (
        "import sys, lowrank_da.run, lowrank_da.coupling;"
        " sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
