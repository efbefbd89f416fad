"""The peers: transformers' `Trainer`, with peft for LoRA, as it comes and as fast as it can be.

As it comes: the stock classification model, float32, batches of 8 in random order, the model
configuration's own dropout. Tuned: our model (same head, same dropout), bfloat16 autocast over
frozen weights that are stored in it, batches of our size grouped by length, the attention that the
caller found the faster, and no cast or synchronisation that the result does not need. Both are
trained with the optimizer, passes, rates and linear schedule of the same `Experiment`. Nothing is
compiled: that would cost more than it saves in trainings as short as these.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import numpy as np
import peft
import torch
from numpy.typing import NDArray
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from lowrank_da import metrics
from lowrank_da.anatomy import linear_maps
from lowrank_da.backbone import Backbone
from lowrank_da.corpus import SELECT, TRAIN
from lowrank_da.experiment import Experiment
from lowrank_da.machine import Machine
from lowrank_da.methods.full import Full
from lowrank_da.methods.lora import LoRA
from lowrank_da.prepared import Prepared

Attention = Literal["sdpa", "eager"]
ATTENTIONS: tuple[Attention, ...] = ("sdpa", "eager")
PREDICTED_AT_ONCE = 64


@dataclass(frozen=True)
class Tuning:
    """As fast as the library can be: which of its attentions is the faster here."""

    attention: Attention


class MeanPooled(BertForSequenceClassification):  # type: ignore[no-untyped-call]
    """transformers' BERT under our head: its pooler reads the mean over the real tokens."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """(texts, classes) `logits`, and the mean cross-entropy `loss` where `labels` are given.

        peft passes further arguments, all at their defaults.
        """
        states = self.bert(input_ids, attention_mask=attention_mask)[0].float()
        real = attention_mask.unsqueeze(-1)
        mean = (states * real).sum(dim=1) / real.sum(dim=1)
        # The pooler is dense and tanh on the first of the tokens that it is given.
        pooler = cast(nn.Module, self.bert.pooler)
        hidden = self.dropout(pooler(mean.unsqueeze(1)))
        out = {"logits": self.classifier(hidden)}
        if labels is not None:
            out["loss"] = functional.cross_entropy(out["logits"].float(), labels)
        return out


def build(experiment: Experiment, seed: int, dtype: torch.dtype, tuning: Tuning | None) -> Any:
    """The untrained model, on the experiment's pretrained weights; tuned unless `tuning` is None.

    Raises `ValueError` for a method other than full and LoRA, and for mean pooling on RoBERTa.
    """
    backbone, method = experiment.setting.backbone, experiment.method
    set_seed(seed)
    config = backbone.config()
    config.num_labels = len(experiment.classes)
    if tuning is not None:
        config.hidden_dropout_prob = experiment.hidden_dropout
        config.attention_probs_dropout_prob = experiment.attention_dropout
    model: PreTrainedModel
    if tuning is None or backbone.pooling == "first":
        model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    elif isinstance(config, BertConfig):
        model = MeanPooled(config)
    else:
        raise ValueError(f"{backbone.name}: mean pooling is there for BERT alone")
    body = model.base_model
    strange = body.load_state_dict(backbone.load().state_dict(), strict=False)
    assert not strange.unexpected_keys
    assert all(key.startswith("pooler.") for key in strange.missing_keys)
    if tuning is not None:
        model.set_attn_implementation(tuning.attention)
    if isinstance(method, Full):
        return model
    if not isinstance(method, LoRA):
        raise ValueError(f"{method.name}: the peers are full fine-tuning and LoRA")
    adapted = peft.get_peft_model(model, _lora_config(model, method, tuning is not None))
    if tuning is not None:
        for parameter in adapted.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
    return adapted


def _lora_config(model: PreTrainedModel, method: LoRA, whole_head: bool) -> peft.LoraConfig:
    """LoRA on the same maps; `whole_head` trains BERT's pooler too, which peft leaves frozen."""
    names = {id(module): name for name, module in model.named_modules()}
    maps = [
        names[id(getattr(parent, attribute))]
        for _, target, parent, attribute in linear_maps(model.base_model)
        if target in method.targets
    ]
    pooler = getattr(model.base_model, "pooler", None) is not None
    return peft.LoraConfig(
        task_type="SEQ_CLS",
        r=method.rank,
        lora_alpha=method.alpha,  # type: ignore[arg-type]
        lora_dropout=method.dropout,
        target_modules=maps,
        modules_to_save=["classifier", "pooler"] if whole_head and pooler else None,
    )


