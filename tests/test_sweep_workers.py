"""Sweeps by several processes on real storages: SQLite, PostgreSQL, Ray; and Optuna's dashboard."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import NoReturn

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from lowrank_da.ray_workers import share
from lowrank_da.run import WINNER, load_all
from lowrank_da.sweep import QUEUED, SURPLUS
from lowrank_da.sweep_storage import storage

TESTS = Path(__file__).parent
RANKS = (1, 2, 3, 4, 5, 6)
SETTINGS = '"""One setting, of seconds."""\n\nimport toy\n\nroom = toy.setting(epochs=60)\n'
SWEEP = f'''
"""Ranks on the toy corpus."""

from lowrank_da.experiment import Experiment
from lowrank_da.methods.lora import LoRA

SEEDS = {{"room": (0,)}}
THEORY = ()


def grid(setting):
    return {{"rank": {RANKS}}}


def propose(trial, setting):
    method = LoRA(rank=trial.suggest_int("rank", 1, 8))
    return Experiment(setting=setting, method=method, learning_rate=0.02)
'''
MINUTES = 5
"""After which a test gives up waiting."""
_number = count()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose one sweep is `ranks`."""
    folder = tmp_path / "checkout" / "experiments"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("settings", SETTINGS), ("ranks", SWEEP)):
        (folder / f"{name}.py").write_text(text)
    return folder.parent


