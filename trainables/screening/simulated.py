"""Simulated screening: a trial that sleeps and answers from a formula, to measure and to try the driver."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from trainables.screening.round import Round
from trainables.screening.score import Score
from trainables.screening.simulated_answers import Answer, dense_parameters, ridge
from trainables.trials.source import data_key, screened_on
from trainables.trials.watchdog import HUNG, watchdog

# Nothing here imports PyTorch when a worker starts: sixteen workers on two cores would need most of a minute for it.

# The names that `is_sound` looks for, though the state of a simulated trial is JSON.
_STATE, _DIGEST = "state.pt", "state.sha256"
_FLOPS_A_PARAMETER, _IMAGE_GRADIENTS_A_ROUND = 64, 10_000


@dataclass(frozen=True)
class Troubles:
    """Shares of the trials that come to grief, each at a round drawn for it; together at most 1.

    Attributes:
        raising: end with the status `failed`, as a trial does in which something was raised.
        diverging: end with the status `diverged`, accuracy and loss being NaN.
        hanging: never end a round.
        exiting: lose their worker in the middle of a round, once; a trial of a single round does each time.
    """

    raising: float = 0.0
    diverging: float = 0.0
    hanging: float = 0.0
    exiting: float = 0.0


@dataclass(frozen=True, eq=False)
class SimulationContext:
    """What all simulated trials of a search share.

    Attributes:
        seconds: that a round takes, or the least and the most of them, drawn for each round.
        rounds: of a trial; the last reaches the candidate's sparsity, the first of several is dense.
        answer: the accuracy in [0, 1] of a candidate after a round, before noise.
        noise: standard deviation of the accuracy.
        ticket: files of the ticket that every trial ends with, see `simulated_ticket`.
        troubles: what goes wrong, and how often.
        score: what the search maximises.
        seed: the run's seed; everything that a trial draws follows from it and the trial's number.
        round_seconds: after which a hanging trial ends its worker; None for never.
    """

    seconds: float | tuple[float, float] = 1.0
    rounds: int = 1
    answer: Answer = ridge
    noise: float = 0.01
    ticket: Mapping[str, bytes] = field(default_factory=dict)
    troubles: Troubles = Troubles()
    score: Score = field(default_factory=lambda: Score(10_000, -0.07))
    seed: int = 0
    round_seconds: float | None = None


class SimulatedTrainable(tune.Trainable):
    """Stands in for ScreeningTrainable: the same config, reports, ends, checkpoints and tickets, without training.

    What it reports depends on the context and the number and candidate of the trial alone, never on the clock, so that
    a trial that was taken up again reports what it would have without the interruption.
    """

    def setup(self, config: dict[str, Any], context: SimulationContext | None = None) -> None:
        """Take up the candidate; `context` is kept for the next ones of this worker."""
        if context is not None:
            self._context = context
        self._take_up(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next candidate in the same process."""
        # Not by `setup`: with `tune.with_parameters` that would fetch the context anew for every trial.
        self._take_up(new_config)
        return True

    def _take_up(self, config: dict[str, Any]) -> None:
        self._number, self._candidate = int(config["trial"]), config["candidate"]
        self._history: list[dict[str, Any]] = []
        if config.get("resume_from"):
            with tune.Checkpoint(config["resume_from"]).as_directory() as folder:
                self._go_on_from(Path(folder))
        self._resumed = bool(self._history)

    def step(self) -> dict[str, Any]:
        """Sleep as long as the round takes and report it."""
        if self._history and self._history[-1]["status"] != "running":
            return {**self._history[-1], "done": True}
        number = len(self._history) + 1
        trouble = self._trouble(number)
        seconds = self._seconds(number)
        with watchdog(self._context.round_seconds, Path(self.logdir) / HUNG):
            time.sleep(seconds)
            if trouble == "exiting" and (not self._resumed or self._context.rounds == 1):
                os._exit(1)
            while trouble == "hanging":
                time.sleep(3600)
        if trouble == "raising":
            row = {**(self._history[-1] if self._history else {}), **_raised(number)}
        else:
            row = self._row(number, seconds, diverged=trouble == "diverging")
        self._history.append(row)
        return {**row, "done": row["status"] != "running"}

    def _draw(self, *purpose: str | int) -> random.Random:
        # Seeded with a string, it draws the same numbers in every process and version of Python.
        return random.Random("/".join(str(part) for part in (self._context.seed, self._number, *purpose)))

    def _trouble(self, number: int) -> str | None:
        """Return what goes wrong in a round, if anything."""
        draw, rounds = self._draw("trouble"), self._context.rounds
        fate, chosen = draw.random(), draw.randint(1, rounds)
        for name, share in vars(self._context.troubles).items():
            if fate < share:
                # An exit before the first checkpoint could not be told from a beginning, and would come again for ever.
                return name if number == (max(chosen, min(2, rounds)) if name == "exiting" else chosen) else None
            fate -= share
        return None

    def _seconds(self, number: int) -> float:
        seconds = self._context.seconds
        return self._draw("seconds", number).uniform(*seconds) if isinstance(seconds, tuple) else seconds

    def _row(self, number: int, seconds: float, *, diverged: bool) -> dict[str, Any]:
        spent = self._history[-1]["seconds"] if self._history else 0.0
        context, rounds = self._context, self._context.rounds
        final = 1 - float(self._candidate["sparsity"])
        density = final if rounds == 1 else final ** ((number - 1) / (rounds - 1))
        parameters = dense_parameters(self._candidate)
        left = round(parameters * density)
        answer = context.answer(self._candidate, number, 1 - density)
        noise = self._draw("noise", number).gauss(0, context.noise)
        accuracy = math.nan if diverged else min(max(answer + noise, 0.0), 1.0)
        status = "diverged" if diverged else "finished" if number == rounds else "running"
        found = Round(
            round=number,
            rung_round=number,
            rung_done=number == rounds,
            fidelity=data_key(*screened_on(self._candidate)),
            score=context.score(accuracy, max(left, 1)),
            proxy_accuracy=accuracy,
            proxy_loss=math.nan if diverged else -math.log(max(accuracy, 1e-6)),
            sparsity=1 - density,
            density=density,
            prunable_parameters=parameters,
            parameters=parameters,
            parameters_left=left,
            flops_dense=parameters * _FLOPS_A_PARAMETER,
            flops_remaining=left * _FLOPS_A_PARAMETER,
            image_gradients=number * _IMAGE_GRADIENTS_A_ROUND,
            seconds=spent + seconds,
        )
        reason = f"the loss became nan in round {number}" if diverged else None
        return {**found.to_row(), "status": status, "reason": reason}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the rounds so far, and the ticket once there is one."""
        folder = Path(checkpoint_dir)
        state = json.dumps(self._history).encode()
        (folder / _STATE).write_bytes(state)
        (folder / _DIGEST).write_text(hashlib.sha256(state).hexdigest(), encoding="ascii")
        if self._history and self._history[-1]["status"] == "finished":
            (folder / "ticket").mkdir()
            for name, content in self._context.ticket.items():
                (folder / "ticket" / name).write_bytes(content)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote into this folder."""
        self._go_on_from(Path(str(checkpoint)))
        self._resumed = True

    def _go_on_from(self, folder: Path) -> None:
        """Take over the rounds of a checkpoint; a damaged one has none, and the trial starts again."""
        try:
            state, digest = (folder / _STATE).read_bytes(), (folder / _DIGEST).read_text(encoding="ascii")
        except FileNotFoundError:
            state, digest = b"", "none"
        self._history = json.loads(state) if hashlib.sha256(state).hexdigest() == digest else []


def _raised(number: int) -> dict[str, Any]:
    """Return what a trial says of an exception."""
    try:
        raise RuntimeError(f"simulated in round {number}")
    except RuntimeError as error:
        reason = f"{type(error).__name__}: {error}"
        return {"status": "failed", "reason": reason, "traceback": traceback.format_exc()}