def texts_of(data: Prepared, role: str, experiment: Experiment) -> list[dict[str, Any]]:
    """A role's texts of the experiment's classes as `Trainer` reads them, tokenised as ours are."""
    batches = data.batches(role, experiment)
    return [
        {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids), "labels": label}
        for ids, label in zip(batches.ids, batches.labels, strict=True)
    ]


def collator(backbone: Backbone) -> DataCollatorWithPadding:
    """Pads a batch to its longest text."""
    tokenizer = backbone.tokenizer()
    pad = tokenizer.id_to_token(backbone.pad_token)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad)  # type: ignore[no-untyped-call]
    return DataCollatorWithPadding(fast)


def arguments(
    experiment: Experiment, seed: int, machine: Machine, tuned: bool, folder: Path
) -> TrainingArguments:
    """What `Trainer` is told; but for `tuned`, its defaults."""
    more: dict[str, Any] = {}
    if tuned:
        texts = experiment.batch_tokens // experiment.setting.max_tokens
        more = {
            "per_device_train_batch_size": max(1, texts),
            "bf16": machine.dtype == torch.bfloat16,
            "train_sampling_strategy": "group_by_length",
            "optim": "adamw_torch_fused",
            "logging_nan_inf_filter": False,
            "dataloader_num_workers": 0,
        }
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=experiment.setting.epochs,
        learning_rate=experiment.learning_rate,
        weight_decay=experiment.weight_decay,
        warmup_steps=experiment.warmup,  # below 1 it is a share of the steps
        seed=seed,
        use_cpu=machine.device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **more,
    )


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained peer."""

    model: nn.Module
    seconds: float
    """Of the training alone, by `Trainer`'s own clock."""
    whole_seconds: float
    """With building the model and whatever `Trainer` prepares."""


def fit(
    experiment: Experiment,
    data: Prepared,
    machine: Machine,
    seed: int = 0,
    tuning: Tuning | None = None,
    keep_best: bool = False,
) -> Fitted:
    """Train on *train*; with `keep_best` keep the epoch that is best on *select*, as ours does."""
    start = time.perf_counter()
    model = build(experiment, seed, machine.dtype, tuning)
    best = _Best(experiment, data, machine)
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=arguments(experiment, seed, machine, tuning is not None, Path(folder)),
            data_collator=collator(experiment.setting.backbone),
            train_dataset=texts_of(data, TRAIN, experiment),
            callbacks=[best] if keep_best else None,
        )
        trainer.remove_callback(PrinterCallback)
        # Under autocast peft would cast every input to float32, to be cast back at once.
        with disable_input_dtype_casting(model, active=tuning is not None):
            done = trainer.train()
    if keep_best:
        best.restore(model)
    return Fitted(model, done.metrics["train_runtime"], time.perf_counter() - start)


class _Best(TrainerCallback):
    """Keeps the trained weights of the epoch that is best on *select*, the first of equals."""

    def __init__(self, experiment: Experiment, data: Prepared, machine: Machine) -> None:
        self.experiment, self.data, self.machine = experiment, data, machine
        self.f1, self.weights = -1.0, dict[str, Tensor]()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        texts = texts_of(self.data, SELECT, self.experiment)
        said = probabilities(more["model"], texts, self.experiment.setting.backbone, self.machine)
        true = np.array([text["labels"] for text in texts])
        f1 = metrics.macro_f1(metrics.confusion_matrix(true, said.argmax(axis=1), said.shape[1]))
        if f1 > self.f1:
            self.f1 = f1
            named = more["model"].named_parameters()
            self.weights = {n: p.detach().clone() for n, p in named if p.requires_grad}

    def restore(self, model: nn.Module) -> None:
        """Put the kept weights back."""
        model.load_state_dict(self.weights, strict=False)


def probabilities(
    model: nn.Module, texts: Sequence[dict[str, Any]], backbone: Backbone, machine: Machine
) -> NDArray[np.float32]:
    """(n, classes) of the texts, in their order."""
    model.eval()
    collate, half = collator(backbone), machine.dtype != torch.float32
    parts = []
    for first in range(0, len(texts), PREDICTED_AT_ONCE):
        batch = collate(list(texts[first : first + PREDICTED_AT_ONCE]))
        with torch.no_grad(), torch.autocast(machine.device.type, machine.dtype, enabled=half):
            out = model(
                input_ids=batch["input_ids"].to(machine.device),
                attention_mask=batch["attention_mask"].to(machine.device),
            )
        parts.append(out["logits"].float().softmax(dim=-1).cpu())
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found