def do_without(what: str) -> NoReturn:
    """Skip the test visibly, or fail it where services are required."""
    if os.environ.get("LOWRANK_DA_REQUIRE_SERVICES") == "1":
        pytest.fail(what)
    pytest.skip(what)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server of the tests' own."""
    # The server's user must be able to enter it: pytest's own folders are closed to others.
    folder, port = tempfile.mkdtemp(prefix="sweeps-", dir="/tmp"), free_port()
    script = ["bash", str(TESTS / "postgres.sh")]
    try:
        done = subprocess.run(
            [*script, "start", folder, str(port)], capture_output=True, text=True, check=False
        )
        if done.returncode == 3:
            do_without(done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
        yield f"postgresql://sweeps@127.0.0.1:{port}"
    finally:
        subprocess.run([*script, "stop", folder], check=False, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture
def url(request: pytest.FixtureRequest, root: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{root / 'sweep.db'}"
    if find_spec("psycopg") is None:
        do_without("pip install -e '.[postgresql]'")
    import psycopg

    server, base = request.getfixturevalue("postgres"), f"base{next(_number)}"
    with psycopg.connect(f"{server}/sweeps", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {base}")
    return f"{server}/{base}".replace("postgresql:", "postgresql+psycopg:")


def command(url: str, *more: str) -> list[str]:
    start = [sys.executable, "-m", "lowrank_da.cli", "sweep", "ranks", "--setting", "room"]
    return [*start, "--storage", url, "--device", "cpu", "--precision", "fp32", *more]


def environment(root: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, (root, TESTS, TESTS.parent)))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@contextmanager
def worker(root: Path, url: str, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does trials; it does not outlive the test."""
    asked = command(url, "--quiet", "--seed", str(seed))
    process = subprocess.Popen(asked, cwd=root, env=environment(root))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(root: Path, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(url, *more),
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


opened = cache(storage)
"""One connection a base, however often it is asked."""


def trials(url: str) -> list[FrozenTrial]:
    """All of the study, of which there may be none yet."""
    names = optuna.get_all_study_names(opened(url))
    return optuna.load_study(study_name=names[0], storage=opened(url)).trials if names else []


def running(url: str) -> list[FrozenTrial]:
    """Those that train: their workers have said what."""
    alive = [t for t in trials(url) if t.state is TrialState.RUNNING]
    return [trial for trial in alive if "key" in trial.user_attrs]


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60 * MINUTES
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def assert_each_rank_once(root: Path, url: str) -> None:
    """Every trial is complete, was given up and done again, or was another one's double."""
    states = Counter(t.state for t in trials(url) if SURPLUS not in t.user_attrs)
    assert set(states) <= {TrialState.COMPLETE, TrialState.FAIL}
    complete = [t for t in trials(url) if t.state is TrialState.COMPLETE]
    assert sorted(t.params["rank"] for t in complete) == list(RANKS)
    assert len({t.user_attrs["key"] for t in complete}) == len(RANKS)
    records = load_all(root / "runs", "ranks", "room")
    for trial in complete:
        (run,) = records[trial.user_attrs["name"]]
        assert run.key == trial.user_attrs["key"]
        assert run.result["splits"]["select"]["macro_f1"] == trial.values[0]


def held_in_a_trial(process: subprocess.Popen[bytes], url: str) -> bool:
    """Whether the only worker could be stopped while it trains; else it goes on."""
    if not running(url):
        return False
    process.send_signal(signal.SIGSTOP)
    if running(url):
        return True
    process.send_signal(signal.SIGCONT)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_a_worker_killed_in_a_trial_loses_nothing(root: Path, url: str) -> None:
    with worker(root, url, 0) as first:
        wait_until(lambda: held_in_a_trial(first, url))
        (lost,) = running(url)
        first.kill()
        first.wait()
        with worker(root, url, 1) as second:
            assert second.wait(60 * MINUTES) == 0
    assert_each_rank_once(root, url)
    (failed,) = (t for t in trials(url) if t.state is TrialState.FAIL)
    assert failed.number == lost.number
    done_again = [t for t in trials(url) if t.user_attrs.get(QUEUED) == lost.user_attrs[QUEUED]]
    assert [t.state for t in done_again].count(TrialState.COMPLETE) == 1
    workers = {t.user_attrs["worker"] for t in trials(url) if t.number > lost.number}
    assert lost.user_attrs["worker"] not in workers


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_workers_that_start_together_on_a_new_storage(root: Path, url: str) -> None:
    with ExitStack() as stack:
        started = [stack.enter_context(worker(root, url, seed)) for seed in range(3)]
        assert [one.wait(60 * MINUTES) for one in started] == [0, 0, 0]
    assert_each_rank_once(root, url)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_two_workers_share_a_grid_and_a_second_call_judges_once(root: Path, url: str) -> None:
    said = finish(root, url, "--workers", "2").stdout
    assert "The best on select is trial" in said
    assert_each_rank_once(root, url)
    done = [t for t in trials(url) if t.state is TrialState.COMPLETE]
    assert len({t.user_attrs["worker"] for t in done}) == 2, "one did it all"
    (winner,) = load_all(root / "runs", "ranks", "room")[WINNER]
    assert "id" in winner.result["splits"]
    before = {path: path.read_bytes() for path in (root / "runs").rglob("*.json")}
    finish(root, url, "--workers", "2")
    assert {path: path.read_bytes() for path in (root / "runs").rglob("*.json")} == before


def test_a_workers_share_lets_all_run_at_once() -> None:
    assert share([4, 4], 2) == 4
    assert share([4, 4], 4) == 2
    assert share([4, 4], 3) == 2
    assert share([8, 2], 2) == 4
    assert share([1, 1], 9) == 1


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_workers_on_two_nodes_of_ray(root: Path, url: str) -> None:
    if find_spec("ray") is None:
        do_without("pip install -e '.[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        done = finish(root, url, "--workers", "2", "--ray", cluster.address)
    finally:
        cluster.shutdown()
    assert_each_rank_once(root, url)
    told = [line for line in done.stderr.splitlines() if line.startswith("worker ")]
    assert len(told) == 2, done.stderr
    assert all(line.endswith("exit code 0") for line in told)
    assert len({line.split()[4] for line in told}) == 2, "both ran on one node"


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
def test_the_dashboard_opens_the_study(root: Path, url: str) -> None:
    program = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
    if program is None:
        do_without("pip install -e '.[dashboard]'")
    finish(root, url, "--trials", "2", "--quiet")
    port = free_port()
    served = subprocess.Popen([program, url, "--host", "127.0.0.1", "--port", str(port)])

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def answers() -> bool:
        assert served.poll() is None, "the dashboard has ended"
        try:
            return bool(get("/dashboard/"))
        except OSError:
            return False

    try:
        wait_until(answers)
        (study,) = json.loads(get("/api/studies"))["study_summaries"]
        assert study["study_name"] == "ranks/room"
        whole = json.loads(get(f"/api/studies/{study['study_id']}"))
        complete = [t for t in whole["trials"] if t["state"] == "Complete"]
        assert len(complete) == 2
        assert {"key", "macro_f1", "adapter_parameters", "seconds", "peak_memory_bytes"} <= {
            attribute["key"] for trial in complete for attribute in trial["user_attrs"]
        }
    finally:
        served.terminate()
        served.wait()
