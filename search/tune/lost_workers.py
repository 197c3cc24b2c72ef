"""What becomes of a trial whose worker was lost: taken up again from its last checkpoint, or given up."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from dp_core.errors import UserError
from dp_core.files import room_for
from search.tune.controller import PromptScheduler

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class NotSaved:
    """Tune pickles its parts now and then to restore from; Winnow restores from the study instead."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class PatientScheduler(NotSaved, PromptScheduler):
    """Decides which trials are taken up again; Tune itself would, for ever (`max_failures=-1`).

    What a trial raises it reports itself, as a result. So a failure that Tune knows of is a worker that is gone: with
    its machine, killed for memory, or ended by its own watchdog since a round took too long.

    Args:
        max_losses: how often in a row, without a result in between, a trial is taken up again.
        round_seconds: the limit of a round, None for none.
    """

    def __init__(self, max_losses: int, round_seconds: float | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._max_losses = max_losses
        self._round_seconds = round_seconds
        self._losses: dict[str, int] = {}
        self._signs: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._full: UserError | None = None

    def given_up(self, trial: Trial, reason: str) -> None:
        """Hear that a trial is not taken up again."""

    def no_room(self, error: UserError) -> None:
        """Hear that a disk is full, which is no trial's fault: the trial goes on when there is room."""
        self._full = error

    @contextmanager
    def heeding_room(self, path: Path) -> Iterator[None]:
        """Hear of a disk that is full while the body writes `path`: Tune would swallow it."""
        try:
            with room_for(path):
                yield
        except UserError as error:
            self.no_room(error)

    @property
    def disk_is_full(self) -> bool:
        """Whether a disk was full."""
        return self._full is not None

    def refuse_full_disk(self) -> None:
        """Raise UserError if a disk was full."""
        if self._full is not None:
            raise self._full

    def sign_of_life(self, trial: Trial) -> None:
        """Note that the trial has begun, or has ended a round."""
        self._signs[trial.trial_id] = time.monotonic()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Note that the trial has come on."""
        self._losses.pop(trial.trial_id, None)
        self.sign_of_life(trial)
        return str(PromptScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Forget the trial."""
        self._forget(trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Decide whether a trial that has lost its worker is taken up again."""
        reason = self._verdict(trial)
        if trial.status == Trial.ERROR:  # about to be queued again: see on_trial_add
            if reason is not None:
                self._reasons[trial.trial_id] = reason
        else:
            self._end(trial, reason or "its worker was lost")

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take out again what Tune has queued a second time although it is given up."""
        if trial.trial_id in self._reasons:
            tune_controller.stop_trial(trial)
        else:
            self._signs.pop(trial.trial_id, None)  # until it has begun it waits for a machine, and does not hang

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Hear that a trial was taken out of the queue."""
        self._end(trial, self._reasons.get(trial.trial_id, "removed before it ran"))

    def _end(self, trial: Trial, reason: str) -> None:
        self._forget(trial)
        self.given_up(trial, reason)

    def _forget(self, trial: Trial) -> None:
        for known in (self._losses, self._signs, self._reasons):
            known.pop(trial.trial_id, None)

    def _verdict(self, trial: Trial) -> str | None:
        """Return why the trial is given up, None if it is to be tried again."""
        error = _error_of(trial)
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            full = UserError(f"There is no room left on the disk for {cause.filename or 'a checkpoint'}.")
            self.no_room(full)
            return str(full)
        if _for_memory(error):
            job = trial.config.get("job", trial.config)
            if job.get("memory_parts", 1) > 1:
                return "out of memory, also with half the batch in memory at a time"
            job["memory_parts"] = 2
            return None
        # What a candidate does wrong its trial reports: anything else is the GPU's, the storage's or the network's.
        told = isinstance(cause, RayActorError | None)
        return self._verdict_on_loss(trial, None if told else f"{type(cause).__name__}: {cause}")

    def _verdict_on_loss(self, trial: Trial, error: str | None) -> str | None:
        limit = self._round_seconds
        silent = time.monotonic() - self._signs.get(trial.trial_id, time.monotonic())
        if limit is not None and silent >= limit:
            return f"no round ended within the limit of {limit:g} s (search.round_seconds)"
        losses = self._losses[trial.trial_id] = self._losses.get(trial.trial_id, 0) + 1
        if losses > self._max_losses:
            last = "" if error is None else f", the last time by {' '.join(error.split())[:500]}"
            return f"its worker was lost {losses} times without a round in between{last}"
        return None


def _error_of(trial: Trial) -> Exception | None:
    """Return what Tune met, from the file in which this very process has just put it; None if it is not there."""
    try:
        found: Exception = cloudpickle.loads(Path(str(trial.pickled_error_file)).read_bytes())
    except Exception:  # whatever it was, it cannot be read: to be tried again then
        return None
    return found


def _for_memory(error: Exception | None) -> bool:
    """Return whether Ray's memory monitor has killed the worker; of an actor only its words say so."""
    return isinstance(error, OutOfMemoryError) or "low on memory" in str(error)
