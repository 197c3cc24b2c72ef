"""Programs in processes of their own, and everything that they started, found again by a mark in its environment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MARK = "WINNOW_TEST_MARK"


@dataclass
class Program:
    """A program of this environment, such as `winnow`, with all that it starts."""

    name: str
    arguments: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.log = self.folder / f"{self.name}-{self.mark[:8]}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name(self.name), *self.arguments],
                cwd=self.folder,
                env={**os.environ, **self.environment, MARK: self.mark},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for the condition while the program runs."""
        patience = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < patience, f"it takes too long:\n{self.output}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals, seconds: float = 60) -> int:
        """Send a signal to the program's process group, as a terminal does; return its exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(seconds)

    def kill(self, *, everything: bool) -> None:
        """End the program as a power cut would, `everything` that it started at the same moment, or it alone."""
        os.kill(self.process.pid, signal.SIGKILL)
        while everything and (found := marked(self.mark)):
            for number in found:
                kill_one(number)
        self.process.wait(10)

    def survivors(self, seconds: float = 90) -> list[str]:
        """Return the commands of what the program started and is still there after so long, itself included.

        Where a driver was killed, Ray's agents tell a server that is gone of it, for up to a minute.
        """
        patience = time.monotonic() + seconds
        while (found := marked(self.mark)) and time.monotonic() < patience:
            time.sleep(0.1)
        return list(found.values())

    def workers(self) -> list[int]:
        """Return the processes in which Ray runs a trial."""
        found = marked(self.mark).items()
        return [number for number, command in found if command.startswith("ray::") and "Trainable" in command]

    def kill_worker(self, choice: Callable[[list[int]], int]) -> bool:
        """Kill one of the processes in which Ray runs a trial; return whether there was one."""
        if not (workers := self.workers()):
            return False
        kill_one(choice(workers))
        return True

    def end(self) -> None:
        """End it and all that it started, politely first, process by process."""
        if self.process.poll() is None:
            self.process.terminate()
        self.survivors(10)
        for number in marked(self.mark):
            kill_one(number)
        self.process.wait(10)


def kill_one(number: int) -> None:
    """Kill a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def marked(mark: str) -> dict[int, str]:
    """Return the processes with this mark in their environment, and their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
        except OSError:
            pass  # it ended meanwhile, or belongs to somebody else
    return {number: command for number, command in found.items() if command}  # a zombie has no command line
