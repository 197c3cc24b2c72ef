"""One run as TensorBoard sees it: an event file that an interrupted writer's successor continues."""

from __future__ import annotations

import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import FileWriter

_PREFIX = "events.out.tfevents."


class EventRun:
    """One run's event file; a step that was written before starts that part of the curves anew.

    TensorBoard's data server drops every point of a series that lies at or beyond a later-written step, so steps within
    a run must grow.

    Args:
        directory: where the event file goes; event files that are there are continued.
    """

    def __init__(self, directory: Path) -> None:
        before = [file.name for file in directory.glob(f"{_PREFIX}*")]
        self._continues = bool(before)
        _wait_for_a_later_name(before)
        self._writer = FileWriter(directory)
        self._last_step = 0

    def add(self, summary: Summary, step: int | None = None) -> None:
        """Write `summary` at `step`, or beside what was written last if there is none."""
        if step is not None:
            if self._continues or step < self._last_step:
                # Readers without the data server drop what was written from `step` on when they see this.
                self._writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), step)
            self._continues = False
            self._last_step = step
        self._writer.add_summary(summary, self._last_step)
        # Not later: what a killed driver had not flushed is lost. It costs next to nothing: of the 0.09 ms of CPU time
        # that an event takes, 0.01 ms.
        self._writer.flush()

    def close(self) -> None:
        """Write out and close the file."""
        self._writer.close()


def _wait_for_a_later_name(before: list[str]) -> None:
    """Return once a new event file sorts after those of `before`: readers take a run's files in the order of names.

    A name starts with the second in which its file was made; what follows (host, process, a counter written without
    leading zeros) does not grow. A clock that was set back is not waited for.
    """
    seconds = [int(name.removeprefix(_PREFIX).split(".")[0]) for name in before if name[len(_PREFIX) :][:1].isdigit()]
    left = max(seconds, default=-1) + 1 - time.time()
    if 0 < left <= 1:
        time.sleep(left)
