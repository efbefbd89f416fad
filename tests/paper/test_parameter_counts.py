"""The lecture's counts and every method's, against models that other libraries build."""

import re
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from invented_records import LABELS, record, study
from sympy import Symbol
from sympy.parsing.sympy_parser import (
    implicit_multiplication,
    parse_expr,
    split_symbols,
    standard_transformations,
)
from transformers import AutoModel, GPT2Config, GPT2Model, PreTrainedModel

from lowrank_da import discover, methods
from lowrank_da.backbone import DISTILROBERTA, MINILM, Backbone
from lowrank_da.method import method
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt
from paper.published import published
from paper.table import Body, SettingFacts, find
from paper.tables.parameter_counts import (
    LECTURE,
    LINES,
    explanations,
    follows,
    lecture_method,
    lecture_share,
    with_sizes,
)
from paper.words import LANGUAGES

FACTS = SettingFacts("outfox", "outfox", "minilm", LABELS)
ROWS = {row["method"]: row for row in published()["lecture"]["methods"]}
AS_BERT = replace(LECTURE, family="bert", vocab=30522, positions=512, type_vocab=2)
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))


def body(id: str, lang: str = "en") -> Body:
    return find(id).build({}, FACTS, lang).body


def cells(id: str) -> list[tuple[str, ...]]:
    return [row for group in body(id).groups for row in group]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def described(backbone: Backbone) -> PreTrainedModel:
    """The encoder from its configuration alone, without weights."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModel.from_config(backbone.config(), add_pooling_layer=False)
    return model


def counted(model: torch.nn.Module) -> tuple[int, int]:
    """All parameters, and those that train."""
    every = list(model.parameters())
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


class TestLecturesModel:
    """350M parameters and 24 layers leave one width."""

    def size(self, width: int, vocab: int) -> int:
        like = replace(LECTURE, width=width, ffn=4 * width, heads=width // 64, vocab=vocab)
        return like.body_parameters

    @pytest.mark.parametrize("vocab", [30522, 50265], ids=["bert", "roberta"])
    def test_its_width_comes_nearest_to_the_size(self, vocab: int) -> None:
        published_size = published()["lecture"]["model"]["parameters"]
        widths = range(64, 2049, 64)
        nearest = min(widths, key=lambda width: abs(self.size(width, vocab) - published_size))
        assert nearest == LECTURE.width
        assert self.size(nearest, LECTURE.vocab) == LECTURE.body_parameters
        assert LECTURE.layers == published()["lecture"]["model"]["layers"]

    def test_its_width_alone_gives_the_counts_of_lora_and_adapters(self) -> None:
        def fits(width: int) -> bool:
            like = replace(LECTURE, width=width, ffn=4 * width, heads=width // 64)
            return all(
                follows(ROWS[name]["parameters"], lecture_method(ROWS[name]).added_parameters(like))
                for name in ("LoRA", "adapters")
            )

        assert [width for width in range(64, 2049, 64) if fits(width)] == [LECTURE.width]

    def test_its_size_is_the_published_one_to_two_digits(self) -> None:
        assert counted(described(LECTURE))[0] == LECTURE.body_parameters
        assert round(LECTURE.body_parameters, -7) == published()["lecture"]["model"]["parameters"]

    def test_gpt_of_these_facts_has_the_size_too(self) -> None:
        facts = {"n_layer": LECTURE.layers, "n_embd": LECTURE.width, "n_head": LECTURE.heads}
        with torch.device("meta"):
            size = counted(GPT2Model(GPT2Config(**facts)))[0]
        assert round(size, -7) == published()["lecture"]["model"]["parameters"]

    def test_a_share_of_its_own_size_gives_the_same_verdicts(self) -> None:
        for row in ROWS.values():
            trained = lecture_method(row).trained_parameters(LECTURE)
            own = Decimal(100 * trained) / LECTURE.body_parameters
            assert follows(row["percent"], own) == follows(row["percent"], lecture_share(trained))


@pytest.mark.parametrize("backbone", [LECTURE, AS_BERT], ids=["roberta", "bert"])
@every_row
def test_the_lectures_methods_train_so_many(row: dict[str, Any], backbone: Backbone) -> None:
    how, model = lecture_method(row), described(backbone)
    before, _ = counted(model)
    how.attach(model, backbone)
    every, trained = counted(model)
    assert trained == how.trained_parameters(backbone) == how.trained_parameters(LECTURE)
    assert every - before == how.added_parameters(backbone)
    shown = {cell[0].partition(" (")[0]: cell for cell in cells("lecture_parameters")}
    own = shown[row["method"]]
    assert (number(own[3]), number(own[4])) == (trained, every - before)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("LoRA", peft.LoraConfig(r=8, target_modules=["query", "value"])),
        (
            "prompt tuning",
            peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=20),
        ),
    ],
    ids=["lora", "prompt"],
)
def test_peft_counts_the_same(name: str, config: peft.PeftConfig) -> None:
    with torch.device("meta"):
        theirs = peft.get_peft_model(described(LECTURE), config)
    trained, _ = theirs.get_nb_trainable_parameters()
    assert trained == lecture_method(ROWS[name]).trained_parameters(LECTURE)


def test_peft_counts_the_same_prefix() -> None:
    config = peft.PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=20)
    with torch.device("meta"):
        theirs = peft.get_peft_model(described(LECTURE), config)
    assert theirs.get_nb_trainable_parameters()[0] == Prefix(tokens=20).added_parameters(LECTURE)


def test_biases_and_gains_are_those_of_the_layers() -> None:
    layers = dict(described(AS_BERT).encoder.named_parameters())
    biases = sum(p.numel() for name, p in layers.items() if name.endswith(".bias"))
    gains = sum(p.numel() for name, p in layers.items() if name.endswith("LayerNorm.weight"))
    row = ROWS["BitFit"]
    assert biases == lecture_method(row).trained_parameters(LECTURE)
    assert f"{biases + gains:,}" in explanations("en")["BitFit"]
    assert not follows(row["parameters"], biases)
    assert not follows(row["percent"], lecture_share(biases))
    assert follows(row["parameters"], biases + gains)
    assert follows(row["percent"], lecture_share(biases + gains))


def test_the_prompts_count_is_that_of_a_base_model() -> None:
    row = ROWS["prompt tuning"]
    base = Prompt(tokens=row["length"]).added_parameters(DISTILROBERTA)
    assert f"{base:,}" in explanations("en")["prompt tuning"]
    assert follows(row["parameters"], base)
    assert not follows(row["percent"], lecture_share(base))


@every_row
def test_formulas_are_what_is_counted(row: dict[str, Any]) -> None:
    sizes = {"p": row.get("length"), "m": row.get("width"), "r": row.get("rank")}
    sizes |= {"L": LECTURE.layers, "d": LECTURE.width, "f": LECTURE.ffn}
    letters = {letter: Symbol(letter) for letter in sizes}
    rules = (*standard_transformations, split_symbols, implicit_multiplication)
    formula = parse_expr(LINES[row["method"]].formula, letters, rules)
    value = formula.subs({letters[letter]: size for letter, size in sizes.items() if size})
    assert value == lecture_method(row).trained_parameters(LECTURE)


def test_rounding_is_to_the_digits_printed() -> None:
    assert follows(Decimal("15e3"), 15_360)
    assert not follows(Decimal("15e3"), 15_600)
    assert not follows(Decimal("15.0e3"), 15_360)
    assert follows(2, Decimal("1.8"))
    assert not follows(2, Decimal("1.4"))


def test_what_does_not_follow_is_marked_and_explained() -> None:
    verdicts = {c[0].partition(" (")[0]: (c[5], c[8]) for c in cells("lecture_parameters")}
    assert verdicts == {
        "prompt tuning": ("no", "yes"),
        "adapters": ("yes", "yes"),
        "LoRA": ("yes", "yes"),
        "BitFit": ("no", "no"),
    }
    wrong = {name for name, verdict in verdicts.items() if "no" in verdict}
    assert wrong == set(explanations("en"))
    notes = body("lecture_parameters").notes
    assert all(text in notes for text in explanations("en").values())


def test_the_lectures_numbers_keep_their_digits() -> None:
    shown = [(row[2], row[6]) for row in cells("lecture_parameters")]
    assert shown == [("15K", "0.006"), ("6M", "2"), ("0.8M", "0.22"), ("0.32M", "0.09")]
    first = body("lecture_parameters", "ru").groups[0][0]
    assert first[2] == "15 тыс."


@pytest.mark.parametrize("backbone", [DISTILROBERTA, MINILM], ids=lambda b: b.name)
def test_every_method_is_shown_with_what_it_trains(backbone: Backbone) -> None:
    rows = {row[1]: row for row in cells("method_parameters") if row[0] == backbone.name}
    names = discover.names(methods.__name__)
    assert sorted(name.partition(" (")[0] for name in rows) == names
    head = backbone.head_parameters(4)
    for name in names:
        how, model = method(name)(), described(backbone)
        before, _ = counted(model)
        how.attach(model, backbone)
        every, trained = counted(model)
        _, _, new, shown, share, of_head, with_head = rows[with_sizes(how)]
        assert (number(new), number(shown), number(of_head)) == (every - before, trained, head)
        assert float(share) == pytest.approx(100 * trained / (every + head), abs=5e-5)
        assert float(with_head) == pytest.approx(100 * (trained + head) / (every + head), abs=5e-5)


IA3 = """
from dataclasses import dataclass

