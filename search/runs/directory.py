"""The run directory: where everything of a run is, and the lock that keeps a second driver out."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dp_core.errors import UserError

LOCK = "driver.lock"


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside `runs/<name>/`."""

    path: Path

    @property
    def config(self) -> Path:
        """Resolved config, seed, versions and digests."""
        return self.path / "run.yaml"

    @property
    def journal(self) -> Path:
        """Optuna's journal, the single record of the trials."""
        return self.path / "study.journal"

    @property
    def rounds(self) -> Path:
        """One row for each trial and round."""
        return self.path / "rounds.parquet"

    @property
    def trials(self) -> Path:
        """One row for each trial."""
        return self.path / "trials.parquet"

    @property
    def leaderboard(self) -> Path:
        """One row for each retrained ticket."""
        return self.path / "leaderboard.parquet"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def promotion(self) -> Path:
        """Which trials were promoted, and which are audited."""
        return self.path / "promotion.json"

    @property
    def agreed(self) -> Path:
        """The config that the trials so far were made with."""
        return self.path / "config.json"

    @property
    def wanted(self) -> Path:
        """What the run is to make, where its config does not say so by itself."""
        return self.path / "wanted.json"

    @property
    def bad_ends(self) -> Path:
        """Tickets and retrainings that came to nothing."""
        return self.path / "bad_ends.json"

    @property
    def requests(self) -> Path:
        """Retrainings that were asked for beside those of the promotion, and are not done."""
        return self.path / "requests.json"

    @property
    def errors(self) -> Path:
        """The folder with the tracebacks of what failed."""
        return self.path / "errors"

    def error(self, failed: int | str) -> Path:
        """Return the file with the traceback of a failed trial, by its number, or retraining, by its name."""
        return self.errors / f"{failed:05d}.txt" if isinstance(failed, int) else self.errors / f"{failed}.txt"

    def ticket(self, trial: int) -> Path:
        """Return the folder of a trial's ticket."""
        return self.path / "tickets" / f"{trial:05d}"

    def model(self, name: str) -> Path:
        """Return the folder of the retrained model of this name, see `model_name`."""
        return self.path / "models" / name

    def tickets(self) -> list[int]:
        """Return the trials whose tickets are there."""
        return sorted(int(folder.name) for folder in (self.path / "tickets").glob("[0-9]*") if folder.is_dir())

    def models(self) -> list[Path]:
        """Return the folders of the retrained models that are there."""
        return sorted(folder for folder in (self.path / "models").glob("[0-9]*") if folder.is_dir())

    def is_driven(self) -> bool:
        """Return whether a process drives this run now."""
        try:
            with (self.path / LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def refuse_driven(self) -> None:
        """Raise UserError if another process drives this run."""
        if self.path.is_dir():
            with self.locked():
                pass

    def enter(self, phase: str) -> None:
        """Say what this process, which holds the lock, does from now on, for `state` to tell others."""
        # The file is there, as it is held; on a full disk a phase that is not told is no harm.
        with suppress(OSError), (self.path / LOCK).open("r+", encoding="utf-8") as file:
            file.truncate(0)
            file.write(f"{os.getpid()}\n{phase}")

    def state(self, *, finished: bool) -> str:
        """Return what goes on here.

        It is the phase that the driver has entered, `starting` before the first; without a driver it is `finished`, if
        nothing is left to be done, or `stopped`.
        """
        if not self.is_driven():
            return "finished" if finished else "stopped"
        try:
            _, _, phase = (self.path / LOCK).read_text(encoding="utf-8").partition("\n")
        except OSError:
            phase = ""
        return phase or "starting"

    def sweep(self) -> None:
        """Remove what a killed driver has left half written, none of which has its name yet; the lock must be held."""
        for folder in (self.path, *(self.path / name for name in ("tickets", "models", "errors"))):
            for left in folder.glob(".*.tmp"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock; the system lets go of it when the process ends, however it ends.

        Raises:
            UserError: another process drives this run.
        """
        with (self.path / LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.readline().strip() or "unknown"
                raise UserError(f"The run {self.path} is already being driven by process {holder}.") from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def model_name(trial: int, seed: int, recipe: str) -> str:
    """Return the name of a retraining: its trial's number, its seed, and what stands for its recipe."""
    return f"{trial:05d}-seed{seed}-{recipe}"


def where_tracebacks(run: RunDirectory) -> str:
    """Return a sentence on where the tracebacks of failures are, with a space before it; nothing if there are none."""
    return f" Tracebacks are in {run.errors}." if any(run.errors.glob("*.txt")) else ""


def find_run(run: str, directory: Path = Path("runs")) -> RunDirectory:
    """Return the run of this path or name.

    Raises:
        UserError: there is none; it says which there are where the path leads to, or for a name in `directory`.
    """
    for path in (Path(run), directory / run):
        if (path / "run.yaml").is_file():
            return RunDirectory(path.resolve())
    beside = Path(run).parent
    directory = directory if beside == Path() else beside
    known = sorted(folder.parent.name for folder in directory.glob("*/run.yaml"))
    there = f"there are {', '.join(known)}" if known else f"{directory} has none"
    raise UserError(f"There is no run '{run}': {there}.")
