"""experiment.py: the key of an experiment never changes, and bad values are refused."""

from dataclasses import MISSING, dataclass, replace
from typing import Any

import pytest
import toy

from experiments.settings import embedded
from lowrank_da.backbone import DISTILROBERTA, MINILM, TINY
from lowrank_da.corpora.outfox import Outfox
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment, Setting, canonical, key_of
from lowrank_da.method import Method
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.bitfit import BitFit
from lowrank_da.methods.both import Both
from lowrank_da.methods.full import Full
from lowrank_da.methods.linear_probe import LinearProbe
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt

SETTING = Setting(corpus=Outfox(), backbone=MINILM, max_tokens=256, epochs=3)
FULL = Experiment(setting=SETTING, method=Full(), learning_rate=3e-4)
LORA = Experiment(setting=SETTING, method=LoRA(rank=4, alpha=8.0), learning_rate=2e-3)


def test_keys_of_kept_records_stay_what_they_are() -> None:
    assert FULL.key == "eaafe2e2561c5a38"
    assert LORA.key == "cb5ec1fb94351fef"


def test_keys_of_the_embedded_records_stay_what_they_are() -> None:
    published = LoRA(rank=5, alpha=8.0, targets=("query", "value"), start="gaussian")
    keys = {
        "full": Experiment(setting=embedded, method=Full(), learning_rate=1e-4).key,
        "lora": Experiment(setting=embedded, method=LoRA(), learning_rate=2e-3).key,
        "published": Experiment(setting=embedded, method=published, learning_rate=1e-4).key,
    }
    assert keys == {
        "full": "44c4a0776515f5e0",
        "lora": "fc683746b5953069",
        "published": "e63e5a3da02ffee0",
    }


def test_canonical_form_leaves_defaults_out() -> None:
    assert canonical(LORA) == {
        "is": "experiment",
        "setting": {
            "is": "setting",
            "corpus": {"is": "outfox"},
            "backbone": "minilm",
            "max_tokens": 256,
            "epochs": 3,
        },
        "method": {"is": "lora", "rank": 4, "alpha": 8.0},
        "learning_rate": 2e-3,
    }
    spelt_out = replace(LORA, warmup=0.06, labels=(), method=LoRA(rank=4, alpha=8, dropout=0))
    assert spelt_out.key == LORA.key


MAPS = ("query", "key", "value", "attention_output", "ffn_in", "ffn_out")
DEFAULTS: dict[type, dict[str, Any]] = {
    Setting: {"train_texts": None, "select_texts": None, "id_texts": None},
    Experiment: {
        "labels": (),
        "batch_tokens": 2048,
        "warmup": 0.06,
        "weight_decay": 0.0,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "class_weights": False,
        "head_from": None,
    },
    LoRA: {
        "rank": 8,
        "alpha": 16.0,
        "targets": MAPS,
        "dropout": 0.0,
        "rank_stabilised": False,
        "start": "kaiming",
        "top_layers": None,
        "decomposed": False,
        "b_rate": 1.0,
    },
    Adapter: {"bottleneck": 16},
    Prefix: {"tokens": 20, "std": 0.02},
    Prompt: {
        "tokens": 20,
        "start": "random",
        "text": "Who wrote this text: a human being or a machine, and which machine was it?",
    },
    PTuning: {"tokens": 20, "side": "both", "hidden": None},
    Both: {"first": PTuning(tokens=20, side="left"), "second": BitFit()},
    Full: {},
    LinearProbe: {},
    BitFit: {},
}


@pytest.mark.parametrize("kind", DEFAULTS, ids=lambda kind: kind.__name__)
def test_a_default_never_changes(kind: Any) -> None:
    every = {name: field.default for name, field in kind.__dataclass_fields__.items()}
    own = {name: default for name, default in every.items() if default is not MISSING}
    frozen = DEFAULTS[kind]
    assert {name: own[name] for name in frozen} == frozen, "old keys would mean new things"
    assert set(own) == set(frozen), "freeze the new field's default here"


def test_a_field_added_later_leaves_old_keys_alone() -> None:
    def value(**later: Any) -> object:
        namespace = {"__annotations__": {"rate": float} | dict.fromkeys(later, int)} | later
        return dataclass(frozen=True)(type("Value", (), namespace))(0.5)

    assert key_of(value(more=3)) == key_of(value())


