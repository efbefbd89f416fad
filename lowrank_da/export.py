"""A finished training as files that other programs load: transformers', peft's, ONNX, and a card.

Each format is a folder of its own, tokenizer and head included, for transformers takes an adapter
that lies beside a model for a part of it. The card shows the lines that load each one. Before
anything is put in place, these very lines are run, and their logits held against the classifier's:
what is refused here is a scale forgotten in merging, a head lost, a version that went another way.
"""

import copy
import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peft
import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, RobertaForSequenceClassification

from lowrank_da import model_card
from lowrank_da.backbone import Backbone, Pooling
from lowrank_da.batches import pack
from lowrank_da.campaign import Campaign
from lowrank_da.classifier import Classifier
from lowrank_da.errors import UserError, unknown
from lowrank_da.experiment import Experiment
from lowrank_da.layers import LoRALinear
from lowrank_da.methods.lora import LoRA
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.methods.prefix import Prefix
from lowrank_da.methods.prompt import Prompt
from lowrank_da.model_card import Loading
from lowrank_da.padded import Padded
from lowrank_da.run import Run, record_path

FORMATS = ("merged", "peft", "onnx")
ALL = "all"
BOUND = 1e-4
"""By how much logits may differ; of logits above 1, by this share of the largest."""
FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")
TEXTS = (
    "It rained, and nobody came.",
    "No.",
    "Who wrote this: a student at night, 3 hours late, or a machine? Both would deny it!",
    "A long text is cut where training cut it; what comes behind is never read. " * 60,
)
"""What is tried before files are put in place: short and long, together and alone."""


# --- what is exported ---------------------------------------------------------------------------


def find(here: Campaign, name: str, seed: int) -> tuple[Classifier, Run]:
    """The trained classifier of an arm, or of a trial, and its record below `runs/`.

    Raises `UserError` when there is no such training, when it is of another experiment than the
    study names now, and when its weights are gone.
    """
    arms = here.study.arms(
        here.setting, dict.fromkeys(here.trial_cells(), 1.0) | here.known_rates()
    )
    known: dict[str, Any] = {
        c.name: c.experiment for cells in here.asked_trials().values() for c in cells
    }
    known |= arms
    if name not in known:
        raise unknown("experiment", name, known)
    experiment = known[name]
    if not isinstance(experiment, Experiment):
        raise UserError(f"{name} has no trained weights; export an arm that is trained")
    place = (here.study_name, here.setting_name, name, seed)
    path, kept = (record_path(f, *place) for f in (here.checkout.runs, here.checkout.results))
    again = f"`lowrank-da run {place[0]} {name} --setting {place[1]} --seed {seed}`"
    if not path.exists():
        why = f"{kept} keeps no weights" if kept.exists() else f"{path} is missing"
        raise UserError(f"{why}; train it with {again}")
    run, weights = Run.load(path), path.with_suffix(".safetensors")
    if run.key != experiment.key:
        raise UserError(f"{path} is of another experiment than {name} is now; run {again}")
    if not weights.is_file():
        raise UserError(f"{weights} is missing; delete {path} and run {again}")
    return trained(experiment, seed, weights), run


def trained(experiment: Experiment, seed: int, weights: Path) -> Classifier:
    """The classifier with its trained weights, in float32 and evaluation mode."""
    model = Classifier(experiment, seed, steps=1).eval()
    try:
        model.load_trained(load_file(weights), str(weights))
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{weights} cannot be read ({error}); train it again") from error
    return model


# --- the export ---------------------------------------------------------------------------------


def export(model: Classifier, run: Run, wanted: str, out: Path) -> list[str]:
    """Write `wanted`, a format or `all` that are possible, below `out`; a line for each format.

    An earlier export in `out` is replaced as a whole, by one rename. Raises `UserError` for a
    format that the method does not have, for a folder with anything else in it, and when the
    logits of what was written are not the classifier's.
    """
    if wanted not in (*FORMATS, ALL):
        raise unknown("format", wanted, (*FORMATS, ALL))
    _refuse_foreign(out)
    whole = merged(model.encoder)
    reasons = {name: WHY_NOT[name](model, whole) for name in FORMATS}
    possible = [name for name in FORMATS if reasons[name] is None]
    if wanted != ALL and wanted not in possible:
        raise UserError(f"{wanted}: {reasons[wanted]}; possible: {', '.join(possible) or 'none'}")
    chosen = possible if wanted == ALL else [wanted]
    left_out = [f"{n}: {reasons[n]}" for n in FORMATS if wanted == ALL and n not in chosen]
    _quiet()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
            new = Path(name) / "new"
            loading = {}
            for one in chosen:
                (new / one).mkdir(parents=True)
                _write_tokenizer(model.experiment, new / one)
                lines = WRITERS[one](model, whole, new / one)
                loading[one] = Loading(lines, _difference(one, lines, model, new))
            card = model_card.text(run, model.experiment, loading, left_out, BOUND)
            (new / "README.md").write_text(card)
            if out.exists():
                os.replace(out, Path(name) / "old")
            os.replace(new, out)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror or error})") from error
    done = [f"{n}: logits differ by {how.difference:.1e} at most" for n, how in loading.items()]
    return [*done, *(f"left out, {line}" for line in left_out)]


