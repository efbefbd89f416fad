"""A sweep's workers on a Ray cluster: each is one task, which runs one worker's command.

Ray only says where a worker runs; what it does next is said by the storage. All nodes see the
checkout and its `runs/` under the same path.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowrank_da.errors import UserError

TOLD = ("PYTHONPATH", "LOWRANK_DA_", "PG", "HF_")
"""How the environment variables begin that workers get from the one who asks for them."""
LOST = -1
"""The exit code of a worker whose node or task was lost: its trial is done again by another."""


def share(cpus: Sequence[float], workers: int) -> int:
    """Processors that each of `workers` asks for, of nodes with so many `cpus`: one at least.

    So many that all workers run at once, and no more than the largest node has.
    """
    fits = range(int(max(cpus)), 0, -1)
    return next((n for n in fits if sum(int(own // n) for own in cpus) >= workers), 1)


def run(commands: Sequence[list[str]], root: Path, device: str, address: str) -> list[int]:
    """The exit codes of `commands`, run in `root` on the cluster at `address`.

    Raises `UserError` where Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray needs Ray; run pip install -e '.[ray]'") from error

    try:
        ray.init(address=address)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: no cluster answers ({_line(error)})") from error
    try:
        alive = [node["Resources"].get("CPU", 1.0) for node in ray.nodes() if node["Alive"]]
        needs: dict[str, Any] = {"num_cpus": share(alive, len(commands))}
        if device == "cuda":
            needs["num_gpus"] = 1
        told = {name: value for name, value in os.environ.items() if name.startswith(TOLD)}

        def work(command: list[str]) -> tuple[int, str]:
            done = subprocess.run(command, cwd=root, env=os.environ | told, check=False)
            return done.returncode, ray.get_runtime_context().get_node_id()

        task_of = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **needs)(work)
        # On how many nodes they are the records cannot know: they say how many they are at most.
        part = ["--threads", str(needs["num_cpus"]), "--workers", str(len(commands))]
        codes = []
        for number, task in enumerate([task_of.remote([*own, *part]) for own in commands]):
            try:
                code, node = ray.get(task)
                print(f"worker {number} on node {node}: exit code {code}", file=sys.stderr)
            except ray.exceptions.RayTaskError as error:  # the checkout is not on that node, say
                code = 1
                print(f"worker {number} did not start: {_line(error.cause)}", file=sys.stderr)
            except ray.exceptions.RayError as error:
                code = LOST
                print(f"worker {number} was lost: {_line(error)}", file=sys.stderr)
            codes.append(code)
        return codes
    finally:
        ray.shutdown()


def _line(error: BaseException) -> str:
    """What it says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
