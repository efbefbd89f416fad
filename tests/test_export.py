"""Exports: each format, loaded by the program it is for, gives the logits of what was trained."""

import importlib.util
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import peft
import pytest
import torch
import toy
import toy_checkout
from safetensors.torch import load_file, save_file
from test_padded import FAMILIES, moved
from tiny_models import TINY_BERT, padded, texts
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from lowrank_da import backbone as backbones
from lowrank_da import cli, export, metrics
from lowrank_da.backbone import TINY, TINY_DECODER, Backbone
from lowrank_da.batches import pack
from lowrank_da.campaign import Campaign
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import CACHE_VARIABLE
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.layers import LoRALinear
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
from lowrank_da.model_card import MARK
from lowrank_da.run import Run
from lowrank_da.study import Checkout
from paper import estimate

LORAS = {
    "lora": LoRA(rank=2, dropout=0.1),
    "lora-stabilised": LoRA(rank=4, alpha=3.0, rank_stabilised=True, targets=("ffn_out",)),
    "lora-top": LoRA(rank=2, top_layers=1, targets=("value", "ffn_in")),
    "lora-decomposed": LoRA(rank=2, decomposed=True, targets=("query", "attention_output")),
}
MERGEABLE: dict[str, Method] = LORAS | {
    "full": Full(),
    "bitfit": BitFit(),
    "linear_probe": LinearProbe(),
    "lora-bitfit": Both(LoRA(rank=2), BitFit()),
}
IN_PEFT: dict[str, Method] = LORAS | {
    "prompt": Prompt(tokens=3),
    "p_tuning": PTuning(tokens=3, side="left", hidden=5),
    "prefix": Prefix(tokens=3, std=1.0),
}
HEARD = ["uhu!", "tea for two, and otete for none " * 20, "sss ssshs"]
each_family = pytest.mark.parametrize("backbone", FAMILIES.values(), ids=list(FAMILIES))


@pytest.fixture(autouse=True)
def known_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny BERT by name, for the lines that load the base of an adapter."""
    monkeypatch.setitem(backbones.BACKBONES, TINY_BERT.name, TINY_BERT)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a toy training; what it says is printed in cards."""
    return toy.run(toy.cell(seed=3, epochs=1), tmp_path_factory.mktemp("runs"))


def logits(model: Classifier, says: list[str]) -> torch.Tensor:
    """(texts, classes) of the classifier itself."""
    setting = model.experiment.setting
    with torch.no_grad():
        found: torch.Tensor = model(
            pack(setting.backbone.encode(says, [None] * len(says), setting.max_tokens))
        )
    return found


def blocks(folder: Path) -> dict[str, str]:
    """The lines of Python in a card, by format."""
    card = (folder / "README.md").read_text()
    return dict(re.findall(r"^### (\w+)\n\n```python\n(.*?)```", card, re.MULTILINE | re.DOTALL))


def by_card(folder: Path, name: str, says: list[str]) -> torch.Tensor:
    """(texts, classes) of the lines that the card shows."""
    found: dict[str, Any] = {"folder": str(folder), "texts": says}
    exec(blocks(folder)[name], found)
    return torch.as_tensor(found["logits"])


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


# --- merged -------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("how", MERGEABLE.values(), ids=list(MERGEABLE))
def test_transformers_alone_loads_what_was_merged(
    how: Method, backbone: Backbone, record: Run, tmp_path: Path
) -> None:
    model = moved(backbone, how)
    export.export(model, record, "merged", tmp_path / "out")
    assert "lowrank_da" not in blocks(tmp_path / "out")["merged"]
    close(by_card(tmp_path / "out", "merged", HEARD), logits(model, HEARD))

    folder = tmp_path / "out" / "merged"
    _, loading = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert all("pooler" in name for name in loading["missing_keys"])
    encoder = AutoModel.from_pretrained(folder)
    ids, mask = padded(backbone)
    with torch.no_grad():
        theirs = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state[mask]
        every = replace(backbone, pooling="mean")
        ours, _ = encode(model.encoder, every, pack(texts(backbone)))
    close(theirs, ours)


@pytest.mark.parametrize("how", [Full(), LORAS["lora"]], ids=lambda how: how.name)
def test_robertas_own_head_comes_with_the_model(how: Method, record: Run, tmp_path: Path) -> None:
    model = moved(TINY, how)
    export.export(model, record, "merged", tmp_path / "out")
    folder = tmp_path / "out" / "merged"
    assert not (folder / "head.safetensors").exists()
    theirs = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(HEARD, truncation=True, padding=True, return_tensors="pt")
    with torch.no_grad():
        close(theirs(**inputs).logits, logits(model, HEARD))
    assert list(theirs.config.id2label.values()) == list(toy.WORDS)