def _refuse_foreign(out: Path) -> None:
    """Raise `UserError` unless `out` is free, empty or an earlier export and nothing else."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; name another folder with --out")
    inside = {path.name for path in out.iterdir()}
    card = out / "README.md"
    earlier = card.is_file() and card.read_text(errors="replace").startswith(model_card.MARK)
    strange = sorted(inside - {*FORMATS, card.name} if earlier else inside)
    if strange:
        raise UserError(f"{out} holds {strange[0]}, which is no export; name another with --out")


def _quiet() -> None:
    """Silence progress bars, and what the ONNX exporter tells of packages that nobody needs."""
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def _difference(name: str, lines: str, model: Classifier, folder: Path) -> float:
    """Run a format's lines: how far its logits are from the classifier's; `UserError` if too far.

    The longest text fills the short ones up; the first one alone is not filled up at all.
    """
    setting, worst = model.experiment.setting, 0.0
    for texts in (TEXTS, TEXTS[:1]):
        ids = setting.backbone.encode(texts, [None] * len(texts), setting.max_tokens)
        with torch.no_grad():
            ours = model(pack(ids))
        found: dict[str, Any] = {"folder": str(folder), "texts": list(texts)}
        try:
            exec(lines, found)
        except UserError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"{name}: these versions cannot run what was written ({why})"
            ) from error
        theirs = torch.as_tensor(found["logits"])
        far = float((theirs - ours).abs().max()) if theirs.shape == ours.shape else float("inf")
        if not far <= BOUND * max(1.0, float(ours.abs().max())):
            raise UserError(
                f"{name}: logits differ from the classifier's by {far:.1e}, more than {BOUND:g}"
                " allows; nothing was written"
            )
        worst = max(worst, far)
    return worst


def _write_tokenizer(experiment: Experiment, folder: Path) -> None:
    """The tokenizer as transformers' `AutoTokenizer` reads it, cutting as training cut."""
    backbone = experiment.setting.backbone
    tokenizer = backbone.tokenizer()
    transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=tokenizer.id_to_token(backbone.pad_token),
        model_max_length=experiment.setting.max_tokens,
        # No token types: a second text is told by its separator alone, as in training.
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def _write_head(model: Classifier, folder: Path) -> None:
    save_file(_copied(model.head), folder / "head.safetensors")


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: w.detach().clone().contiguous() for name, w in module.state_dict().items()}


# --- the lines of the card ----------------------------------------------------------------------

_POOLED: dict[Pooling, str] = {
    "first": "states[:, 0]",
    "last": "states[range(len(mask)), mask.sum(1) - 1]",
    "mean": "(states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)",
}
_LINES = """\
import torch
from safetensors.torch import load_file
from torch.nn.functional import linear
{imports}

tokenizer = AutoTokenizer.from_pretrained(f"{{folder}}/{name}")
{load}
# This head is not one of transformers' own: its classes for classification would start a new one.
head = load_file(f"{{folder}}/{name}/head.safetensors")
inputs = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
mask = inputs["attention_mask"]
with torch.no_grad():
    states = encoder(**inputs).last_hidden_state{part}
    pooled = {pooled}
    hidden = torch.tanh(linear(pooled, head["dense.weight"], head["dense.bias"]))
    logits = linear(hidden, head["out_proj.weight"], head["out_proj.bias"])
"""
_OWN_HEAD_LINES = """\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(f"{folder}/merged")
model = AutoModelForSequenceClassification.from_pretrained(f"{folder}/merged")
inputs = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
"""
_ONNX_LINES = """\
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(f"{folder}/onnx")
session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx")
inputs = tokenizer(texts, truncation=True, padding=True, return_tensors="np")
(logits,) = session.run(None, dict(inputs))
"""


