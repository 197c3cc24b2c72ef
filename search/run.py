"""A run from its start, or from wherever it was, to its leaderboard."""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import yaml

from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.files import write_text
from search.checkpoints import CheckpointStore, absolute
from search.collecting import write_tables
from search.config.models import SearchConfig
from search.distilling import make_sets
from search.machine import this_machine
from search.preparation import Preparation, digests, prepare
from search.progress import Progress
from search.ray_session import ray_session
from search.record import StudyRecord
from search.report import write_report
from search.retraining import promote, retrain
from search.run_directory import LOCK, RunDirectory
from search.screening import phase_storage, screen
from search.space import ChoiceParameter, FloatParameter, IntParameter, Space
from search.tensorboard import TensorBoardLog

_LIBRARIES = ("winnow", "torch", "torchvision", "ray", "optuna", "numpy", "pyarrow")


def start(
    config: SearchConfig, where: str, command: Sequence[str], address: str | None, progress: Progress
) -> list[dict[str, Any]]:
    """Start a new run with the config read from `where` and take it to its end; return the leaderboard.

    Raises:
        UserError: the name is taken, or a check failed; nothing is left behind then.
    """
    run = RunDirectory((config.run.directory / config.run.name).resolve())
    _refuse_taken(run, config)
    prepared = prepare(config, where, local=address is None)
    run.path.mkdir(parents=True, exist_ok=True)
    with run.locked():
        _refuse_taken(run, config)  # another driver may have been quicker
        try:
            _refuse_used_storage(run, prepared)
            with _session(prepared, address):
                write_text(run.config, yaml.safe_dump(_provenance(prepared, command), sort_keys=False))
                return _advance(run, prepared, progress)
        finally:
            if not run.config.exists():
                shutil.rmtree(run.path, ignore_errors=True)


def _refuse_taken(run: RunDirectory, config: SearchConfig) -> None:
    if run.config.exists():
        raise UserError(
            f"The run {config.run.name} exists in {config.run.directory}: go on with it by "
            f"'winnow resume {config.run.directory / config.run.name}', or choose another run.name."
        )
    if run.path.exists() and any(entry.name != LOCK for entry in run.path.iterdir()):
        raise UserError(f"The folder {run.path} is not empty and not a run: choose another run.name.")


def _refuse_used_storage(run: RunDirectory, prepared: Preparation) -> None:
    """Checkpoints of another run under the same name would be taken for this one's."""
    for phase in ("screening", "retraining"):
        storage = phase_storage(run, prepared, phase)
        if CheckpointStore(storage).has_sessions():
            raise UserError(f"The storage {storage} has the checkpoints of another run: choose another run.name.")


def resume(run: RunDirectory, address: str | None, progress: Progress) -> list[dict[str, Any]]:
    """Take a run on from wherever it is; a finished one only writes its tables and report again.

    Raises:
        UserError: the run cannot be read, its data have changed, or another process drives it.
    """
    recorded = read_run(run)
    prepared = prepare(config_of(run, recorded), str(run.config), local=address is None)
    if recorded["data"] != dict(digests(prepared.splits)):
        raise UserError(f"The data of the run {run.path} have changed since it started: {prepared.config.data.root}.")
    with run.locked(), _session(prepared, address):
        return _advance(run, prepared, progress)


def read_run(run: RunDirectory) -> dict[str, Any]:
    """Return what run.yaml says."""
    try:
        recorded = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{run.config} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(recorded, dict) or "config" not in recorded or "data" not in recorded:
        raise UserError(f"{run.config} is not the record of a run.")
    return recorded


def config_of(run: RunDirectory, recorded: dict[str, Any]) -> SearchConfig:
    """Return the config that a run was started with."""
    try:
        return SearchConfig.model_validate(recorded["config"])
    except ValueError as error:
        raise UserError(f"The config in {run.config} is not valid: {' '.join(str(error).split())}.") from error


def _session(prepared: Preparation, address: str | None) -> AbstractContextManager[None]:
    search = prepared.config.search
    return ray_session(address, search.concurrency * search.cpus_per_trial)


def _advance(run: RunDirectory, prepared: Preparation, progress: Progress) -> list[dict[str, Any]]:
    config = prepared.config
    progress.say("run", f"{run.path}")
    sets = make_sets(prepared, progress)
    _record_sets(run, sets)
    record = StudyRecord(run.journal, config, prepared.space)
    board = TensorBoardLog(run.tensorboard, parameter_types(prepared.space))
    try:
        if record.unfinished > 0:
            screen(run, prepared, record, sets, board, progress)
        retrain(run, prepared, promote(record.trials(), config.promote), board, progress)
    finally:
        board.close()
        rows = write_tables(run, record.trials())
        write_report(run.path)
    if not rows:
        raise UserError(f"No ticket of the run {run.path} could be retrained; the lines above say why.")
    return rows


def parameter_types(space: Space) -> dict[str, type]:
    """Return the searched parameters by name, with the type of their values, as TensorBoard shows them."""
    kinds: dict[str, type] = {}
    for parameter in space.parameters:
        if isinstance(parameter, IntParameter):
            kinds[parameter.name] = int
        elif isinstance(parameter, FloatParameter):
            kinds[parameter.name] = float
        elif isinstance(parameter, ChoiceParameter):
            found = {type(value) for value in parameter.values}
            kinds[parameter.name] = found.pop() if len(found) == 1 else str
    return kinds


def _provenance(prepared: Preparation, command: Sequence[str]) -> dict[str, Any]:
    config = prepared.config.model_dump(mode="json")
    # A resumed run must find its data wherever it is resumed from.
    config["data"]["root"] = str(prepared.config.data.root.resolve())
    config["data"]["cache"] = str(prepared.config.data.cache.resolve())
    storage = prepared.config.run.storage
    config["run"]["storage"] = None if storage is None else absolute(storage)
    config["distill"]["directory"] = str(prepared.config.distill.directory.resolve())
    return {
        "command": shlex.join(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": prepared.config.run.seed,
        "machine": f"{platform.system()} {platform.machine()}, {this_machine().describe()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "data": dict(digests(prepared.splits)),
        "splits": {
            "train": len(prepared.splits.train),
            "validation": len(prepared.splits.validation),
            "test": len(prepared.splits.test),
        },
        "distilled_sets": {},
        "config": config,
    }


def _record_sets(run: RunDirectory, sets: dict[str, DistilledSet]) -> None:
    recorded = read_run(run)
    recorded["distilled_sets"] = {key: found.digest for key, found in sets.items()}
    write_text(run.config, yaml.safe_dump(recorded, sort_keys=False, allow_unicode=True))
