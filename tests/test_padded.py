"""Padded: transformers' own way with ids and a mask gives the packed classifier's logits."""

import pytest
import torch
import toy
from tiny_models import TINY_BERT, padded, texts

from lowrank_da import discover, export
from lowrank_da.backbone import TINY, TINY_DECODER, Backbone
from lowrank_da.batches import pack
from lowrank_da.classifier import Classifier
from lowrank_da.method import Method, method
from lowrank_da.methods.p_tuning import PTuning
from lowrank_da.padded import Padded

FAMILIES = {"roberta": TINY, "bert": TINY_BERT, "decoder": TINY_DECODER}
METHODS: dict[str, Method] = {n: method(n)() for n in discover.names("lowrank_da.methods")} | {
    "p_tuning-left": PTuning(tokens=3, side="left"),
    "p_tuning-odd": PTuning(tokens=5),
}


def moved(backbone: Backbone, how: Method, seed: int = 0) -> Classifier:
    """A classifier of the toy's classes, all that trains away from its start."""
    setting = toy.setting(backbone=backbone)
    model = Classifier(toy.experiment(setting=setting, method=how), seed, steps=1).eval()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.trained().values():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("backbone", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.parametrize("how", METHODS.values(), ids=list(METHODS))
@torch.no_grad()
def test_logits_are_the_packed_classifiers_on_either_side(
    how: Method, backbone: Backbone, side: str
) -> None:
    model = moved(backbone, how)
    lengths = (9, 1, 6)
    ours = model(pack(texts(backbone, lengths)))
    rectangle = Padded(export.merged(model.encoder), model.head, backbone).eval()
    ids, mask = padded(backbone, lengths, side)
    theirs = rectangle(ids, mask.long())
    assert (ours - ours[0]).abs().max() > 1e-3
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    more = torch.full((3, 4), backbone.pad_token)
    rows = [more, ids] if side == "left" else [ids, more]
    masks = [torch.zeros_like(more), mask] if side == "left" else [mask, torch.zeros_like(more)]
    further = rectangle(torch.cat(rows, 1), torch.cat(masks, 1).long())
    torch.testing.assert_close(further, ours, rtol=0, atol=1e-5)
