"""The small real models that bindings read: RoBERTa with random weights, in double precision."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowrank_da.backbone import TINY
from lowrank_da.batches import Batch, pack
from lowrank_da.classifier import Classifier
from lowrank_da.corpora.docstrings import Docstrings
from lowrank_da.experiment import Experiment, Setting
from lowrank_da.layers import LoRALinear
from lowrank_da.method import Method

BACKBONE = TINY
SETTING = Setting(corpus=Docstrings(), backbone=BACKBONE, max_tokens=64, epochs=1)
CLASSES = len(SETTING.corpus.labels)


def classifier(method: Method, weights: Sequence[float] | None = None, **others: Any) -> Classifier:
    """Encoder and head under seed 0, in evaluation mode; no text of the corpus is read."""
    experiment = Experiment(setting=SETTING, method=method, learning_rate=1e-3, **others)
    model = Classifier(experiment, 0, 1, weights).double().eval()
    for name, matrix in model.named_parameters():
        # As large as trained ones, so that gradients are not near to rounding.
        if matrix.ndim == 2 and "lora" not in name:
            nn.init.normal_(matrix, std=matrix.shape[1] ** -0.5)
    return model


def tokens(lengths: Sequence[int]) -> list[list[int]]:
    """Random ids of texts of these many tokens."""
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(4, BACKBONE.vocab, (n,), generator=generator).tolist() for n in lengths]


def texts(lengths: Sequence[int] = (9, 4, 6, 12, 7, 5)) -> Batch:
    """Random texts whose classes follow each other."""
    return pack(tokens(lengths), [i % CLASSES for i in range(len(lengths))])


def loss(model: Classifier, batch: Batch) -> Tensor:
    """The classifier's own, but in double precision."""
    return functional.cross_entropy(model(batch), batch.labels, model.class_weights)


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted maps by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}


def plain(model: Classifier, merged: bool) -> Classifier:
    """A copy in which each adapted map is one trained matrix: W + sAB, or without it W."""
    model = copy.deepcopy(model)
    for name, layer in adapters(model).items():
        weight = layer.merged() if merged else layer.weight
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight, linear.bias = nn.Parameter(weight.detach()), layer.bias
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, linear)
    return model


def entering(model: Classifier, module: nn.Module, batch: Batch) -> Tensor:
    """(rows, width) of what a module reads when the classifier reads the batch."""
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    model(batch)
    hook.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])


def gradients(model: Classifier, batch: Batch) -> dict[str, Tensor]:
    """`dL/dW` (in x out) of every adapted map's W + sAB."""
    whole = plain(model, merged=True)
    torch.autograd.backward(loss(whole, batch))
    return {name: whole.get_submodule(name).weight.grad.T for name in adapters(model)}  # type: ignore


def factors(layer: LoRALinear) -> tuple[Tensor, Tensor]:
    """A (in x r) and B (r x out) as the claims write them, at this moment."""
    return layer.lora_A.detach().T.clone(), layer.lora_B.detach().T.clone()


def away_from_start(model: nn.Module) -> None:
    """Give every B, which starts at zero, values as if it had been trained."""
    torch.manual_seed(1)
    for layer in adapters(model).values():
        nn.init.normal_(layer.lora_B, std=0.3)


def largest(*tensors: Tensor) -> float:
    """The largest absolute value; not a number, if any of them is none."""
    return float(torch.stack([tensor.detach().abs().max() for tensor in tensors]).max())


def step(rule: torch.optim.Optimizer, value: Tensor) -> None:
    """One of the optimizer's, down from this value."""
    rule.zero_grad()
    torch.autograd.backward(value)
    rule.step()


def minimise(parameters: Sequence[Tensor], value: Callable[[], Tensor]) -> None:
    """Bring a smooth convex function to its minimum, until its gradient is rounding."""
    options = {"lr": 1, "max_iter": 2000, "tolerance_grad": 1e-12, "tolerance_change": 1e-16}
    search = torch.optim.LBFGS(parameters, line_search_fn="strong_wolfe", **options)  # type: ignore

    def closure() -> Tensor:
        search.zero_grad()
        at = value()
        torch.autograd.backward(at)
        return at

    search.step(closure)  # type: ignore[no-untyped-call]
