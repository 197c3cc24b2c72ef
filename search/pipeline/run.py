"""A run from its start, or from wherever it was, to its leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dp_core.distillation import DISTILLERS, DistilledSet, Distiller
from dp_core.errors import UserError
from search.config.loader import override_config
from search.config.models import SearchConfig
from search.pipeline.leaderboard import write_tables
from search.pipeline.preparation import Preparation, prepare, say_data
from search.pipeline.promotion import set_aside
from search.pipeline.retraining_phase import retrain_chosen, retrain_requested, told_ends
from search.pipeline.retraining_plan import recipe_key
from search.pipeline.screening import phase_storage, screen
from search.pipeline.study_opening import make_study, open_record, refuse_used_database
from search.pipeline.study_reading import refuse_lost_study
from search.pipeline.tables import damaged_tables
from search.pipeline.tensorboard import TensorBoardLog
from search.report import write_report
from search.runs.changes import agree, has_changed, refuse_changes
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.estimate import Estimate, estimate_search
from search.runs.progress import Progress
from search.runs.ray_session import ray_session
from search.runs.record import (
    claimed,
    config_of,
    dumped,
    judged_otherwise,
    new_record,
    read_run,
    record_sets,
    refuse_changed_data,
    refuse_taken,
    write_record,
)
from search.runs.sources import SOURCES, refuse_changed_sources
from search.space import ChoiceParameter, FloatParameter, IntParameter, Space
from search.study.record import StudyRecord
from search.study.storage.store import resolve_url
from search.tune.checkpoints import CheckpointStore, absolute


def start(
    config: SearchConfig, where: str, command: Sequence[str], address: str | None, progress: Progress
) -> list[dict[str, Any]]:
    """Start a new run with the config read from `where` and take it to its end; return the leaderboard.

    Raises:
        UserError: the name is taken, or a check failed; nothing is left behind then.
    """
    run = RunDirectory((config.run.directory / config.run.name).resolve())
    refuse_taken(run, config.run)
    prepared = prepare(config, where, local=address is None)
    estimate = estimate_search(prepared, wanted_sets(prepared))
    for sentence in estimate.lines():
        progress.say("estimate", sentence)
    with claimed(run, config.run):
        _refuse_used_storage(run, prepared)
        refuse_used_database(config)
        with _session(prepared, address):
            make_study(run, config)
            recorded = _record(prepared, command, estimate)
            write_record(run, recorded)
            agree(run, recorded["config"])
            return _advance(run, prepared, progress)


def _refuse_used_storage(run: RunDirectory, prepared: Preparation) -> None:
    """Checkpoints of another run under the same name would be taken for this one's."""
    for phase in ("screening", "retraining"):
        storage = phase_storage(run, prepared, phase)
        if CheckpointStore(storage).has_sessions():
            raise UserError(f"The storage {storage} has the checkpoints of another run: choose another run.name.")


def resume(
    run: RunDirectory, address: str | None, progress: Progress, overrides: Sequence[str] = (), accepted: bool = False
) -> list[dict[str, Any]]:
    """Take a run on from wherever it is; a finished one only writes its tables and report again.

    Args:
        run: the run.
        address: of a Ray cluster.
        progress: is told what happens.
        overrides: keys to change, `dotted.key=value`.
        accepted: whether changes of the config, by these or in run.yaml, and of the user's own modules are meant.

    Raises:
        UserError: the run cannot be read, its config or data have changed, or another process drives it.
    """
    with run.locked():
        pass  # if another process drives it, that is said before anything is looked at
    recorded = read_run(run)
    config = config_of(run, recorded, SearchConfig)
    if overrides:
        config = override_config(SearchConfig, recorded["config"], run.config, overrides)
    recorded["config"] = dumped(config)
    moved = refuse_changes(run, recorded["config"], accepted)
    recorded[SOURCES] = refuse_changed_sources(run, recorded, recorded["config"], accepted)
    refuse_lost_study(run, config)
    prepared = prepare(config, str(run.config), local=address is None)
    refuse_changed_data(run, recorded, prepared.splits, prepared.config.data.place)
    if told := judged_otherwise(recorded):
        progress.say("run", told)
    for change in moved:
        progress.say("run", f"{change}: moved, and the same")
    with run.locked(), _session(prepared, address):
        run.sweep()
        write_record(run, recorded)
        if has_changed(run, recorded["config"], "promote"):
            set_aside(run.promotion)
        agree(run, recorded["config"])
        return _advance(run, prepared, progress)


def _session(prepared: Preparation, address: str | None) -> AbstractContextManager[None]:
    search = prepared.config.search
    return ray_session(address, search.concurrency * search.cpus_per_trial)


def _advance(run: RunDirectory, prepared: Preparation, progress: Progress) -> list[dict[str, Any]]:
    progress.say("run", f"{run.path}")
    say_data(prepared.splits, progress)
    for sentence in prepared.space.notes:
        progress.say("run", sentence)
    for sentence in damaged_tables(run):
        progress.say("run", f"{sentence} It is written anew from the study.")
    ready = {f"distilled-{ipc}": found for ipc, found in prepared.ready.items()}
    sets = {**ready, **make_sets(wanted_sets(prepared), prepared.splits, prepared.config, run, progress)}
    record_sets(run, sets)
    with open_record(run, prepared, sets, progress) as record:
        rows = _screen_and_retrain(run, prepared, record, sets, progress)
    recipe = recipe_key(prepared.retraining)
    if not any(row["recipe"] == recipe for row in rows):
        raise UserError(f"No ticket of the run {run.path} could be retrained: {told_ends(run, recipe)}")
    return rows


def _screen_and_retrain(
    run: RunDirectory,
    prepared: Preparation,
    record: StudyRecord,
    sets: dict[str, DistilledSet],
    progress: Progress,
) -> list[dict[str, Any]]:
    board = TensorBoardLog(run.tensorboard, parameter_types(prepared.space))
    rows: list[dict[str, Any]] = []
    try:
        if record.unfinished > 0:
            set_aside(run.promotion)  # of a run that had fewer trials
            screen(run, prepared, record, sets, board, progress)
        retrain_chosen(run, prepared, record.trials(), sets, board, progress)
        retrain_requested(run, prepared, board, progress)
    finally:
        run.enter("reporting")
        board.close()
        rows = write_tables(run, record.trials())
        write_report(run.path)
    return rows


def wanted_sets(prepared: Preparation) -> dict[str, tuple[Distiller, int]]:
    """Return the distilled sets and random subsets that are to be made, distiller and ipc by `Candidate.data_key`."""
    makers: dict[str, Distiller] = {"distilled": prepared.distiller, "subset": DISTILLERS["random_images"]()}
    return {
        f"{source}-{ipc}": (distiller, ipc)
        for source, distiller in makers.items()
        for ipc in (prepared.images_per_class if source in prepared.sources else ())
        if not (source == "distilled" and ipc in prepared.ready)
    }


def _record(prepared: Preparation, command: Sequence[str], estimate: Estimate) -> dict[str, Any]:
    record = new_record(command, prepared.config, prepared.splits, estimate.to_dict())
    storage = prepared.config.run.storage
    record["config"]["run"]["storage"] = None if storage is None else absolute(storage)
    url = prepared.config.search.storage
    record["config"]["search"]["storage"] = None if url is None else resolve_url(url, Path.cwd())
    record["config"]["search"]["start"]["runs"] = [str(path.resolve()) for path in prepared.config.search.start.runs]
    return record


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
