"""What a proxy evaluation does: its jobs, and the tables and plots of what is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dp_core.errors import UserError
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.driver import EvaluationJobs
from search.proxies.journal import journal_of
from search.proxies.outputs import write_outputs
from search.proxies.plan import ProxyPlan
from search.proxies.preparation import ProxyDesign, ProxyPreparation, design_proxies
from search.proxies.trainings import trainings_of
from search.proxies.truth_table import refuse_changed
from search.proxies.truths import truth_rows
from search.runs.checks import images_of
from search.runs.directory import RunDirectory
from search.runs.jobs import do_jobs
from search.runs.progress import Progress
from search.runs.record import config_of, read_run, record_sets


def recorded_design(run: RunDirectory) -> ProxyDesign:
    """Return what an evaluation is about, by its run.yaml; UserError if its truth table has changed since."""
    recorded = read_run(run)
    config = config_of(run, recorded, ProxyEvaluationConfig)
    refuse_changed(config.truth.table, recorded.get("table"), run.path)
    return design_proxies(config, str(run.config), images_of(recorded, config))


def table_digest(design: ProxyDesign) -> str | None:
    """Return the digest of the table that the accuracies come from; None where they are trained."""
    return None if design.table is None else design.table.digest


def rewrite_outputs(run: RunDirectory) -> list[dict[str, Any]]:
    """Write tables and plots of what is finished anew, also while the evaluation runs; return the answers."""
    prepared = recorded_design(run)
    return write_outputs(run.path, prepared, trainings_of(prepared.config, prepared.images), journal_of(run).read())


def plan_of(run: RunDirectory, prepared: ProxyDesign) -> ProxyPlan:
    """Return what is left to be done."""
    return ProxyPlan(prepared, journal_of(run), trainings_of(prepared.config, prepared.images))


def refuse_unanswered(run: RunDirectory, prepared: ProxyDesign, rows: Sequence[Mapping[str, Any]]) -> None:
    """See that one architecture at least has both a score and a true accuracy.

    Raises:
        UserError: none has, so that the run has come to nothing.
    """
    truths = truth_rows(prepared, trainings_of(prepared.config, prepared.images))
    true = any(row["status"] in ("finished", "table") for row in truths)
    if not true or not any(answer["architectures"] for answer in rows):
        raise UserError(
            f"Nothing of the run {run.path} could be answered, as no architecture has both a score and a true "
            "accuracy; the lines above and the tables beside results.md say why."
        )


def advance(run: RunDirectory, prepared: ProxyPreparation, progress: Progress) -> None:
    """Do the scores and trainings that are left.

    Raises:
        UserError: a job failed; all others are done then.
    """
    progress.say("proxies", f"{len(prepared.architectures)} architectures")
    for name in prepared.foreign_sets:
        progress.say("proxies", f"the set '{name}' was not made from these training images, and may know the held-back")
    record_sets(run, prepared.inputs.sets)
    journal, trainings = journal_of(run), trainings_of(prepared.config, prepared.images)
    plan = ProxyPlan(prepared, journal, trainings)
    if not plan.finished:
        run.enter("evaluating")
        queue = EvaluationJobs(prepared, plan, journal, trainings, progress)
        do_jobs(queue, prepared.config.resources, "proxies", progress)
