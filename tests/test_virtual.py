"""Virtual tokens and prefixes: equal to peft's, inside the position table, read by no head."""

from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
import toy
from tiny_models import FAMILIES, padded, texts
from torch import Tensor, nn
from transformers import DynamicCache

from lowrank_da import anatomy, encode
from lowrank_da.backbone import TINY, Backbone, Pooling
from lowrank_da.batches import pack
from lowrank_da.classifier import Classifier
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.method import Method
from lowrank_da.methods.adapter import Adapter
from lowrank_da.methods.both import Both
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt

POOLINGS: tuple[Pooling, ...] = ("first", "mean", "last")
every_family = pytest.mark.parametrize("family", FAMILIES)
every_pooling = pytest.mark.parametrize("pooling", POOLINGS)


def built(how: Method, backbone: Backbone) -> nn.Module:
    """The encoder in float64, changed by the method."""
    model = backbone.load()
    torch.manual_seed(1)
    how.attach(model, backbone)
    return model.double().eval()


def pull(states: Tensor) -> None:
    """Take the gradient of a fixed weighted sum of (real tokens, width) states."""
    generator = torch.Generator().manual_seed(3)
    (states * torch.randn(states.shape, generator=generator, dtype=torch.float64)).sum().backward()


# --- against peft -------------------------------------------------------------------------------

PEFT: dict[str, tuple[Method, type[peft.PromptLearningConfig], dict[str, Any]]] = {
    "prompt": (Prompt(tokens=3), peft.PromptTuningConfig, {}),
    "p_tuning": (
        PTuning(tokens=4, side="left", hidden=5),
        peft.PromptEncoderConfig,
        {"encoder_hidden_size": 5, "encoder_reparameterization_type": "MLP"},
    ),
    "prefix": (Prefix(tokens=3, std=1.0), peft.PrefixTuningConfig, {}),
}


def as_peft(name: str, parameter: Tensor) -> tuple[str, Tensor]:
    """How peft's prompt encoder calls, and lays out, a parameter of ours or its gradient."""
    if name == "prefix.keys_values":  # (layers, 2, tokens, width) to (tokens, all of a token)
        return "embedding.weight", parameter.permute(2, 0, 1, 3).flatten(1)
    if name.startswith("virtual.network."):
        return name.replace("virtual.network.", "mlp_head."), parameter
    return "embedding.weight", parameter


def peft_twin(how: str, ours: nn.Module, backbone: Backbone) -> tuple[nn.Module, nn.Module]:
    """The same encoder adapted by peft, with our parameters in its prompt encoder, and that."""
    method, config, facts = PEFT[how]
    tokens = {"task_type": "FEATURE_EXTRACTION", "num_virtual_tokens": method.virtual_tokens}
    twin = peft.get_peft_model(backbone.load(), config(**tokens, **facts)).double().eval()
    encoder: nn.Module = twin.prompt_encoder["default"]
    own = dict(as_peft(n, p.detach()) for n, p in ours.named_parameters() if p.requires_grad)
    encoder.load_state_dict(own)  # and it has no others
    return twin, encoder


@pytest.mark.parametrize("lengths", [(6, 6), (9, 4, 6)], ids=["unpadded", "padded"])
@pytest.mark.parametrize("how", PEFT)
@every_family
def test_equals_peft_in_value_and_gradient(family: str, how: str, lengths: tuple[int, ...]) -> None:
    """Padded on the right: peft counts padding on the left as positions."""
    backbone = replace(FAMILIES[family], pooling="mean")
    method = PEFT[how][0]
    ours = built(method, backbone)
    twin, prompt_encoder = peft_twin(how, ours, backbone)
    tokens, mask = padded(backbone, lengths)
    theirs = twin(input_ids=tokens, attention_mask=mask).last_hidden_state
    theirs = theirs[:, theirs.shape[1] - tokens.shape[1] :][mask]
    found, _ = encode.encode(ours, backbone, pack(texts(backbone, lengths)))
    torch.testing.assert_close(found, theirs, rtol=1e-10, atol=1e-12)
    pull(found)
    pull(theirs)
    wanted = {n: p.grad for n, p in prompt_encoder.named_parameters()}
    own = dict(as_peft(n, p.grad) for n, p in ours.named_parameters() if p.grad is not None)
    assert all(gradient.count_nonzero() > 0 for gradient in own.values())
    torch.testing.assert_close(own, wanted, rtol=1e-9, atol=1e-12)