@pytest.mark.parametrize("backbone", [TINY_BERT, TINY_DECODER], ids=["bert", "decoder"])
def test_another_head_is_a_file_of_its_own(backbone: Backbone, record: Run, tmp_path: Path) -> None:
    model = moved(backbone, Full())
    export.export(model, record, "merged", tmp_path / "out")
    head = load_file(tmp_path / "out" / "merged" / "head.safetensors")
    own = model.head.state_dict()
    assert head.keys() == own.keys()
    assert all(torch.equal(head[name], own[name]) for name in own)


@each_family
def test_the_tokenizer_is_ours(backbone: Backbone, record: Run, tmp_path: Path) -> None:
    export.export(moved(backbone, LinearProbe()), record, "merged", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "merged")
    pairs = HEARD[::-1]
    found = tokenizer(HEARD, pairs, truncation=True)
    assert found["input_ids"] == backbone.encode(HEARD, pairs, 64)
    assert set(found) == {"input_ids", "attention_mask"}


# --- peft ---------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("how", IN_PEFT.values(), ids=list(IN_PEFT))
def test_peft_loads_the_adapter_and_the_head_stays(
    how: Method, backbone: Backbone, record: Run, tmp_path: Path
) -> None:
    model = moved(backbone, how)
    export.export(model, record, "peft", tmp_path / "out")
    folder = tmp_path / "out" / "peft"
    assert {"adapter_config.json", "adapter_model.safetensors", "head.safetensors"} <= set(
        os.listdir(folder)
    )
    close(by_card(tmp_path / "out", "peft", HEARD), logits(model, HEARD))

    theirs = peft.PeftModel.from_pretrained(backbone.load().eval(), folder)
    ids, mask = padded(backbone)
    with torch.no_grad():
        states = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        every = replace(backbone, pooling="mean")
        ours, _ = encode(model.encoder, every, pack(texts(backbone)))
    close(states[:, -ids.shape[1] :][mask], ours)


# --- ONNX ---------------------------------------------------------------------------------------