CHANGES = {
    "learning_rate": 1e-3,
    "labels": ("chatGPT", "human"),
    "batch_tokens": 4096,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "class_weights": True,
    "method": LoRA(),
    "head_from": replace(FULL, method=LinearProbe()),
}
SETTING_CHANGES = {
    "corpus": toy.Toy(),
    "backbone": DISTILROBERTA,
    "max_tokens": 128,
    "epochs": 4,
    "train_texts": 10,
    "select_texts": 10,
    "id_texts": 10,
}


def test_every_field_is_part_of_the_key() -> None:
    assert set(CHANGES) | {"setting"} == set(Experiment.__dataclass_fields__)
    assert set(SETTING_CHANGES) == set(Setting.__dataclass_fields__)
    keys = {replace(FULL, **{name: value}).key for name, value in CHANGES.items()}
    for name, value in SETTING_CHANGES.items():
        keys.add(replace(FULL, setting=replace(SETTING, **{name: value})).key)
    keys |= {FULL.key, replace(FULL, method=LoRA(targets=("query",))).key}
    assert len(keys) == len(CHANGES) + len(SETTING_CHANGES) + 2


def test_every_field_of_what_gives_the_head_is_part_of_the_key() -> None:
    probe = replace(FULL, method=LinearProbe())
    heads = [None, probe, replace(probe, learning_rate=0.01), replace(probe, head_from=probe)]
    keys = {replace(FULL, head_from=head).key for head in heads}
    assert len(keys) == len(heads)
    assert replace(FULL, head_from=None).key == FULL.key
    assert canonical(replace(FULL, head_from=probe))["head_from"] == canonical(probe)


def test_seeds_are_no_part_of_an_experiment() -> None:
    assert not [name for name in Experiment.__dataclass_fields__ if "seed" in name]
    assert toy.cell(seed=0).experiment.key == toy.cell(seed=1).experiment.key


def test_equal_numbers_have_equal_keys() -> None:
    assert replace(FULL, learning_rate=1).key == replace(FULL, learning_rate=1.0).key
    assert replace(LORA, method=LoRA(alpha=8)).key == replace(LORA, method=LoRA(alpha=8.0)).key


def test_classes_stand_in_the_order_of_the_corpus() -> None:
    assert FULL.classes == Outfox.labels
    two = replace(FULL, labels=("human", "chatGPT"))
    assert two.classes == ("chatGPT", "human")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_tokens": 7}, "minilm takes 8 to 512 tokens"),
        ({"max_tokens": 513}, "minilm takes 8 to 512 tokens"),
        ({"backbone": TINY}, "tiny takes 8 to 128 tokens"),
        ({"backbone": DISTILROBERTA, "max_tokens": 513}, "distilroberta takes 8 to 512"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        replace(SETTING, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": ("GPT-9", "human")}, "'GPT-9' is not among chatGPT"),
        ({"labels": ("human", "human")}, "at least two classes"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"hidden_dropout": 1.5}, "hidden_dropout=1.5"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
        ({"method": LoRA(top_layers=7)}, "top_layers=7: minilm has 6 layers"),
    ],
)
def test_bad_experiments_are_refused_in_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as told:
        replace(FULL, **change)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "other",
    [
        replace(FULL, setting=replace(SETTING, epochs=4)),
        replace(FULL, setting=replace(SETTING, backbone=DISTILROBERTA)),
        replace(FULL, labels=("chatGPT", "human")),
    ],
    ids=["epochs", "backbone", "classes"],
)
def test_a_head_of_elsewhere_is_refused_in_one_line(other: Experiment) -> None:
    with pytest.raises(UserError, match="head_from is of another setting or other classes") as told:
        replace(FULL, head_from=other)
    assert "\n" not in str(told.value)


def test_a_head_of_the_same_classes_in_another_order_fits() -> None:
    one, two = (replace(FULL, labels=labels) for labels in (("chatGPT", "human"),) * 2)
    assert replace(one, head_from=replace(two, labels=("human", "chatGPT"))).head_from


@pytest.mark.parametrize(
    ("method", "virtual"), [(Prefix(tokens=9), 9), (Both(Prompt(tokens=3)), 3)]
)
def test_virtual_tokens_and_text_share_the_positions(method: Method, virtual: int) -> None:
    whole = replace(SETTING, max_tokens=512)
    says = f"max_tokens=512: .* takes up {virtual} more, .*minilm takes 512; cut to {512 - virtual}"
    with pytest.raises(UserError, match=says):
        replace(FULL, setting=whole, method=method)
    replace(FULL, setting=replace(whole, max_tokens=512 - virtual), method=method)


def test_texts_by_role() -> None:
    some = replace(SETTING, train_texts=5, id_texts=2)
    assert some.texts == {"train": 5, "select": None, "id": 2}