# --- against transformers, text by text, where peft has no such method --------------------------


def reference(model: nn.Module, backbone: Backbone, text: list[int]) -> Tensor:
    """(1, all tokens, width): transformers' own forward over one text and all that is put to it."""
    virtual, prefix = getattr(model, "virtual", None), getattr(model, "prefix", None)
    row = anatomy.words(model)(torch.tensor(text))
    if virtual is not None:
        left, right = virtual()
        row = torch.cat([left, row, right])
    positions, cache = torch.arange(len(row)), None
    if prefix is not None:
        positions = positions + prefix.tokens
        width = backbone.width // backbone.heads
        cache = DynamicCache()
        for number in range(backbone.layers):
            keys, values = (x.view(1, len(x), -1, width).transpose(1, 2) for x in prefix(number))
            cache.update(keys, values, number)
    states: Tensor = model(
        inputs_embeds=row.unsqueeze(0),
        position_ids=(positions + backbone.first_position).unsqueeze(0),
        past_key_values=cache,
    ).last_hidden_state
    return states


VIRTUAL: dict[str, Method] = {
    "prompt": Prompt(tokens=3),
    "p_tuning": PTuning(tokens=5),
    "p_tuning-left": PTuning(tokens=2, side="left"),
    "p_tuning-one": PTuning(tokens=1),
    "prefix": Prefix(tokens=3, std=1.0),
    "p_tuning-bitfit": Both(),
    "p_tuning-prefix": Both(PTuning(tokens=4), Prefix(tokens=2, std=1.0)),
    "prefix-adapter": Both(Prefix(tokens=2, std=1.0), Adapter()),
    "prompt-lora": Both(Prompt(tokens=2), LoRA(rank=2)),
}
every_virtual = pytest.mark.parametrize("how", VIRTUAL.values(), ids=list(VIRTUAL))


def left_of(how: Method) -> int:
    """Virtual tokens before the text, a prefix not counted."""
    if isinstance(how, Both):
        return left_of(how.first) + left_of(how.second)
    if isinstance(how, PTuning):
        return how.tokens - (how.tokens // 2 if how.side == "both" else 0)
    return how.tokens if isinstance(how, Prompt) else 0


def real(states: Tensor, how: Method, text: list[int]) -> Tensor:
    """(real tokens, width) of a text's reference states."""
    return states[0, left_of(how) : left_of(how) + len(text)]


@every_virtual
@every_family
def test_equals_transformers_text_by_text_in_value_and_gradient(family: str, how: Method) -> None:
    backbone = replace(FAMILIES[family], pooling="mean")
    ours, theirs = built(how, backbone), built(how, backbone)
    found, packing = encode.encode(ours, backbone, pack(texts(backbone)))
    assert packing.lengths.tolist() == [len(text) for text in texts(backbone)]
    wanted = torch.cat([real(reference(theirs, backbone, t), how, t) for t in texts(backbone)])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    pull(found)
    pull(wanted)
    for (name, one), (_, other) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-11, msg=name)


# --- what the head reads ------------------------------------------------------------------------


