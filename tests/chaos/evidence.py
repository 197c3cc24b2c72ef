"""What a run has left on disk, read with stock Optuna and stock pyarrow: nothing of Winnow's own is trusted here."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from dp_core.files import digest_of_file

UNENDED = ("RUNNING", "WAITING")
# What a trial's results do not determine: how long it took, and the label that changes nothing.
_OF_THE_MOMENT = ("seconds", "latency_ms")


@dataclass(frozen=True)
class Kept:
    """What the study keeps of a trial; parameters, rounds and steps as JSON, in which NaN equals NaN."""

    state: str
    values: str
    reason: str | None
    candidate: str
    rounds: tuple[str, ...]
    steps: str

    @property
    def ended(self) -> bool:
        """Whether nothing more is to happen to it."""
        return self.state not in UNENDED


def kept(run: Path, database: Path | None = None) -> dict[int, Kept]:
    """Return the trials of a run whose study is in its journal, or in an SQLite file, by number.

    A copy is read, so that looking changes nothing, not even what a killed driver has left half-written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "study"
        try:
            _copy(database or run / "study.journal", copy)
        except FileNotFoundError:
            return {}
        storage = _opened(copy, database is not None)
        if not (studies := storage.get_all_studies()):
            return {}
        study = optuna.load_study(study_name=studies[0].study_name, storage=storage)
        found = {trial.number: _kept(trial) for trial in study.get_trials(deepcopy=False)}
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()
    return found


def _copy(source: Path, target: Path) -> None:
    """Copy a study; of a database also what it has not written into its main file yet.

    A driver that runs may do so meanwhile: then the copy is made again.
    """
    parts = {"": target, "-wal": target.with_name("study-wal"), "-journal": target.with_name("study-journal")}
    while True:
        before = _stamp(source)
        for suffix, part in parts.items():
            part.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(source.with_name(source.name + suffix), part)
        if _stamp(source) == before:
            break
    if not target.exists() or target.stat().st_size == 0:
        raise FileNotFoundError(source)


def _stamp(source: Path) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for suffix in ("", "-wal", "-journal"):
        try:
            stat = source.with_name(source.name + suffix).stat()
            found.append((stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


def _opened(study: Path, database: bool) -> BaseStorage:
    return RDBStorage(f"sqlite:///{study}") if database else JournalStorage(JournalFileBackend(str(study)))


def _kept(trial: FrozenTrial) -> Kept:
    attributes = trial.user_attrs
    return Kept(
        trial.state.name,
        _json(trial.values),
        attributes.get("reason"),
        _json({"candidate": attributes.get("candidate"), "params": trial.params}),
        tuple(_json(attributes[key]) for key in sorted(attributes) if key.startswith("round:")),
        _json(sorted(trial.intermediate_values.items())),
    )


NOTHING_PROPOSED = json.dumps({"candidate": None, "params": {}})


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def result(trial: Kept) -> tuple[Any, ...]:
    """Return what must not depend on what happened to the run: state, values, reason, rounds and steps."""
    rounds = [
        {key: value for key, value in json.loads(row).items() if key not in _OF_THE_MOMENT} for row in trial.rounds
    ]
    return trial.state, trial.values, trial.reason, rounds, trial.steps


def tickets(run: Path) -> dict[int, tuple[str, str]]:
    """Return the digests of mask and rewind weights of every ticket, by trial."""
    return {
        int(folder.name): (digest_of_file(folder / "mask.safetensors"), digest_of_file(folder / "weights.safetensors"))
        for folder in sorted((run / "tickets").glob("[0-9]*"))
    }


def leaderboard(run: Path) -> list[tuple[int, float]]:
    """Return trial and test accuracy of every row, in order."""
    return [(row["trial"], row["test_accuracy"]) for row in pq.read_table(run / "leaderboard.parquet").to_pylist()]


def disagreements(run: Path, trials: Mapping[int, Kept], target: int) -> list[str]:
    """Return in words where a finished run's study, tables, tickets and Tune do not agree."""
    states = {number: trial.state for number, trial in trials.items()}
    found = []
    if sorted(states) != list(range(target)):
        found.append(f"the study has {len(states)} trials, not {target}")
    if unended := [number for number, trial in trials.items() if not trial.ended]:
        found.append(f"not ended in the study: {unended}")
    rows = pq.read_table(run / "trials.parquet").to_pylist()
    if [(row["trial"], row["state"]) for row in rows] != sorted(states.items()):
        found.append(
            f"trials.parquet has {Counter(row['state'] for row in rows)}, the study {Counter(states.values())}"
        )
    rounds = Counter(row["trial"] for row in pq.read_table(run / "rounds.parquet").to_pylist())
    if rounds != Counter({number: len(trial.rounds) for number, trial in trials.items() if trial.rounds}):
        found.append(f"rounds.parquet has {sum(rounds.values())} rounds")
    finished = {number for number, state in states.items() if state == "COMPLETE"}
    if not finished <= set(tickets(run)):
        found.append(f"without a ticket: {sorted(finished - set(tickets(run)))}")
    for number, status in _of_tune(run).items():
        if status not in ("TERMINATED", "ERROR") or (status == "ERROR" and states.get(number) != "FAIL"):
            found.append(f"trial {number} is {status} for Tune and {states.get(number)} in the study")
    return found + [f"left behind: {path.name}" for path in run.rglob("*.tmp")]


def _of_tune(run: Path) -> dict[int, str]:
    """Return what Tune says of the trials that ended in the sessions of drivers that were not killed."""
    told: dict[int, str] = {}
    for ends in sorted((run / "screening").glob("session-*/ends.json")):
        told |= {int(name): status for name, status in json.loads(ends.read_text()).items()}
    return told