# --- merged -------------------------------------------------------------------------------------


def merged(encoder: nn.Module) -> PreTrainedModel:
    """A copy of the encoder in which every LoRA layer is one plain linear map."""
    whole: PreTrainedModel = copy.deepcopy(encoder).requires_grad_(False)  # type: ignore[assignment]
    for name, layer in list(whole.named_modules()):
        if isinstance(layer, LoRALinear):
            weight = layer.merged().detach()
            plain = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None)
            plain.weight, plain.bias = nn.Parameter(weight, requires_grad=False), layer.bias
            whole.set_submodule(name, plain)
    return whole


def _plain_config(whole: PreTrainedModel, labels: Sequence[str]) -> Any:
    """The encoder's configuration with the classes' names, and with biases that BitFit added."""
    config = copy.deepcopy(whole.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    if config.model_type == "llama":
        biased = any(name.endswith("_proj.bias") for name in whole.state_dict())
        config.attention_bias = config.mlp_bias = biased
    return config


def _why_not_merged(model: Classifier, whole: PreTrainedModel) -> str | None:
    """Which module of the method's transformers has no place for, if there is one."""
    with torch.device("meta"):
        plain = _plain(_plain_config(whole, ()))
    strange = sorted(whole.state_dict().keys() ^ plain.state_dict().keys())
    if not strange:
        return None
    family = model.experiment.setting.backbone.family
    return f"{model.experiment.method.name} does not fit into transformers' {family} ({strange[0]})"


def _plain(config: Any) -> PreTrainedModel:
    """The encoder of transformers itself, of that configuration."""
    model: PreTrainedModel = AutoModel.from_config(config, **_unpooled(config))  # type: ignore[no-untyped-call]
    return model


def _unpooled(config: Any) -> dict[str, bool]:
    """Encoders of transformers come with a pooler, which nothing here has."""
    return {} if config.model_type == "llama" else {"add_pooling_layer": False}


def _write_merged(model: Classifier, whole: PreTrainedModel, folder: Path) -> str:
    """The encoder in transformers' names; the head within it where transformers has the same."""
    experiment = model.experiment
    backbone = experiment.setting.backbone
    config = _plain_config(whole, experiment.classes)
    if backbone.family == "roberta" and backbone.pooling == "first":
        # RoBERTa's own classification head is ours, and reads the first token.
        full = RobertaForSequenceClassification(config)
        full.roberta.load_state_dict(whole.state_dict())
        full.classifier.load_state_dict(model.head.state_dict())
        full.save_pretrained(folder)
        return _OWN_HEAD_LINES
    plain = _plain(config)
    plain.load_state_dict(whole.state_dict())
    plain.save_pretrained(folder)
    _write_head(model, folder)
    keywords = "".join(f", {name}={value}" for name, value in _unpooled(config).items())
    return _LINES.format(
        imports="from transformers import AutoModel, AutoTokenizer",
        name="merged",
        load=f'encoder = AutoModel.from_pretrained(f"{{folder}}/merged"{keywords})',
        part="",
        pooled=_POOLED[backbone.pooling],
    )


# --- peft ---------------------------------------------------------------------------------------


def _why_not_peft(model: Classifier, whole: PreTrainedModel) -> str | None:
    """Whether the method is one of peft's."""
    method = model.experiment.method
    if isinstance(method, PTuning) and method.side == "both":
        return "peft sets P-tuning's tokens on the left alone"
    has = isinstance(method, LoRA | Prompt | PTuning | Prefix)
    return None if has else f"peft has no {method.name}"


def _lora_in_peft(model: Classifier, method: LoRA) -> tuple[peft.PeftConfig, dict[str, Tensor]]:
    layers = {n: m for n, m in model.encoder.named_modules() if isinstance(m, LoRALinear)}
    config = peft.LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,  # type: ignore[arg-type]
        use_rslora=method.rank_stabilised,
        use_dora=method.decomposed,
        lora_dropout=method.dropout,
        # Full names: `output.dense` alone would also be the end of `attention.output.dense`.
        target_modules=list(layers),
    )
    weights: dict[str, Tensor] = {}
    for name, layer in layers.items():
        own = {"lora_A.weight": layer.lora_A, "lora_B.weight": layer.lora_B}
        if layer.magnitude is not None:
            own["lora_magnitude_vector"] = layer.magnitude
        weights |= {f"base_model.model.{name}.{part}": w for part, w in own.items()}
    return config, weights


