"""What a comparison does: its sets, its jobs, and the tables and plots of what is finished."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.files import write_text
from search.comparison.config import ComparisonConfig
from search.comparison.figures import write_figures
from search.comparison.page import page_body
from search.comparison.planning import Plan
from search.comparison.preparation import ComparisonDesign, ComparisonPreparation, design_comparison
from search.comparison.rows import result_rows, round_rows
from search.comparison.sets import set_facts, sets_at_hand
from search.comparison.tables import RESULTS, ROUNDS
from search.output.tables import write_table
from search.runs.checks import images_of
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.jobs import JobQueue, do_jobs
from search.runs.progress import Pace, Progress
from search.runs.record import config_of, read_run, record_sets
from trainables.laboratory import ComparisonFiles, Job, Laboratory, Stability, read_result, run_job
from trainables.trials.shared_dataset import SharedDataset


def write_outputs(run: RunDirectory, prepared: ComparisonDesign, *, figures: bool = True) -> list[dict[str, Any]]:
    """Write the tables, and the plots, of what is finished; return the rows."""
    files, seeds = ComparisonFiles(run.path), prepared.config.run.seeds
    methods = {name: method for found in prepared.methods.values() for name, method in found.items()}
    found = result_rows(prepared.methods, seeds, files, set_facts(methods, sets_at_hand(prepared)))
    rows = [{**row, **prepared.sizes[row["network"]]} for row in found]
    write_table(run.path / "results.parquet", rows, RESULTS)
    write_table(run.path / "rounds.parquet", round_rows(prepared.methods, seeds, files), ROUNDS)
    if figures:
        write_text(run.path / "results.md", f"# Results of {run.path.name}\n\n{page_body(rows)}")
        write_figures(rows, run.path / "figures", prepared.published)
    return rows


def recorded_design(run: RunDirectory) -> ComparisonDesign:
    """Return what a comparison is about, by its run.yaml."""
    recorded = read_run(run)
    config = config_of(run, recorded, ComparisonConfig)
    return design_comparison(config, str(run.config), images_of(recorded, config))


def advance(run: RunDirectory, prepared: ComparisonPreparation, progress: Progress) -> None:
    """Make the sets and do the jobs that are left.

    Raises:
        UserError: a job failed; all others are done then.
    """
    config = prepared.config
    wanted = {f"distilled-{ipc}": (prepared.distiller, ipc) for ipc in prepared.images_per_class}
    made = make_sets(wanted, prepared.splits, config.distill.directory, config.run.seed, run, progress)
    sets = {**prepared.sets, **made}
    record_sets(run, sets)
    plan = prepared.plan(run.path)
    if plan.left:
        run.enter("comparing")
        queue = LaboratoryJobs(plan, laboratory(run, prepared, sets), Pace(config.resources.concurrency), progress)
        do_jobs(queue, config.resources, "comparing", progress)
    if plan.left == 0:
        shutil.rmtree(ComparisonFiles(run.path).unfinished, ignore_errors=True)


def laboratory(run: RunDirectory, prepared: ComparisonPreparation, sets: Mapping[str, DistilledSet]) -> Laboratory:
    """Return what the jobs of a comparison share."""
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
        folder=run.path,
        threads=config.resources.cpus_per_job,
        stream=config.data.stream,
        round_images=config.round_images,
        rate_of_each=config.retrain.rate_of_each,
        masks_count=config.retrain.masks_count,
    )


class LaboratoryJobs(JobQueue[Job]):
    """The jobs of a plan, which keep their results in the run's folder."""

    def __init__(self, plan: Plan, shared: Laboratory, pace: Pace, progress: Progress) -> None:
        self.shared = shared
        self._plan, self._files, self._pace, self._progress = plan, shared.files, pace, progress

    def next(self) -> Job | None:
        """See `JobQueue`."""
        return self._plan.next()

    def work(self, job: Job) -> Callable[[Laboratory, Job], None]:
        """See `JobQueue`."""
        return run_job

    def name(self, job: Job) -> str:
        """See `JobQueue`."""
        return f"{job.kind} {job.cell.name}"

    def done(self, job: Job, result: None, seconds: float, running: Collection[Job]) -> None:
        """See `JobQueue`; raises UserError if the result is nowhere to be seen."""
        if not job.result(self._files).exists():
            folder = self.shared.folder
            raise UserError(f"Jobs do not write to {folder}: run.directory must be a folder that all machines see.")
        self._pace.done(job.kind, seconds)
        self._plan.drop_impossible()
        waiting = Counter[str](each.kind for each in (*self._plan.open, *running))
        counted = f"{len(self._plan.jobs) - waiting.total()}/{len(self._plan.jobs)}"
        said = (f"{counted} {job.cell.name}{self._told(job)}", self._pace.left(waiting))
        self._progress.say(job.kind, ", ".join(part for part in said if part))

    def _told(self, job: Job) -> str:
        """Return what a finished job has found, in a few words."""
        found = read_result(job.result(self._files)) or {}
        if job.kind in ("tune", "tune_training"):
            return f" learning rate {found.get('learning_rate')}"
        if found.get("status") not in (None, "finished"):
            return f" {found['status']}: {found['reason']}"
        accuracy = found.get("test_accuracy")
        return "" if accuracy is None else f" test accuracy {accuracy:.1%}"
