"""A proxy evaluation from its start, or from wherever it was, to its tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dp_core.errors import UserError
from dp_core.models import source_digest
from search.preparation import say_data
from search.progress import Progress
from search.proxy.config import ProxyEvaluationConfig
from search.proxy.driver import Driver
from search.proxy.journal import ScoreJournal
from search.proxy.outputs import write_outputs
from search.proxy.plan import ProxyPlan
from search.proxy.preparation import ProxyPreparation, foreign_sets, prepare_proxies
from search.proxy.truth_cache import TruthCache
from search.ray_session import ray_session
from search.run_directory import RunDirectory
from search.run_record import (
    claimed,
    config_of,
    digests,
    new_record,
    read_run,
    record_sets,
    refuse_changed_data,
    refuse_taken,
    write_record,
)


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
        record["config"]["sets"] = {name: str(path.resolve()) for name, path in config.chosen_sets.items()}
        record["table"] = prepared.table and prepared.table.digest
        record["networks"] = _sources(prepared)
        with _session(config, address):
            write_record(run, record)
            return _advance(run, prepared, progress)


def resume_proxies(run: RunDirectory, address: str | None, progress: Progress) -> list[dict[str, Any]]:
    """Take an evaluation on from wherever it is; a finished one only writes its tables and plots again.

    Raises:
        UserError: it cannot be read, its data have changed, or another process drives it.
    """
    prepared = reopened(run, local=address is None)
    with run.locked():
        session = nullcontext() if plan_of(run, prepared).finished else _session(prepared.config, address)
        with session:
            return _advance(run, prepared, progress)


def reopened(run: RunDirectory, *, local: bool) -> ProxyPreparation:
    """Return what a run was started with; UserError if its data, truth table or networks have changed since."""
    recorded = read_run(run)
    config = config_of(run, recorded, ProxyEvaluationConfig)
    prepared = prepare_proxies(config, str(run.config), local=local)
    refuse_changed_data(run, recorded, prepared.splits, config.data.place)
    if recorded.get("table") != (prepared.table and prepared.table.digest):
        raise UserError(f"The truth table of the run {run.path} has changed since it started: {config.truth.table}.")
    then, now = recorded.get("networks", {}), _sources(prepared)
    for name in now:
        if then.get(name) != now[name]:
            raise UserError(f"The network '{name}' of the run {run.path} has changed since it started.")
    return prepared


def _sources(prepared: ProxyPreparation) -> dict[str, str]:
    """Return digests of the files of the user's own networks, by name."""
    specs = {candidate.spec.name: candidate.spec for candidate in prepared.candidates}
    found = {name: source_digest(spec) for name, spec in specs.items()}
    return {name: digest for name, digest in found.items() if digest is not None}


def rewrite_outputs(run: RunDirectory) -> list[dict[str, Any]]:
    """Write tables and plots of what is finished anew, also while the evaluation runs; return the answers."""
    prepared = reopened(run, local=False)
    return write_outputs(run.path, prepared, plan_of(run, prepared), journal_of(run).read())


def plan_of(run: RunDirectory, prepared: ProxyPreparation) -> ProxyPlan:
    """Return what is left to be done."""
    return ProxyPlan(prepared, journal_of(run), _truth_of(prepared))


def journal_of(run: RunDirectory) -> ScoreJournal:
    """Return the scores of a run."""
    return ScoreJournal(run.path / "scores.jsonl")


def _truth_of(prepared: ProxyPreparation) -> TruthCache | None:
    if prepared.truth is None:
        return None
    return TruthCache(prepared.config.truth.directory, digests(prepared.splits))


def _session(config: ProxyEvaluationConfig, address: str | None) -> AbstractContextManager[None]:
    return ray_session(address, config.resources.concurrency * config.resources.cpus_per_job)


def _advance(run: RunDirectory, prepared: ProxyPreparation, progress: Progress) -> list[dict[str, Any]]:
    progress.say("proxies", f"{run.path}: {len(prepared.candidates)} architectures")
    say_data(prepared.splits, progress)
    for name in foreign_sets(prepared.inputs):
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
    if not answers:
        raise UserError(f"Nothing of the proxy evaluation {run.path} could be answered; the lines above say why.")
    return answers
