"""What a proxy evaluation does: its jobs, and the tables and plots of what is finished."""

from __future__ import annotations

from typing import Any

from dp_core.errors import UserError
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.driver import EvaluationJobs
from search.proxies.journal import ScoreJournal
from search.proxies.outputs import write_outputs
from search.proxies.plan import ProxyPlan
from search.proxies.preparation import ProxyDesign, ProxyPreparation, design_proxies
from search.proxies.truth_cache import TruthCache
from search.runs.checks import images_of
from search.runs.directory import RunDirectory
from search.runs.jobs import do_jobs
from search.runs.progress import Progress
from search.runs.record import config_of, read_run, record_sets


def recorded_design(run: RunDirectory) -> ProxyDesign:
    """Return what an evaluation is about, by its run.yaml; UserError if its truth table has changed since."""
    recorded = read_run(run)
    config = config_of(run, recorded, ProxyEvaluationConfig)
    design = design_proxies(config, str(run.config), images_of(recorded, config))
    if recorded.get("table") != table_digest(design):
        table = config.truth.table
        raise UserError(f"The truth table of the run {run.path} has changed since it started: {table}.")
    return design


def table_digest(design: ProxyDesign) -> str | None:
    """Return the digest of the table that the accuracies come from; None where they are trained."""
    return None if design.table is None else design.table.digest


def rewrite_outputs(run: RunDirectory) -> list[dict[str, Any]]:
    """Write tables and plots of what is finished anew, also while the evaluation runs; return the answers."""
    prepared = recorded_design(run)
    return write_outputs(run.path, prepared, plan_of(run, prepared), journal_of(run).read())


def plan_of(run: RunDirectory, prepared: ProxyDesign) -> ProxyPlan:
    """Return what is left to be done."""
    return ProxyPlan(prepared, journal_of(run), _truth_of(prepared))


def journal_of(run: RunDirectory) -> ScoreJournal:
    """Return the scores of a run."""
    return ScoreJournal(run.path / "scores.jsonl")


def _truth_of(prepared: ProxyDesign) -> TruthCache | None:
    if prepared.truth is None:
        return None
    return TruthCache(prepared.config.truth.directory, prepared.images.digests)


def advance(run: RunDirectory, prepared: ProxyPreparation, progress: Progress) -> None:
    """Do the scores and trainings that are left.

    Raises:
        UserError: a job failed; all others are done then.
    """
    progress.say("proxies", f"{len(prepared.architectures)} architectures")
    for name in prepared.foreign_sets:
        progress.say("proxies", f"the set '{name}' was not made from these training images, and may know the held-back")
    record_sets(run, prepared.inputs.sets)
    journal, truth = journal_of(run), _truth_of(prepared)
    plan = ProxyPlan(prepared, journal, truth)
    if not plan.finished:
        run.enter("evaluating")
        queue = EvaluationJobs(prepared, plan, journal, truth, progress)
        do_jobs(queue, prepared.config.resources, "proxies", progress)