def check_pooling(how: Method, backbone: Backbone) -> None:
    """The head's input is the first, the last or the mean of the text's own tokens."""
    experiment = toy.experiment(setting=toy.setting(backbone=backbone), method=how)
    model = Classifier(experiment, seed=0, steps=1).double().eval()
    choose = {"first": lambda x: x[:1], "last": lambda x: x[-1:], "mean": lambda x: x.mean(0, True)}
    with torch.no_grad():
        found = model(pack(texts(backbone)))
        states = [
            real(reference(model.encoder, backbone, text), how, text) for text in texts(backbone)
        ]
        pooled = torch.cat([choose[backbone.pooling](own) for own in states])
        wanted = model.head.out_proj(torch.tanh(model.head.dense(pooled)))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@every_virtual
@every_pooling
@every_family
def test_no_head_reads_a_virtual_token(family: str, pooling: Pooling, how: Method) -> None:
    check_pooling(how, replace(FAMILIES[family], pooling=pooling))


@every_pooling
@every_family
def test_a_head_that_reads_virtual_tokens_is_noticed(
    family: str, pooling: Pooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def virtual_too(row: Any, pooling: Pooling) -> Any:
        """As a stock head does: the first, last or all of the longer text."""
        if pooling == "mean":
            return encode._Asked(torch.arange(row.packing.tokens), row.packing)
        ends = row.packing.first if pooling == "first" else row.packing.last
        return encode._Asked(ends, row.packing.singles())

    monkeypatch.setattr(encode._Row, "read", virtual_too)
    with pytest.raises(AssertionError):
        check_pooling(PTuning(tokens=4), replace(FAMILIES[family], pooling=pooling))


# --- the position table -------------------------------------------------------------------------


@every_virtual
@every_family
def test_virtual_tokens_and_text_share_the_positions(family: str, how: Method) -> None:
    backbone = FAMILIES[family]
    cap, room = backbone.max_tokens, backbone.max_tokens - how.virtual_tokens
    says = (
        f"max_tokens={room + 1}: {how.name} takes up {how.virtual_tokens} more, and"
        f" {backbone.name} takes {cap}; cut to {room}"
    )

    def experiment(tokens: int) -> Experiment:
        return toy.experiment(setting=toy.setting(backbone=backbone, max_tokens=tokens), method=how)

    with pytest.raises(UserError) as caught:
        experiment(room + 1)
    assert str(caught.value) == says
    model = Classifier(experiment(room), seed=0, steps=1)
    model(pack(texts(backbone, (room, 3)))).sum().backward()
    if backbone.decoder:  # its positions have no table
        return
    with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
        model(pack(texts(backbone, (room + 1, 3))))


# --- starts -------------------------------------------------------------------------------------


@every_family
def test_a_prompt_starts_at_its_text(family: str) -> None:
    backbone, words = FAMILIES[family], "tea?"
    model = built(Prompt(tokens=6, start="text", text=words), backbone)
    ids = backbone.tokenizer().encode(words, add_special_tokens=False).ids
    assert len(ids) == 4
    wanted = anatomy.words(model).weight[torch.tensor(ids + ids[:2])]
    assert torch.equal(model.virtual.embeddings, wanted)


def test_random_starts_have_their_spread() -> None:
    prompt = built(Prompt(tokens=500), TINY)
    spread = float(anatomy.words(prompt).weight.detach().std())
    assert float(prompt.virtual.embeddings.detach().std()) == pytest.approx(spread, rel=0.05)
    prefix = built(Prefix(tokens=200, std=0.3), TINY)
    assert float(prefix.prefix.keys_values.detach().std()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(("tokens", "left"), [(1, 1), (2, 1), (5, 3), (20, 10)])
def test_half_of_p_tunings_tokens_stand_on_each_side(tokens: int, left: int) -> None:
    virtual = built(PTuning(tokens=tokens, hidden=3), TINY).virtual
    before, behind = virtual()
    assert (len(before), len(behind)) == (left, tokens - left)
    sizes = [(m.in_features, m.out_features) for m in virtual.network if hasattr(m, "in_features")]
    assert sizes == [(16, 3), (3, 3), (3, 16)]
