"""The machine that a training runs on, and what can be read off it."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import torch

from lowrank_da import energy, provenance
from lowrank_da.errors import UserError, unknown

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = {"bf16": "bf16-mixed", "fp32": "32-true"}
"""Lightning's names of ours."""


@dataclass(frozen=True)
class Machine:
    """Where, in which precision and with how many threads to train, and how often at a time."""

    device: torch.device
    precision: str
    """`bf16-mixed` where the machine computes in bfloat16, else `32-true`."""
    threads: int
    """Of the processor, for one training: another number is another rounding."""
    workers: int = 1
    """Trainings at a time, which share the machine."""

    @classmethod
    def choose(
        cls,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        workers: int = 1,
    ) -> "Machine":
        """By device (auto, cpu, cuda), precision (auto, bf16, fp32), threads and workers.

        Without `threads` those that PyTorch has are divided among the workers. Raises `UserError`
        for another word, for a number below one, and for cuda without a card.
        """
        for option, number in (("threads", threads), ("workers", workers)):
            if number is not None and number < 1:
                raise UserError(f"--{option} {number}: at least one is needed")
        if device not in DEVICES:
            raise unknown("device", device, DEVICES)
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise UserError("--device cuda: no CUDA device is there; use --device cpu")
        chosen = "cuda" if there and device != "cpu" else "cpu"
        if precision not in ("auto", *PRECISIONS):
            raise unknown("precision", precision, ("auto", *PRECISIONS))
        if precision == "auto":
            if chosen == "cuda":
                has = torch.cuda.is_bf16_supported(including_emulation=False)
            else:
                has = bool(provenance.cpu_flags() & {"avx512_bf16", "amx_bf16"})
            precision = "bf16" if has else "fp32"
        return cls(
            torch.device(chosen),
            PRECISIONS[precision],
            threads or max(1, torch.get_num_threads() // workers),
            workers,
        )

    @property
    def dtype(self) -> torch.dtype:
        """In which matrix products are computed."""
        return torch.bfloat16 if self.precision == "bf16-mixed" else torch.float32

    @property
    def alone(self) -> "Machine":
        """The same for one training at a time, which gets the threads of all."""
        return replace(self, threads=self.threads * self.workers, workers=1)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """PyTorch with this machine's threads, and afterwards with those that it had."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @property
    def name(self) -> str:
        """The card's name, or `cpu`."""
        return "cpu" if self.device.type == "cpu" else torch.cuda.get_device_name(self.device)

    def peak_memory(self) -> int:
        """Bytes: on a card, of its memory; else the process' largest resident size so far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def energy_counters(self) -> list[energy.Counter]:
        """What measures its joules: the processor's packages or the card; none where unreadable."""
        if self.device.type == "cpu":
            return energy.packages()
        return energy.card(f"GPU-{torch.cuda.get_device_properties(self.device).uuid}")

    def peak_flops(self) -> float:
        """Operations a second of a large matrix product, measured once a process."""
        return _peak_flops(self)


@cache
def _peak_flops(machine: Machine) -> float:
    """Operations a second of a large matrix product, the best of a second's trials."""
    size = 2048 if machine.device.type == "cpu" else 8192
    a = torch.randn(size, size).to(machine.device, machine.dtype)
    best, end = 0.0, time.perf_counter() + 1.0
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(4):
            a @ a
        if machine.device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - start))
    return best
