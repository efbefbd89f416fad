"""The machine: what is chosen, and what it says of itself."""

from typing import Any

import pytest
import torch

from lowrank_da import provenance
from lowrank_da.errors import UserError
from lowrank_da.machine import Machine


@pytest.mark.parametrize(
    ("flags", "precision"),
    [({"avx2"}, "32-true"), ({"amx_bf16"}, "bf16-mixed"), ({"avx512_bf16"}, "bf16-mixed")],
)
def test_bf16_is_chosen_where_the_processor_has_it(
    flags: set[str], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(provenance, "cpu_flags", lambda: frozenset(flags))
    chosen = Machine.choose()
    assert (chosen.device.type, chosen.precision) == ("cpu", precision)
    assert Machine.choose("cpu", "fp32").dtype == torch.float32
    assert Machine.choose("cpu", "bf16").dtype == torch.bfloat16


def test_a_card_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    native: dict[bool, str] = {True: "bf16-mixed", False: "32-true"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has, precision in native.items():
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        chosen = Machine.choose()
        assert (chosen.device.type, chosen.precision) == ("cuda", precision)
    assert Machine.choose("cuda", "fp32").precision == "32-true"
    assert Machine.choose("cpu").device.type == "cpu"


def test_threads_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    threads = [Machine.choose("cpu", workers=n).threads for n in (1, 2, 3, 8)]
    assert threads == [7, 3, 2, 1]
    assert Machine.choose("cpu", threads=2, workers=8).threads == 2
    assert Machine.choose("cpu", workers=3).alone == Machine.choose("cpu", threads=6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cuda",), "--device cuda: no CUDA device is there; use --device cpu"),
        (("cudda",), "unknown device 'cudda'; did you mean 'cuda'"),
        (("cpu", "bf61"), "unknown precision 'bf61'; did you mean 'bf16'"),
        (("cpu", "bf16", 0), "--threads 0: at least one"),
        (("cpu", "bf16", None, 0), "--workers 0: at least one"),
    ],
)
def test_a_machine_that_is_not_there_is_refused(
    arguments: tuple[Any, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        Machine.choose(*arguments)
