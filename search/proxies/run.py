"""A proxy evaluation from its start, or from wherever it was, to its tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dp_core.errors import UserError
from search.pipeline.preparation import images_of, say_data
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.driver import Driver
from search.proxies.journal import ScoreJournal
from search.proxies.outputs import write_outputs
from search.proxies.plan import ProxyPlan
from search.proxies.preparation import ProxyDesign, ProxyPreparation, design_proxies, prepare_proxies
from search.proxies.truth_cache import TruthCache
from search.proxies.truths import truth_rows
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
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


def start_proxies(
    config: ProxyEvaluationConfig, where: str, command: Sequence[str], address: str | None, progress: Progress
) -> list[dict[str, Any]]:
    """Start a new proxy evaluation with the config read from `where` and take it to its end; return its answers.

    Raises:
        UserError: the name is taken, or a check failed; nothing is left behind then.
    """
    run = RunDirectory((config.run.directory / config.run.name).resolve())
    refuse_taken(run, config.run)
    prepared = prepare_proxies(config, where, local=address is None)
    with claimed(run, config.run):
        record = new_record(command, config, prepared.splits)
        record["table"] = prepared.table and prepared.table.digest
        with _session(config, address):
            write_record(run, record)
            return _advance(run, prepared, progress)


def resume_proxies(
    run: RunDirectory, address: str | None, progress: Progress, overrides: Sequence[str] = (), accepted: bool = False
) -> list[dict[str, Any]]:
    """Take an evaluation on from wherever it is; a finished one only writes its tables and plots again.

    Args:
        run: the run.
        address: of a Ray cluster.
        progress: is told what happens.
        overrides: where its files are now, `dotted.key=path`.
        accepted: whether changes of the user's own modules are meant.

    Raises:
        UserError: it cannot be read, its data, table or modules have changed, or another process drives it.
    """
    found = reopen(run, ProxyEvaluationConfig, overrides, accepted)
    prepared = _prepared(run, found.recorded, found.config, local=address is None)
    with run.locked():
        write_reopened(run, found, progress)
        session = nullcontext() if plan_of(run, prepared).finished else _session(prepared.config, address)
        with session:
            return _advance(run, prepared, progress)


def recorded_design(run: RunDirectory) -> ProxyDesign:
    """Return what an evaluation is about, by its run.yaml; UserError if its truth table has changed since."""
    recorded = read_run(run)
    config = config_of(run, recorded, ProxyEvaluationConfig)
    design = design_proxies(config, str(run.config), images_of(recorded, config))
    _refuse_changed_table(run, recorded, design)
    return design


def _prepared(
    run: RunDirectory, recorded: Mapping[str, Any], config: ProxyEvaluationConfig, *, local: bool
) -> ProxyPreparation:
    prepared = prepare_proxies(config, str(run.config), local=local)
    refuse_changed_data(run, recorded, prepared.splits, config.data.place)
    _refuse_changed_table(run, recorded, prepared)
    return prepared


def _refuse_changed_table(run: RunDirectory, recorded: Mapping[str, Any], design: ProxyDesign) -> None:
    if recorded.get("table") != (design.table and design.table.digest):
        table = design.config.truth.table
        raise UserError(f"The truth table of the run {run.path} has changed since it started: {table}.")


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


def _session(config: ProxyEvaluationConfig, address: str | None) -> AbstractContextManager[None]:
    return ray_session(address, config.resources.concurrency * config.resources.cpus_per_job)


def _advance(run: RunDirectory, prepared: ProxyPreparation, progress: Progress) -> list[dict[str, Any]]:
    progress.say("proxies", f"{run.path}: {len(prepared.candidates)} architectures")
    say_data(prepared.splits, progress)
    for name in prepared.foreign_sets:
        progress.say("proxies", f"the set '{name}' was not made from these training images, and may know the held-back")
    record_sets(run, prepared.inputs.sets)
    journal, truth = journal_of(run), _truth_of(prepared)
    plan = ProxyPlan(prepared, journal, truth)
    try:
        if not plan.finished:
            run.enter("evaluating")
            Driver(prepared, plan, journal, truth, progress).work()
    finally:
        run.enter("reporting")
        answers = write_outputs(run.path, prepared, plan, journal.read())
    true = any(row["status"] in ("finished", "table") for row in truth_rows(prepared, plan))
    if not true or not any(answer["architectures"] for answer in answers):
        raise UserError(
            f"Nothing of the proxy evaluation {run.path} could be answered, as no architecture has both a score and a "
            "true accuracy; the lines above and the tables beside results.md say why."
        )
    return answers
