"""The trunk: the frozen lower layers, whose states are the same in every step, computed once.

Where a method trains the top layers only and the lower ones draw no dropout, what enters the
lowest adapted layer depends on text, weights, length and arithmetic alone. It is written to
`trunks/` in the cache, under a name that hashes all four, by one process while others wait, and
read memory-mapped, or from the card's memory where it fits, by every epoch, seed, binary model and
trial on the same texts. The folder may be deleted while nothing trains: it is made again when
needed.

Where nothing of the encoder trains at all, what is kept is what the head reads: a vector a text.
"""

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch
import transformers
from filelock import FileLock
from torch import Tensor, nn

from lowrank_da import anatomy
from lowrank_da.backbone import Backbone
from lowrank_da.batches import Batches, Known
from lowrank_da.corpus import cache_home
from lowrank_da.encode import encode
from lowrank_da.errors import UserError
from lowrank_da.files import atomic
from lowrank_da.head import pool

ENCODING = 1
"""To be raised when `encode.py` or `attention.py` computes other numbers: old ones stay unread."""

SHARE_OF_FREE = 0.5
"""Of a card's free memory, the part that a trunk may take."""

_on_card: WeakValueDictionary[tuple[str, str], Tensor] = WeakValueDictionary()
"""The tables in cards' memory, by file and device, as long as somebody reads them."""


def known(
    encoder: nn.Module,
    backbone: Backbone,
    ids: Sequence[Sequence[int]],
    layers: int,
    device: torch.device,
    dtype: torch.dtype,
    *,
    budget: int,
    folder: Path | None = None,
) -> Known:
    """The states of the texts `ids` above the lowest `layers` layers of `encoder`, on `device`.

    They are of type `dtype`, computed in batches of at most `budget` tokens unless they lie in
    `folder` (by default `trunks` in the cache) already. Above all layers they are pooled, one
    float32 vector a text. Raises `UserError` where the disk is too small for them.
    """
    pooled = layers == backbone.layers
    kept = torch.float32 if pooled else dtype
    batches = Batches(ids, [0] * len(ids), budget=budget)
    # Longest first, whatever the budget: the file of one budget serves every other.
    order = [text for texts in batches.plan() for text in texts]
    rows = np.ones_like(batches.lengths) if pooled else batches.lengths
    ends = np.cumsum(rows[order])
    starts = np.empty(len(order), dtype=np.int64)
    starts[order] = ends - rows[order]
    shape = (int(ends[-1]), backbone.width)

    folder = cache_home() / "trunks" if folder is None else folder
    path = folder / f"{_key(encoder, backbone, ids, layers, device, dtype)}.states"
    size = shape[0] * shape[1] * kept.itemsize
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        computed = not path.is_file() or path.stat().st_size != size
        if computed:
            _refuse_small_disk(path, size)
            said = f"computing {layers} frozen layers once: {size / 1e6:.1f} MB in {path}"
            print(said, file=sys.stderr)
            _write(path, encoder, backbone, batches, layers, device, dtype)
    on_card = _on_card.get((str(path), str(device)))
    if on_card is not None:
        return Known(layers, on_card, tuple(starts.tolist()), pooled, computed)
    table = torch.from_file(str(path), shared=False, size=shape[0] * shape[1], dtype=kept)
    table = table.view(shape)
    if device.type == "cuda" and size < SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]:
        table = _on_card[(str(path), str(device))] = table.to(device)
    return Known(layers, table, tuple(starts.tolist()), pooled, computed)


def _write(
    path: Path,
    encoder: nn.Module,
    backbone: Backbone,
    batches: Batches,
    layers: int,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Compute the states, batch after batch of the plan, into the file."""
    pooled = layers == backbone.layers
    training = encoder.training
    encoder.eval()
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as file,
        torch.no_grad(),
        torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
    ):
        for texts in batches.plan():
            states, packing = encode(encoder, backbone, batches.batch(texts).to(device), layers)
            if pooled:
                states = pool(states, packing, backbone.pooling)
            kept = states.to("cpu", torch.float32 if pooled else dtype).contiguous()
            file.write(kept.view(torch.uint8).numpy().data)
    encoder.train(training)


def _key(
    encoder: nn.Module,
    backbone: Backbone,
    ids: Sequence[Sequence[int]],
    layers: int,
    device: torch.device,
    dtype: torch.dtype,
) -> str:
    """A hash of all that the states depend on: weights, texts, depth, and arithmetic."""
    versions = f"{ENCODING} {torch.__version__} {transformers.__version__}"
    where = device.type if device.type != "cpu" else f"cpu {torch.get_num_threads()}"
    arithmetic = f"{versions} {where} {dtype} {layers} {backbone.config().to_json_string()}"
    digest = hashlib.sha256(arithmetic.encode())
    parts = [anatomy.embeddings(encoder), *anatomy.layers(encoder)[:layers]]
    if layers == backbone.layers:
        parts = [encoder]
        digest.update(backbone.pooling.encode())
    for weight in (w for part in parts for w in part.state_dict().values()):
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    for text in ids:
        digest.update(np.asarray([len(text), *text], dtype=np.int32).tobytes())
    return digest.hexdigest()[:32]


def _refuse_small_disk(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise UserError(
            f"the frozen layers' states need {size / 1e9:.1f} GB in {path.parent}, where"
            f" {free / 1e9:.1f} GB are free; point LOWRANK_DA_CACHE to a larger disk"
        )
