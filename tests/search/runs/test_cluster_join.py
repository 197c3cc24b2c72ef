"""`winnow search --address` on a cluster of two nodes that `ray start` made on this machine, which loses a worker."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search.cli.main import main
from search.runs.directory import RunDirectory
from search.study.storage.store import read_trials
from search.study.trials import STUDY, rounds_of
from tests.search.json_shape import of_table, rows_of_run
from tests.search.pipeline.test_end_to_end import USERS_MODEL
from tests.search.processes import Program
from tests.search.tiny import write_config

pytestmark = pytest.mark.ray

SMALL = ["--object-store-memory=100000000", "--disable-usage-stats"]
SETTINGS: dict[str, Any] = {
    "space": {
        "model": {"name": "my_slow_models:network", "width": {"choice": [4, 6]}}
        | dict.fromkeys(("depth", "norm", "pooling"))
    },
    "search": {"trials": 3, "early_stopping": {"method": "none"}},
}


@dataclass(frozen=True)
class Outcome:
    """What a search on the cluster left, and the nodes that it ran on."""

    run: RunDirectory
    status: int | None
    out: str
    err: str
    lost: list[int]
    nodes: tuple[Program, ...]


def free_port() -> int:
    """Return a free port outside 10002 to 19999, from which Ray's workers take theirs."""
    for port in range(21000 + os.getpid() % 1000, 32000):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, tuple[Program, ...]]]:
    """Start a head that runs nothing and a node with one CPU, with the token that Winnow's own Ray uses."""
    if not Path("~/.ray/auth_token").expanduser().exists():
        subprocess.run(
            [Path(sys.executable).with_name("ray"), "get-auth-token", "--generate"], check=True, capture_output=True
        )
    folder, nodes = tmp_path_factory.mktemp("cluster"), []
    with ExitStack() as stack:
        port = free_port()
        # Not in pytest's own folder: the paths of Ray's sockets must not be longer than 107 characters.
        temporary = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        head = ["start", "--head", "--block", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        for arguments in (
            [*head, f"--temp-dir={temporary}"],
            ["start", "--block", f"--address=127.0.0.1:{port}", "--num-cpus=1"],
        ):
            node = Program("ray", [*arguments, *SMALL], folder, {"WINNOW_TEST_PAUSE": "0.03"})
            stack.callback(node.end)
            nodes.append(node)
            node.wait_until(partial(_has_started, node))
        yield f"127.0.0.1:{port}", tuple(nodes)


def _has_started(node: Program) -> bool:
    return "Ray runtime started" in node.output


@pytest.fixture(scope="module")
def outcome(cluster: tuple[str, tuple[Program, ...]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Search on the cluster; once a trial has finished, the worker is lost."""
    address, nodes = cluster
    folder = tmp_path_factory.mktemp("joined")
    write_config(folder, **SETTINGS)
    (folder / "my_slow_models.py").write_text(USERS_MODEL)
    run, lost = RunDirectory(folder / "runs" / "tiny"), list[int]()
    killer = threading.Thread(target=_lose_a_worker, args=(run, nodes[1], lost))
    out, err, status = io.StringIO(), io.StringIO(), None
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "argv", ["winnow", "search", "tiny.yaml", "--address", address, "--json"])
        killer.start()
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        except Exception as error:  # a defect, which the tests are to report one by one
            err.write(repr(error))
    killer.join()
    yield Outcome(run, status, out.getvalue(), err.getvalue(), lost, nodes)
    sys.modules.pop("my_slow_models", None)


def _lose_a_worker(run: RunDirectory, node: Program, lost: list[int]) -> None:
    patience = time.monotonic() + 60
    while time.monotonic() < patience and not lost:
        time.sleep(0.02)
        trials = read_trials(run.journal, None, STUDY)
        # In the middle of the second trial: it has a round behind it.
        if len(trials) > 1 and trials[0].state.is_finished() and rounds_of(trials[1]):
            for number in node.workers():
                os.kill(number, signal.SIGKILL)
                lost.append(number)


def test_a_search_joins_a_running_cluster_and_leaves_it_running(outcome: Outcome) -> None:
    assert read_trials(outcome.run.journal, None, STUDY)[0].state.name == "COMPLETE", outcome.err
    assert outcome.run.ticket(0).exists()
    assert [node.process.poll() for node in outcome.nodes] == [None, None]


def test_a_lost_worker_loses_no_trial(outcome: Outcome) -> None:
    assert len(outcome.lost) == 1
    assert outcome.status == 0, outcome.err
    board = rows_of_run(outcome.out, outcome.run.path)
    assert pq.read_table(outcome.run.leaderboard).to_pylist() == of_table(board)
    assert len(board) == 1
    trials = read_trials(outcome.run.journal, None, STUDY)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    for trial in trials:
        assert [found.round for found in rounds_of(trial)] == list(range(1, len(rounds_of(trial)) + 1))


def test_json_stands_alone_even_then(outcome: Outcome) -> None:
    assert len(json.loads(outcome.out)) == 1
