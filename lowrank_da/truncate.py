"""A trained LoRA cut to smaller ranks: what each map leaves out, and what that costs on *select*.

Of all matrices of rank r the first r terms of its singular value decomposition are nearest to an
update `s A B` (Eckart & Young; claim C10). They leave out `sum_{i>r} sigma_i^2`, which is what
`left_out` adds up over the maps. What the loss makes of that below a non-linearity no theorem
tells: it is measured.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lowrank_da import provenance
from lowrank_da.classifier import Classifier
from lowrank_da.corpus import SELECT
from lowrank_da.errors import UserError
from lowrank_da.experiment import Experiment
from lowrank_da.export import trained
from lowrank_da.layers import LoRALinear
from lowrank_da.machine import Machine
from lowrank_da.prepared import prepare
from lowrank_da.run import TRIAL, Predictions, Run, score


def cut(layer: LoRALinear, rank: int) -> float:
    """Put the nearest product of this rank in the place of A B; the squared norm left out of s A B.

    The factors keep their shapes; what they have beyond the rank is zero.
    """
    a, b = layer.lora_A.detach().T.double(), layer.lora_B.detach().double()
    (left, of_a), (right, of_b) = torch.linalg.qr(a), torch.linalg.qr(b)
    u, sigma, v = torch.linalg.svd(of_a @ of_b.T, full_matrices=False)
    kept = sigma.clone()
    kept[rank:] = 0
    root = kept.sqrt()
    with torch.no_grad():
        layer.lora_A.zero_()[: len(sigma)] = (left @ u * root).T
        layer.lora_B.zero_()[:, : len(sigma)] = right @ v.T * root
    return float(layer.scale**2 * (sigma[rank:] ** 2).sum())


def judged(model: Classifier, experiment: Experiment, machine: Machine) -> NDArray[np.float64]:
    """(texts, classes) probabilities of all texts of *select*, in their order."""
    data = prepare(experiment.setting, for_trial=True)
    rows = np.zeros((len(data.ids[SELECT]), len(experiment.classes)))
    model = model.to(machine.device).eval()
    half = machine.dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast(machine.device.type, torch.bfloat16, enabled=half):
        for batch in data.all_texts(SELECT, experiment).epoch():
            logits = model(batch.to(machine.device)).float()
            rows[batch.index.numpy()] = logits.softmax(dim=-1).cpu().numpy()
    return rows


def log_loss(predictions: Predictions, probabilities: NDArray[np.float64]) -> float:
    """The mean of -log p of the true class."""
    true = probabilities[np.arange(len(probabilities)), predictions.label]
    return float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())


def curve(
    run: Run,
    experiment: Experiment,
    folder: Path,
    root: Path,
    ranks: Sequence[int],
    machine: Machine,
) -> list[Run]:
    """The trained run cut to each rank, as records on *select*: `grid/cut_<rank>`.

    Their results also hold `left_out` and `log_loss`; they name the commit of `root`, now. Raises
    `UserError` when the weights are gone, and for a classifier of some of the classes only.
    """
    weights = run.path(folder).with_suffix(".safetensors")
    if not weights.is_file():
        raise UserError(f"{weights} is missing; delete {run.path(folder)} and train it again")
    if run.labels != run.corpus_labels:
        raise UserError(f"{run.name} tells {', '.join(run.labels)} apart alone; cut one of all")
    return [_cut_run(run, experiment, weights, root, rank, machine) for rank in ranks]


def _cut_run(
    run: Run, experiment: Experiment, weights: Path, root: Path, rank: int, machine: Machine
) -> Run:
    model = trained(experiment, run.seed, weights)
    layers = [m for m in model.encoder.modules() if isinstance(m, LoRALinear)]
    left_out = sum(cut(layer, rank) for layer in layers)
    probabilities, now = judged(model, experiment, machine), provenance.commit(root)
    texts = prepare(experiment.setting, for_trial=True).splits
    said = Predictions.of(texts[SELECT], texts.labels, probabilities)
    result = {
        "splits": {SELECT: score(said, run.labels, run.corpus_labels)},
        "parameters": run.result["parameters"],
        "corpus": run.result["corpus"],
        "left_out": float(f"{left_out:.6g}"),
        "log_loss": float(f"{log_loss(said, probabilities):.6g}"),
    }
    return replace(
        run,
        name=f"{TRIAL}cut_{rank}",
        key=hashlib.sha256(f"{run.key} cut to {rank}".encode()).hexdigest()[:16],
        experiment={"is": "cut", "of": run.experiment, "rank": rank},
        result=result,
        measured={},
        made_by=run.made_by
        | now
        | {
            "dirty": run.made_by["dirty"] or now["dirty"],
            "made_from": [{"name": run.name, "key": run.key, "seed": run.seed}],
        },
        predictions={SELECT: said},
    )
