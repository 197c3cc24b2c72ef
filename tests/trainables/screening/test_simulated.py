"""Simulated trials, in this process; what the driver makes of them is tests/search/tune/test_execution.py."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from dp_core.pruning import Ticket
from tests.trainables.driving import lasting, rows
from trainables.screening.round import Round
from trainables.screening.simulated import SimulatedTrainable, SimulationContext, Troubles
from trainables.screening.simulated_answers import ANSWERS, Table
from trainables.screening.simulated_ticket import simulated_ticket
from trainables.trials.candidate import Candidate
from trainables.trials.resuming import is_sound

CANDIDATE = {
    "model": {"name": "convnet", "width": 32, "depth": 3},
    "sparsity": 0.75,
    "source": "real",
    "recipe": {"learning_rate": 0.03},
}


def trial(context: SimulationContext, number: int = 0, resume_from: str | None = None) -> SimulatedTrainable:
    """Return a trial as Tune would make it, but here."""

    class Here(SimulatedTrainable):
        def setup(self, config: dict[str, Any], given: SimulationContext | None = None) -> None:
            super().setup(config, context)

        def _setup_logdir(self) -> None:
            self._logdir: Any = tempfile.gettempdir()

    return Here({"trial": number, "candidate": CANDIDATE, "resume_from": resume_from})


def told(context: SimulationContext, number: int = 0) -> list[dict[str, Any]]:
    return list(rows(trial(context, number)))


def saved_after_every_round(running: SimulatedTrainable, folder: Path) -> None:
    for _ in rows(running):
        running.save(str(folder))


def test_a_row_has_what_the_study_keeps_of_it() -> None:
    for row in told(SimulationContext(seconds=0.0, rounds=2)):
        assert Round.from_row(row).to_row().items() <= row.items()
        assert row["fidelity"] == Candidate.parse(CANDIDATE, 10).data_key == "real"


def test_the_rounds_of_a_trial_worked_out_by_hand() -> None:
    found = told(SimulationContext(seconds=0.0, rounds=3, noise=0.0))
    # 3 layers of 32·32 kernels of 3×3 are 27,648 weights; the densities 1, 1/2, 1/4 are geometric.
    assert [row["parameters_left"] for row in found] == [27_648, 13_824, 6_912]
    assert [row["sparsity"] for row in found] == pytest.approx([0, 0.5, 0.75])
    assert [row["status"] for row in found] == ["running", "running", "finished"]
    assert [row["rung_done"] for row in found] == [False, False, True]
    assert [row["image_gradients"] for row in found] == [10_000, 20_000, 30_000]
    # 27.648^0.25 = √√27.648 = 2.29306, so the accuracy is 0.1 + 0.85 · (1 − 1/2.29306); 2.7648^−0.07 = 0.93129.
    assert found[0]["proxy_accuracy"] == pytest.approx(0.57931, abs=1e-5)
    assert found[0]["score"] == pytest.approx(0.57931 * 0.93129, abs=1e-5)


def test_seconds_are_those_that_were_asked_for_and_not_measured() -> None:
    drawn = told(SimulationContext(seconds=(0.001, 0.003), rounds=3))
    rounds = [after["seconds"] - before["seconds"] for before, after in itertools.pairwise([{"seconds": 0.0}, *drawn])]
    assert all(0.001 <= seconds <= 0.003 for seconds in rounds)
    assert len(set(rounds)) == 3
    assert [row["seconds"] for row in told(SimulationContext(seconds=0.01, rounds=2))] == [0.01, 0.02]


def test_a_trial_depends_on_seed_and_number_and_on_nothing_else() -> None:
    context = SimulationContext(seconds=0.0, rounds=2, seed=1)
    first = [lasting(row) for row in told(context, 3)]
    assert first == [lasting(row) for row in told(context, 3)]
    accuracies = {
        told(SimulationContext(seconds=0.0, seed=seed), number)[0]["proxy_accuracy"]
        for seed in (1, 2) for number in (3, 4)
    }  # fmt: skip
    assert len(accuracies) == 4


@pytest.mark.parametrize("done", [1, 2])
@pytest.mark.parametrize("way", ["restore", "resume_from"])
def test_a_resumed_trial_goes_on_bit_for_bit(tmp_path: Path, done: int, way: str) -> None:
    context = SimulationContext(seconds=0.0, rounds=4)
    whole = [lasting(row) for row in told(context, 5)]
    interrupted = trial(context, 5)
    for _ in range(done):
        interrupted.train()
    interrupted.save(str(tmp_path))
    resumed = trial(context, 5, str(tmp_path) if way == "resume_from" else None)
    if way == "restore":
        resumed.restore(str(tmp_path))
    assert [lasting(row) for row in rows(resumed)] == whole[done:]


def test_an_end_that_nobody_heard_of_is_told_again(tmp_path: Path) -> None:
    context = SimulationContext(seconds=0.0)
    ended = trial(context)
    last = ended.train()
    ended.save(str(tmp_path))
    assert lasting(trial(context, resume_from=str(tmp_path)).train()) == lasting(last)


def test_a_checkpoint_is_sound_until_it_is_damaged(tmp_path: Path) -> None:
    context = SimulationContext(seconds=0.0, rounds=3)
    begun = trial(context, 5)
    first = begun.train()
    begun.save(str(tmp_path))
    assert is_sound(fs.LocalFileSystem(), str(tmp_path))
    content = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(content[:-1])
    assert not is_sound(fs.LocalFileSystem(), str(tmp_path))
    again = trial(context, 5, str(tmp_path))
    assert lasting(again.train()) == lasting(first), "it begins again"


def test_a_worker_takes_up_the_next_candidate(tmp_path: Path) -> None:
    context = SimulationContext(seconds=0.0, rounds=2)
    worker = trial(context, 1)
    worker.train()
    assert worker.reset({"trial": 2, "candidate": CANDIDATE, "resume_from": None})
    assert [lasting(row) for row in rows(worker)] == [lasting(row) for row in told(context, 2)]


def test_a_finished_trial_has_a_ticket_that_can_be_built(tmp_path: Path) -> None:
    finished = trial(SimulationContext(seconds=0.0, rounds=2, ticket=simulated_ticket()))
    finished.train()
    finished.save(str(tmp_path / "running"))
    assert not (tmp_path / "running" / "ticket").exists()
    finished.train()
    finished.save(str(tmp_path / "finished"))
    ticket = Ticket.load(tmp_path / "finished" / "ticket")
    assert sum(parameter.numel() for parameter in ticket.build().parameters()) < 1_000


def test_a_trial_that_raises_says_so() -> None:
    last = told(SimulationContext(seconds=0.0, rounds=3, troubles=Troubles(raising=1.0)))[-1]
    assert last["status"] == "failed"
    assert last["reason"].startswith("RuntimeError: simulated in round ")
    assert last["reason"] in last["traceback"]


def test_a_trial_that_diverges_has_no_accuracy() -> None:
    last = told(SimulationContext(seconds=0.0, rounds=3, troubles=Troubles(diverging=1.0)))[-1]
    assert last["status"] == "diverged"
    assert all(math.isnan(last[name]) for name in ("score", "proxy_accuracy", "proxy_loss"))


def test_troubles_come_as_often_as_they_should() -> None:
    context = SimulationContext(seconds=0.0, rounds=3, troubles=Troubles(raising=0.2, diverging=0.3))
    ends = Counter(told(context, number)[-1]["status"] for number in range(400))
    # Four standard deviations of a binomial of 400: 4 · √(400 · 0.3 · 0.7) = 37.
    assert ends["failed"] == pytest.approx(80, abs=32)
    assert ends["diverged"] == pytest.approx(120, abs=37)
    assert ends["finished"] == pytest.approx(200, abs=40)


def test_a_worker_is_lost_once_and_after_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    context = SimulationContext(seconds=0.0, rounds=3, troubles=Troubles(exiting=1.0))
    for number in range(8):
        lost = trial(context, number)
        with pytest.raises(SystemExit):
            saved_after_every_round(lost, tmp_path / str(number))
        resumed = trial(context, number, str(tmp_path / str(number)))
        calm = told(SimulationContext(seconds=0.0, rounds=3), number)
        assert [lasting(row) for row in rows(resumed)][-1] == lasting(calm[-1])


def test_a_hanging_round_ends_its_process() -> None:
    script = (
        "from tests.trainables.screening.test_simulated import *\n"
        "trial(SimulationContext(seconds=0.0, troubles=Troubles(hanging=1.0), round_seconds=0.2)).train()"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 1


def test_answers_can_come_from_a_table() -> None:
    table = Table({Table.key(CANDIDATE): (0.25, 0.75)})
    found = told(SimulationContext(seconds=0.0, rounds=2, noise=0.0, answer=table))
    assert [row["proxy_accuracy"] for row in found] == [0.25, 0.75]
    with pytest.raises(KeyError):
        table({**CANDIDATE, "sparsity": 0.5}, 1, 0.5)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.999999])
def test_answers_are_accuracies(answer: Any, sparsity: float) -> None:
    assert 0 <= answer({"sparsity": sparsity}, 1, sparsity) <= 1


def test_a_worker_needs_no_pytorch() -> None:
    script = "import sys, trainables.screening.simulated; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