def _tokens_in_peft(
    model: Classifier, method: Prompt | PTuning | Prefix
) -> tuple[peft.PeftConfig, dict[str, Tensor]]:
    """The tokens themselves, as peft keeps them, without the network that made them."""
    backbone: Backbone = model.experiment.setting.backbone
    encoder: Any = model.encoder
    heads, width = backbone.heads, backbone.width
    kind: type[peft.PromptLearningConfig]
    if isinstance(method, Prefix):
        heads, width = backbone.kv_heads or heads, backbone.map_shape("key")[1]
        # A row of peft's holds a token's keys and values of all layers, behind each other.
        rows = encoder.prefix.keys_values.permute(2, 0, 1, 3).flatten(1)
        kind = peft.PrefixTuningConfig
    else:
        rows, _ = encoder.virtual()
        kind = peft.PromptTuningConfig if isinstance(method, Prompt) else peft.PromptEncoderConfig
    config = kind(
        num_virtual_tokens=method.tokens,
        token_dim=width,
        num_attention_heads=heads,
        num_layers=backbone.layers,
        num_transformer_submodules=1,
    )
    return config, {"prompt_embeddings": rows}


def _write_peft(model: Classifier, whole: PreTrainedModel, folder: Path) -> str:
    """The method alone, for the same backbone's weights; and the head, which peft does not hold."""
    method, backbone = model.experiment.method, model.experiment.setting.backbone
    in_front = 0
    if isinstance(method, LoRA):
        config, weights = _lora_in_peft(model, method)
    else:
        assert isinstance(method, Prompt | PTuning | Prefix)
        config, weights = _tokens_in_peft(model, method)
        in_front = 0 if isinstance(method, Prefix) else method.tokens
    config.task_type, config.inference_mode = peft.TaskType.FEATURE_EXTRACTION, True
    config.save_pretrained(str(folder))
    copied = {name: w.detach().clone().contiguous() for name, w in weights.items()}
    save_file(copied, folder / "adapter_model.safetensors")
    _write_head(model, folder)
    return _LINES.format(
        imports="from peft import PeftModel\nfrom transformers import AutoTokenizer\n\n"
        "from lowrank_da.backbone import backbone",
        name="peft",
        load=f'base = backbone("{backbone.name}").load()\n'
        'encoder = PeftModel.from_pretrained(base, f"{folder}/peft").eval()',
        part=f"[:, {in_front}:]  # the virtual tokens come first" if in_front else "",
        pooled=_POOLED[backbone.pooling],
    )


# --- ONNX ---------------------------------------------------------------------------------------


def _why_not_onnx(model: Classifier, whole: PreTrainedModel) -> str | None:
    """Whether the packages that write and run graphs are there."""
    missing = [name for name in FOR_ONNX if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)} not installed, pip install -e '.[export]'" if missing else None


def _write_onnx(model: Classifier, whole: PreTrainedModel, folder: Path) -> str:
    """A graph from ids and mask to logits, for any number of texts and tokens.

    Raises `UserError` when torch cannot make one.
    """
    setting = model.experiment.setting
    padded = Padded(copy.deepcopy(whole), model.head, setting.backbone).eval()
    ids = torch.full((2, 8), setting.backbone.pad_token + 1)
    free = {0: "texts", 1: "tokens"}
    try:
        with warnings.catch_warnings():
            # It warns of its own deprecated calls, and that both inputs are of one shape.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                padded,
                (ids, torch.ones_like(ids)),
                folder / "model.onnx",
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes=(free, free),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"onnx: torch {torch.__version__} cannot export {model.experiment.method.name}"
            f" ({str(error).partition(chr(10))[0]}); choose another --format"
        ) from error
    return _ONNX_LINES


WRITERS: dict[str, Callable[[Classifier, PreTrainedModel, Path], str]] = {
    "merged": _write_merged,
    "peft": _write_peft,
    "onnx": _write_onnx,
}
"""By format: write into the folder; the lines that load it."""
WHY_NOT: dict[str, Callable[[Classifier, PreTrainedModel], str | None]] = {
    "merged": _why_not_merged,
    "peft": _why_not_peft,
    "onnx": _why_not_onnx,
}
"""By format: why this classifier cannot be written so; None where it can."""