from lowrank_da.method import Method


@dataclass(frozen=True)
class Scales(Method):
    bins: int = 3

    def change(self, encoder, backbone):
        pass

    def added_parameters(self, backbone):
        return self.bins * backbone.width
"""


def test_a_new_methods_file_is_a_new_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scales.py").write_text(IA3)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{methods.__name__}.scales", raising=False)
    rows = [row for row in cells("method_parameters") if row[1] == "scales (bins=3)"]
    del sys.modules[f"{methods.__name__}.scales"]
    assert [(row[0], row[2]) for row in rows] == [("distilroberta", "2,304"), ("minilm", "1,152")]


@pytest.mark.parametrize("id", ["lecture_parameters", "method_parameters"])
class TestBoth:
    def test_they_belong_to_a_study_of_other_methods(self, id: str) -> None:
        table = find(id)
        assert not table.applies({})
        assert not table.applies(study(seeds=(0,)))
        assert not table.applies({"tfidf": [replace(record("tfidf"), experiment={})]})
        assert table.applies({"prefix": [record("prefix", method={"is": "prefix"})]})

    def test_they_need_no_run_and_name_no_corpus(self, id: str) -> None:
        built = find(id).build(study(seeds=(0,)), FACTS, "en")
        assert built.missing == ()
        assert built.body == body(id)
        assert "outfox" not in built.markdown()
        assert built.caption.endswith("the same for every corpus and seed.")

    def test_both_languages_say_the_same_numbers(self, id: str) -> None:
        english, russian = (find(id).build({}, FACTS, lang) for lang in LANGUAGES)
        assert [re.findall(r"[А-я]", built.markdown()) == [] for built in (english, russian)] == [
            True,
            False,
        ]
        one, other = (re.findall(r"\d[\d,.]*\d", built.latex()) for built in (english, russian))
        assert sorted(one) == sorted(other)
        assert {len(row) for group in russian.body.groups for row in group} == {
            len(english.body.header)
        }
