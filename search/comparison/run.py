"""A study of pruning methods from its start, or from wherever it was, to its tables and plots."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dp_core.errors import UserError
from dp_core.files import write_text
from search.comparison.config import StudyConfig
from search.comparison.figures import write_figures
from search.comparison.page import page_body
from search.comparison.parquet import write_results, write_rounds
from search.comparison.planning import Plan
from search.comparison.preparation import StudyDesign, StudyPreparation, design_study, prepare_study
from search.comparison.rows import result_rows, round_rows
from search.comparison.sets import set_facts, sets_at_hand
from search.pipeline.preparation import images_of, say_data
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.progress import Pace, Progress
from search.runs.ray_session import ray_session
from search.runs.record import (
    claimed,
    config_of,
    new_record,
    read_run,
    record_sets,
    refuse_changed_data,
    refuse_taken,
    write_record,
)
from search.runs.reopening import reopen, write_reopened
from trainables.laboratory import Job, Laboratory, Stability, StudyFiles, read_result, run_job
from trainables.trials.shared_dataset import SharedDataset


def start_study(
    config: StudyConfig, where: str, command: Sequence[str], address: str | None, progress: Progress
) -> list[dict[str, Any]]:
    """Start a new study with the config read from `where` and take it to its end; return its rows.

    Raises:
        UserError: the name is taken, or a check failed; nothing is left behind then.
    """
    run = RunDirectory((config.run.directory / config.run.name).resolve())
    refuse_taken(run, config.run)
    prepared = prepare_study(config, where, local=address is None)
    with claimed(run, config.run):
        record = new_record(command, config, prepared.splits)
        with _session(config, address):
            write_record(run, record)
            return _advance(run, prepared, progress)


def resume_study(
    run: RunDirectory, address: str | None, progress: Progress, overrides: Sequence[str] = (), accepted: bool = False
) -> list[dict[str, Any]]:
    """Take a study on from wherever it is; a finished one only writes its tables and plots again.

    Args:
        run: the run.
        address: of a Ray cluster.
        progress: is told what happens.
        overrides: where its files are now, `dotted.key=path`.
        accepted: whether changes of the user's own modules are meant.

    Raises:
        UserError: the study cannot be read, its data or modules have changed, or another process drives it.
    """
    found = reopen(run, StudyConfig, overrides, accepted)
    config = found.config
    prepared = prepare_study(config, str(run.config), local=address is None)
    refuse_changed_data(run, found.recorded, prepared.splits, config.data.place)
    with run.locked():
        write_reopened(run, found, progress)
        plan = prepared.plan(run.path)
        with _session(config, address) if plan.left else nullcontext():
            return _advance(run, prepared, progress)


def write_outputs(run: RunDirectory, prepared: StudyDesign, *, figures: bool = True) -> list[dict[str, Any]]:
    """Write the tables, and the plots, of what is finished; return the rows."""
    files, seeds = StudyFiles(run.path), prepared.config.run.seeds
    methods = {name: method for found in prepared.methods.values() for name, method in found.items()}
    found = result_rows(prepared.methods, seeds, files, set_facts(methods, sets_at_hand(prepared)))
    rows = [{**row, **prepared.sizes[row["network"]]} for row in found]
    write_results(rows, run.path / "results.parquet")
    write_rounds(round_rows(prepared.methods, seeds, files), run.path / "rounds.parquet")
    if figures:
        write_text(run.path / "results.md", f"# Results of {run.path.name}\n\n{page_body(rows)}")
        write_figures(rows, run.path / "figures", prepared.published)
    return rows


def rewrite_outputs(run: RunDirectory) -> list[dict[str, Any]]:
    """Write tables and plots of what is finished anew, also while the study runs; return the rows."""
    return write_outputs(run, recorded_design(run))


def recorded_design(run: RunDirectory) -> StudyDesign:
    """Return what a study is about, by its run.yaml."""
    recorded = read_run(run)
    config = config_of(run, recorded, StudyConfig)
    return design_study(config, str(run.config), images_of(recorded, config))


def _session(config: StudyConfig, address: str | None) -> AbstractContextManager[None]:
    return ray_session(address, config.resources.concurrency * config.resources.cpus_per_job)


def _advance(run: RunDirectory, prepared: StudyPreparation, progress: Progress) -> list[dict[str, Any]]:
    config = prepared.config
    progress.say("study", f"{run.path}")
    say_data(prepared.splits, progress)
    wanted = {f"distilled-{ipc}": (prepared.distiller, ipc) for ipc in prepared.images_per_class}
    sets = {**prepared.sets, **make_sets(wanted, prepared.splits, config, run, progress)}
    record_sets(run, sets)
    plan = prepared.plan(run.path)
    try:
        if plan.left:
            run.enter("comparing")
            _work(laboratory(run.path, prepared, sets), plan, config, progress)
    finally:
        run.enter("reporting")
        rows = write_outputs(run, prepared)
    if not any(row["status"] == "finished" for row in rows):
        first = f": {rows[0]['reason']}" if rows else ""
        raise UserError(f"Nothing of the study {run.path} could be finished; the lines above say why{first}.")
    return rows


def laboratory(folder: Path, prepared: StudyPreparation, sets: Any) -> Laboratory:
    """Return what the jobs of a study share."""
    config, splits = prepared.config, prepared.splits
    stability = config.stability
    return Laboratory(
        train=SharedDataset.of(splits.train),
        validation=SharedDataset.of(splits.validation),
        test=SharedDataset.of(splits.test),
        space=prepared.space,
        sets=sets,
        networks=prepared.networks,
        methods=prepared.methods,
        scope=prepared.scope,
        recipe=prepared.recipe,
        learning_rates=prepared.learning_rates,
        stability=Stability(prepared.barrier_at, stability.points, prepared.eigenvalue_at, stability.images),
        seed=config.run.seed,
        folder=folder,
        threads=config.resources.cpus_per_job,
        stream=config.data.stream,
        round_images=config.round_images,
    )


def _work(lab: Laboratory, plan: Plan, config: StudyConfig, progress: Progress) -> None:
    """Do the jobs, as many at a time as the config says; what fails is told in the end, when the others are done."""
    resources, shared = config.resources, ray.put(lab)
    remote = ray.remote(run_job).options(
        num_cpus=resources.cpus_per_job, num_gpus=resources.gpus_per_job, max_retries=resources.max_failures
    )
    running: dict[Any, tuple[Job, float]] = {}
    pace = Pace(resources.concurrency)
    failures: list[tuple[Job, RayError]] = []
    while True:
        while len(running) < resources.concurrency and (job := plan.next()) is not None:
            running[remote.remote(shared, job)] = job, time.monotonic()
        if not running:
            break
        (done, *_), _ = ray.wait(list(running), num_returns=1)
        job, began = running.pop(done)
        pace.done(job.kind, time.monotonic() - began)
        try:
            ray.get(done)
        except RayError as error:
            failures.append((job, error))
            progress.say(job.kind, f"{job.cell.name} failed")
            continue
        if not job.result(lab.files).exists():
            raise UserError(f"Jobs do not write to {lab.folder}: run.directory must be a folder that all machines see.")
        plan.drop_impossible()
        waiting = Counter[str](each.kind for each in (*plan.open, *(at_work for at_work, _ in running.values())))
        counted = f"{len(plan.jobs) - waiting.total()}/{len(plan.jobs)}"
        said = (f"{counted} {job.cell.name}{_told(job, lab.files)}", pace.left(waiting))
        progress.say(job.kind, ", ".join(part for part in said if part))
    for job, failure in failures[:1]:
        cause = failure.cause if isinstance(failure, RayTaskError) else failure
        told = f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise UserError(f"The job '{job.kind} {job.cell.name}' failed: {told}{more}.") from failure
    if plan.left == 0:
        shutil.rmtree(lab.files.unfinished, ignore_errors=True)


def _told(job: Job, files: StudyFiles) -> str:
    """Return what a finished job has found, in a few words."""
    found = read_result(job.result(files)) or {}
    if job.kind == "tune":
        return f" learning rate {found.get('learning_rate')}"
    if found.get("status") not in (None, "finished"):
        return f" {found['status']}: {found['reason']}"
    accuracy = found.get("test_accuracy")
    return "" if accuracy is None else f" test accuracy {accuracy:.1%}"