def test_the_graph_takes_any_number_of_texts_and_any_padding(
    record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = replace(TINY_DECODER, layers=1)
    how = Both(LoRA(rank=2), Prefix(tokens=3, std=1.0))
    model, out = moved(family, how), tmp_path / "out"
    export.export(model, record, "onnx", out)
    assert "lowrank_da" not in blocks(out)["onnx"]
    close(by_card(out, "onnx", HEARD), logits(model, HEARD))
    graph = out / "onnx" / "model.onnx"
    session = onnxruntime.InferenceSession(graph)
    for lengths in ((9, 1, 6, 4), (1,), (5, 5)):
        with torch.no_grad():
            ours = model(pack(texts(family, lengths)))
        for side in ("left", "right"):
            ids, mask = padded(family, lengths, side)  # type: ignore[arg-type]
            inputs = {"input_ids": ids.numpy(), "attention_mask": mask.long().numpy()}
            (theirs,) = session.run(None, inputs)
            close(torch.as_tensor(theirs), ours)

    def stale(padded: object, example: object, path: Path, **more: object) -> None:
        shutil.copy(graph, path)

    monkeypatch.setattr(torch.onnx, "export", stale)
    line = refusal(moved(family, how, seed=1), record, "onnx", tmp_path / "other")
    assert "onnx: logits differ from the classifier's by" in line


# --- refusals -----------------------------------------------------------------------------------

UNMERGEABLE = [
    (Adapter(), "possible: onnx"),
    (Prompt(tokens=2), "possible: peft, onnx"),
    (Prefix(tokens=2), "possible: peft, onnx"),
    (PTuning(tokens=2, side="left"), "possible: peft, onnx"),
    (PTuning(tokens=2), "possible: onnx"),
    (Both(LoRA(rank=2), Adapter()), "possible: onnx"),
    (Both(PTuning(tokens=2, side="left"), BitFit()), "possible: onnx"),
]


def refusal(model: Classifier, record: Run, wanted: str, out: Path) -> str:
    """The one line with which an export is refused; it leaves all files as they are."""
    before = {p: p.read_bytes() for p in out.parent.rglob("*") if p.is_file()}
    with pytest.raises(UserError) as caught:
        export.export(model, record, wanted, out)
    assert {p: p.read_bytes() for p in out.parent.rglob("*") if p.is_file()} == before
    line = str(caught.value)
    assert "\n" not in line
    return line


@each_family
@pytest.mark.parametrize(("how", "instead"), UNMERGEABLE, ids=lambda x: getattr(x, "name", ""))
def test_what_transformers_has_no_place_for_is_not_merged(
    how: Method, instead: str, backbone: Backbone, record: Run, tmp_path: Path
) -> None:
    line = refusal(moved(backbone, how), record, "merged", tmp_path / "out")
    assert f"{how.name} does not fit into transformers' {backbone.family}" in line
    assert line.endswith(instead)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (Full(), "peft has no full; possible: merged, onnx"),
        (BitFit(), "peft has no bitfit; possible: merged, onnx"),
        (LinearProbe(), "peft has no linear_probe; possible: merged, onnx"),
        (Adapter(), "peft has no adapter; possible: onnx"),
        (PTuning(tokens=2), "tokens on the left alone; possible: onnx"),
        (Both(), "peft has no both; possible: onnx"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_what_peft_does_not_have_is_refused(
    how: Method, why: str, record: Run, tmp_path: Path
) -> None:
    assert refusal(moved(TINY, how), record, "peft", tmp_path / "out").endswith(why)


def test_an_unknown_format_is_refused(record: Run, tmp_path: Path) -> None:
    line = refusal(moved(TINY, Full()), record, "megred", tmp_path / "out")
    assert "unknown format 'megred'; did you mean 'merged'" in line


def test_without_its_packages_onnx_is_refused_and_all_goes_on(
    record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "onnxscript" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    model, out = moved(TINY, Full()), tmp_path / "out"
    line = refusal(model, record, "onnx", out)
    assert "onnxscript not installed, pip install -e '.[export]'; possible: merged" in line
    _, *left = export.export(model, record, "all", out)
    assert set(os.listdir(out)) == {"README.md", "merged"}
    assert left == [
        "left out, peft: peft has no full",
        "left out, onnx: onnxscript not installed, pip install -e '.[export]'",
    ]
    assert "- peft: peft has no full\n" in (out / "README.md").read_text()


# --- what the check catches ---------------------------------------------------------------------


def unscaled(layer: LoRALinear) -> torch.Tensor:
    return layer.weight + layer.lora_B @ layer.lora_A


@each_family
def test_a_forgotten_scale_is_caught(
    backbone: Backbone, record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = moved(backbone, LoRA(rank=2))
    monkeypatch.setattr(LoRALinear, "merged", unscaled)
    line = refusal(model, record, "merged", tmp_path / "out")
    assert "merged: logits differ from the classifier's by" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("how", "wanted"), [(Full(), "merged"), (Prompt(tokens=2), "peft")])
def test_another_head_is_caught(
    how: Method, wanted: str, record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(model: Classifier, folder: Path) -> None:
        head = {name: torch.zeros_like(w) for name, w in model.head.state_dict().items()}
        save_file(head, folder / "head.safetensors")

    monkeypatch.setattr(export, "_write_head", other)
    line = refusal(moved(TINY_BERT, how), record, wanted, tmp_path / "out")
    assert "logits differ from the classifier's by" in line


def test_an_adapter_under_names_that_peft_does_not_know_is_caught(
    record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = export._lora_in_peft

    def misnamed(model: Classifier, method: LoRA) -> Any:
        config, weights = own(model, method)
        return config, {name.removeprefix("base_model."): w for name, w in weights.items()}

    monkeypatch.setattr(export, "_lora_in_peft", misnamed)
    with pytest.warns(UserWarning, match="missing adapter keys"):
        line = refusal(moved(TINY_BERT, LoRA(rank=2)), record, "peft", tmp_path / "out")
    assert "peft: logits differ from the classifier's by" in line


def test_a_version_that_cannot_run_a_format_is_refused(
    record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise AttributeError("no cache\nof that kind")

    monkeypatch.setattr(peft.PeftModelForFeatureExtraction, "forward", broken)
    line = refusal(moved(TINY, Prefix(tokens=2)), record, "peft", tmp_path / "out")
    assert "peft: these versions cannot run what was written (AttributeError: no cache)" in line


def test_a_graph_that_torch_cannot_make_is_refused(
    record: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise torch.onnx.OnnxExporterError("no such operator\nand a long report")

    monkeypatch.setattr(torch.onnx, "export", fail)
    line = refusal(moved(TINY, Prompt(tokens=2)), record, "onnx", tmp_path / "out")
    assert "cannot export prompt (no such operator); choose another --format" in line


# --- the folder ---------------------------------------------------------------------------------


def test_only_an_earlier_export_is_replaced(record: Run, tmp_path: Path) -> None:
    model, out = moved(TINY_BERT, LoRA(rank=2)), tmp_path / "out"
    out.mkdir()
    export.export(model, record, "peft", out)
    export.export(model, record, "merged", out)
    assert set(os.listdir(out)) == {"README.md", "merged"}
    assert set(os.listdir(tmp_path)) == {"out"}
    (out / "notes.txt").write_text("mine")
    assert "holds notes.txt, which is no export" in refusal(model, record, "merged", out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("# mine\n")
    assert "holds README.md, which is no export" in refusal(model, record, "merged", other)
    (tmp_path / "file").write_text("mine")
    assert "file is a file; name another folder" in refusal(
        model, record, "merged", tmp_path / "file"
    )
    assert "cannot write" in refusal(model, record, "merged", tmp_path / "file" / "below")


# --- the card -----------------------------------------------------------------------------------


def test_the_card_says_what_the_record_says(record: Run, tmp_path: Path) -> None:
    model = moved(toy.BACKBONE, LoRA(rank=2))
    export.export(model, record, "merged", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith(MARK)
    for role in ("id", toy.OOD):
        f1 = estimate.of_confusion([record], metrics.macro_f1, role)[()].show()
        number = record.result["splits"][role]["texts"]
        assert f"| {role} | {number} | {f1} |" in card
    p = record.result["parameters"]
    share = 100 * p["trained"] / (p["backbone"] + p["adapter"] + p["head"])
    for line in (
        "0 parrot, 1 kettle, 2 owl, 3 human",
        "| corpus | toy: invented noises |",
        "| the corpus' licence | invented |",
        f"| the texts' fingerprint | {record.fingerprint} |",
        "| method | `LoRA(rank=2, alpha=16.0, targets=('query', 'key',",
        f"| parameters trained | {p['trained']:,} ({share:.2f} % of ",
        f"| of them the head's | {p['head']:,} |",
        "| learning rate | 0.02 |",
        "| seed | 3 |",
        f"| passes over the training texts | 2; kept: after {record.result['epoch']} |",
        "| commit | not known, from a changed tree |",
        f"torch {record.made_by['versions']['torch']}",
        "Texts are cut to 64 tokens",
    ):
        assert line in card


# --- the command --------------------------------------------------------------------------------

HERE = ["--setting", "room"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The toy checkout, which the command then works on."""
    root = tmp_path / "checkout"
    root.mkdir()
    here = toy_checkout.make(root, monkeypatch)
    monkeypatch.setattr(Checkout, "here", lambda: here)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return here


def one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command gets."""
    assert cli.main(command) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_trained_arm_is_exported_and_gives_its_record_again(
    checkout: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = toy_checkout.TRIALS[1]
    command = ["export", "play", name, *HERE]
    again = f"train it with `lowrank-da run play {name} --setting room --seed 0`"
    assert f"is missing; {again}" in one_line(command, capsys)
    assert cli.main(["run", "play", name, *HERE, "--device", "cpu", "--precision", "fp32"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])

    assert cli.main(command) == 0
    *lines, folder = capsys.readouterr().out.splitlines()
    out = path.with_suffix(".export")
    assert folder == str(out)
    assert [line.partition(" ")[0] for line in lines] == ["merged:", "onnx:", "left"]
    run = Run.load(path)
    heard = [e.text for e in toy.Toy().load().take({})["select"]]
    for each in ("merged", "onnx"):
        theirs = by_card(out, each, heard).softmax(dim=-1).numpy()
        np.testing.assert_allclose(theirs, run.predictions["select"].probabilities, atol=3e-4)

    chosen = tmp_path / "chosen"
    assert cli.main([*command, "--format", "merged", "--out", str(chosen)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(chosen)
    assert set(os.listdir(chosen)) == {"README.md", "merged"}

    weights = path.with_suffix(".safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:50])
    assert f"{weights} cannot be read" in one_line(command, capsys)
    weights.unlink()
    assert f"{weights} is missing; delete {path} and run" in one_line(command, capsys)
    weights.write_bytes(whole)
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"key": "0" * 16}))
    assert "is of another experiment than" in one_line(command, capsys)
    path.unlink()
    kept = run.save(checkout.results)
    assert f"{kept} keeps no weights; {again}" in one_line(command, capsys)


def test_what_is_no_training_is_not_exported(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "unknown experiment 'ful'; did you mean 'full'" in one_line(
        ["export", "play", "ful", *HERE], capsys
    )
    assert "tfidf has no trained weights" in one_line(["export", "play", "tfidf", *HERE], capsys)


def test_an_arm_is_known_by_its_tuned_rate(checkout: Checkout) -> None:
    here = Campaign(checkout, "play", "room")
    cells = [cell for cells in here.trial_cells().values() for cell in cells]
    for trial in cells:
        toy.run(trial, checkout.runs)
    arm = here.study.arms(here.setting, here.known_rates())["owl_vs_human"]
    own = replace(cells[0], name="owl_vs_human", experiment=arm, seed=1, select_only=False)
    run = toy.run(own, checkout.runs)
    model, found = export.find(here, "owl_vs_human", 1)
    assert (found.key, found.seed) == (run.key, 1)
    assert model.experiment == arm
    state = load_file(found.path(checkout.runs).with_suffix(".safetensors"))
    assert all(torch.equal(state[name], w) for name, w in model.trained_state().items())
