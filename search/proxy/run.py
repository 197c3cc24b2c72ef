"""A proxy evaluation from its start, or from wherever it was, to its tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dp_core.errors import UserError
from dp_core.models import source_digest
from dp_core.proxies import RealTraining
from search.progress import Progress
from search.proxy.config import ProxyEvaluationConfig
from search.proxy.journal import ScoreJournal
from search.proxy.outputs import write_outputs
from search.proxy.plan import Job, ProxyPlan
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
from trainables.proxies import ProxyBench, ScoreJob, run_scores, run_truth
from trainables.shared_dataset import SharedDataset


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
    refuse_changed_data(run, recorded, prepared.splits, config.data.root)
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
    for name in foreign_sets(prepared.inputs):
        progress.say("proxies", f"the set '{name}' was not made from these training images, and may know the held-back")
    record_sets(run, prepared.inputs.sets)
    journal, truth = journal_of(run), _truth_of(prepared)
    plan = ProxyPlan(prepared, journal, truth)
    try:
        if not plan.finished:
            _Driver(prepared, plan, journal, truth, progress).work()
    finally:
        answers = write_outputs(run.path, prepared, plan, journal.read())
    if not answers:
        raise UserError(f"Nothing of the proxy evaluation {run.path} could be answered; the lines above say why.")
    return answers


class _Driver:
    """Does the jobs of a plan, as many at a time as the config says; a job that fails does not stop the others."""

    def __init__(
        self,
        prepared: ProxyPreparation,
        plan: ProxyPlan,
        journal: ScoreJournal,
        truth: TruthCache | None,
        progress: Progress,
    ) -> None:
        self._config = prepared.config
        self._plan, self._journal, self._truth, self._progress = plan, journal, truth, progress
        self._bench = ray.put(_bench(prepared))
        self._failures: list[str] = []

    def work(self) -> None:
        """Do everything that can be done.

        Raises:
            UserError: jobs were lost or failed in a way that no proxy should; the others are done then.
        """
        running: dict[Any, Job] = {}
        while True:
            while len(running) < self._config.resources.concurrency and (job := self._plan.next()) is not None:
                running[self._start(job)] = job
            if not running:
                break
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            self._finish(running.pop(done), done, len(running))
        if self._failures:
            more = f" (and {len(self._failures) - 1} more)" if len(self._failures) > 1 else ""
            raise UserError(f"{self._failures[0]}{more}; 'winnow resume' tries again.")

    def _start(self, job: Job) -> Any:
        resources = self._config.resources
        work: Any = run_scores if isinstance(job, ScoreJob) else run_truth
        remote = ray.remote(work).options(
            num_cpus=resources.cpus_per_job, num_gpus=resources.gpus_per_job, max_retries=resources.max_failures
        )
        return remote.remote(self._bench, job)

    def _finish(self, job: Job, reference: Any, running: int) -> None:
        name = job.label if isinstance(job, ScoreJob) else job.spec.label()
        try:
            found = ray.get(reference)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            told = f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
            self._failures.append(f"A job of '{name}' failed: {told}")
            self._progress.say("proxies", self._failures[-1])
            return
        if isinstance(job, ScoreJob):
            self._scored(found, running)
        else:
            self._trained(job, found)

    def _scored(self, rows: list[dict[str, Any]], running: int) -> None:
        self._journal.append(rows)
        for row in rows:
            if row["status"] == "failed":
                self._progress.say("proxies", f"{row['proxy']} failed on {row['architecture']}: {row['reason']}")
        wanted = self._plan.scores_wanted
        done = wanted - self._plan.scores_left - running
        self._progress.step("scores", done, wanted, rows[-1]["architecture"])

    def _trained(self, training: RealTraining, found: dict[str, Any]) -> None:
        assert self._truth is not None
        self._truth.add(training, found)
        self._plan.tuned(training)
        name = training.spec.label()
        if found["status"] == "failed":
            self._progress.say("truth", f"{name} cannot be trained: {found['reason']}")
        elif training.tested:
            text = f"{name}: test accuracy {found['test_accuracy']:.1%}, {found['seconds']:.0f} s"
            self._progress.say("truth", f"{text}; {self._plan.trainings_left} trainings left")
        else:
            rate, accuracy = training.recipe.learning_rate, found["validation_accuracy"]
            self._progress.say("tuning", f"{name}: {accuracy:.1%} at {rate:g}, {found['seconds']:.0f} s")


def _bench(prepared: ProxyPreparation) -> ProxyBench:
    splits = prepared.splits
    return ProxyBench(
        train=SharedDataset.of(splits.train),
        validation=SharedDataset.of(splits.validation),
        scored=SharedDataset.of(prepared.inputs.validation),
        test=None if prepared.truth is None else SharedDataset.of(splits.test),
        space=prepared.space,
        sets=prepared.inputs.sets,
        proxies=prepared.proxies,
        seed=prepared.config.run.seed,
        threads=prepared.config.resources.cpus_per_job,
    )
