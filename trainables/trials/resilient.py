"""What screening and retraining have in common: trials that fail well and lose nothing."""

from __future__ import annotations

import functools
import gc
import importlib
import posixpath
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from pyarrow import fs
from ray import tune

from trainables.trials.contract import Work
from trainables.trials.device import claim_device
from trainables.trials.failures import is_own_failure, lacks_memory, one_line, reason_of, traceback_of
from trainables.trials.resuming import DamagedCheckpoint, load_state, load_state_from, newest_sound_state, save_state
from trainables.trials.watchdog import HUNG, watchdog

T = TypeVar("T")

EARLIER = "earlier"
"""Key of a result: the rows before it, of a trial that has just gone on from a checkpoint. A driver that had to stop,
such as on a full disk, may have kept a checkpoint and not the row of the step before it."""

_SHORT_OF_MEMORY = "The trial ran out of memory and went on with half the batch in memory at a time."
_SHORT_TWICE = "out of memory also with half the batch in memory at a time"


class TrialContext(Protocol):
    """What every context has."""

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""

    @property
    def round_seconds(self) -> float | None:
        """After which a round is taken to hang; None for never."""


class ResilientTrial(tune.Trainable):
    """A trial that answers every step with a result, and goes on from the last state that is sound.

    - What it raises, in its making or in a step, ends it with the status `failed`, the `reason` and the `traceback`,
      instead of ending its worker. A full disk and a broken GPU are none of its fault, and are raised.
    - Out of memory, it goes on from its last state with batches in two parts, once; so does a trial from the start
      whose config has `memory_parts: 2`.
    - A step that takes longer than the context's `round_seconds` ends the process, see `watchdog`.
    - In place of a damaged checkpoint it goes on from the one before it, or begins anew, which comes to the same.

    What there is to say of this is the `note` of the next result. A subclass says what the trial is about.
    """

    nothing_yet: ClassVar[Mapping[str, Any]] = {}
    """What the result of a trial has that failed before its first row."""

    def job_of(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the trial is about, of its config: has `resume_from`, and may have `memory_parts`."""
        return config

    def make(self, job: Mapping[str, Any], memory_parts: int) -> Work:
        """Make the work, to be done from its beginning with every batch in so many parts."""
        raise NotImplementedError

    _work: Work | None = None  # None while it is not made, or once it has failed
    _has_gone_on: bool = False  # from a checkpoint, without a result since

    def setup(self, config: dict[str, Any], context: TrialContext | None = None) -> None:
        """Make the work; `context` comes with the first trial of a worker and is kept for the next ones."""
        if context is not None:
            self._context: Any = context
            # The first optimiser imports this, which takes seconds that are none of the trial's: the watchdog waits.
            importlib.import_module("torch._dynamo")
        self._take_up(config)

    def _take_up(self, config: Mapping[str, Any]) -> None:
        self._job = self.job_of(config)
        self._device = claim_device(self._context.threads)
        self._forget()
        with self._watched():
            self._attempt(self._start, again=self._start)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next trial in the same process, however the last one ended."""
        self._work = None  # its images make room for the next ones
        self._take_up(new_config)  # not `setup`, in which Tune fetches the context anew
        return True

    def step(self) -> dict[str, Any]:
        """Do one step and report it; a trial that has ended says so again."""
        if not self._ended:
            with self._watched():
                row = self._attempt(self._advance, again=self._rebuild_and_advance)
            if row is not None:
                self._history.append(row)
        result = {**(self._history[-1] if self._history else self.nothing_yet), **(self._failure or {})}
        if self._notes:
            result["note"] = " ".join(dict.fromkeys(self._notes))
            self._notes.clear()
        if self._has_gone_on:
            result[EARLIER] = self._history[:-1] if self._failure is None else list(self._history)
            self._has_gone_on = False
        return {**result, "done": self._ended}

    @property
    def _ended(self) -> bool:
        return self._failure is not None or bool(self._history and self._history[-1]["status"] != "running")

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save everything needed to go on, and what came out of the trial once it has finished."""
        folder = Path(checkpoint_dir)
        state = {
            "work": self._state,
            "history": self._history,
            "failure": self._failure,
            "memory_parts": self._memory_parts,
        }
        with self._watched():
            save_state(folder, state)
            if self._work is not None and self._history and self._history[-1]["status"] == "finished":
                self._work.export(folder, self._history)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote into this folder, or from what is sound instead."""
        self._go_back_to(Path(str(checkpoint)))

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from a checkpoint of Tune's; one that is no longer there is as good as a damaged one."""
        try:
            super().restore(checkpoint_path)
        except (ValueError, FileNotFoundError):  # Ray's, as ours are kept for the next step
            self._go_back_to(None)

    def _forget(self) -> None:
        self._history: list[dict[str, Any]] = []
        self._state: dict[str, Any] | None = None  # after the last step
        self._failure: dict[str, Any] | None = None
        self._notes: list[str] = []
        self._has_gone_on = False
        self._memory_parts = int(self._job.get("memory_parts", 1))

    def _start(self) -> None:
        """Begin, or go on from the checkpoint of an earlier driver."""
        if address := self._job.get("resume_from"):
            checkpoint = tune.Checkpoint(address)
            try:
                self._take(load_state_from(address, self._device))
            except DamagedCheckpoint:
                self._take_sound(checkpoint.filesystem, posixpath.dirname(checkpoint.path))
        self._rebuild()

    def _go_back_to(self, folder: Path | None) -> None:
        self._work = None
        self._forget()
        load = functools.partial(self._load, folder)
        with self._watched():
            self._attempt(load, again=load)

    def _load(self, folder: Path | None) -> None:
        """Go on from the checkpoint in `folder`, if it is there and sound."""
        try:
            if folder is None:
                raise DamagedCheckpoint("there is no checkpoint")
            self._take(load_state(folder, self._device))
        except DamagedCheckpoint:
            if self._storage is not None:  # what is in the folder may be a copy, made for us by Tune
                self._take_sound(self._storage.storage_filesystem, self._storage.trial_fs_path)
            else:
                self._take_sound(fs.LocalFileSystem(), "" if folder is None else str(folder.parent))
        if self._state is None and self._failure is None:
            self._start()
        else:
            self._rebuild()

    def _take_sound(self, filesystem: fs.FileSystem, trial_folder: str) -> None:
        """Take up the newest sound checkpoint of a trial's folder in place of a damaged one, if there is one."""
        found = newest_sound_state(filesystem, trial_folder, self._device)
        self._notes.append(
            "The last checkpoint is damaged, and there is no sound one before it to go on from."
            if found is None
            else f"The last checkpoint is damaged, so the trial went on from {found[0]} before it."
        )
        if found is not None:
            self._take(found[1])

    def _take(self, saved: dict[str, Any]) -> None:
        self._state, self._history, self._failure = saved["work"], saved["history"], saved["failure"]
        self._has_gone_on = True
        self._memory_parts = max(self._memory_parts, saved["memory_parts"])

    def _rebuild(self) -> None:
        """Make the work as it was after the last step."""
        if self._failure is None:
            self._work = self.make(self._job, self._memory_parts)
            if self._state is not None:
                self._work.load_state_dict(self._state)

    def _advance(self) -> dict[str, Any]:
        assert self._work is not None
        row = self._work.advance(self._history)
        self._state = self._work.state_dict()
        return row

    def _rebuild_and_advance(self) -> dict[str, Any]:
        self._rebuild()
        return self._advance()

    def _attempt(self, work: Callable[[], T], again: Callable[[], T]) -> T | None:
        """Do `work`, or, where the memory does not suffice, do it `again` with less; keep how it failed."""
        try:
            return work()
        except Exception as error:
            if not is_own_failure(error):
                raise
            short = lacks_memory(error)
            if not short or self._memory_parts > 1:
                reason = f"{_SHORT_TWICE}: {reason_of(error)}" if short else reason_of(error)
                self._failure = {"status": "failed", "reason": one_line(reason), "traceback": traceback_of(error)}
        # Outside the except clause, whose traceback would keep the activations alive.
        self._free_memory()
        if self._failure is not None:
            return None
        self._memory_parts = 2
        self._notes.append(_SHORT_OF_MEMORY)
        return self._attempt(again, again)

    def _free_memory(self) -> None:
        self._work = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _watched(self) -> AbstractContextManager[None]:
        return watchdog(self._context.round_seconds, Path(self.logdir) / HUNG)
