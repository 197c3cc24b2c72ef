"""Doing the jobs of a proxy evaluation as Ray tasks."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dp_core.errors import UserError
from dp_core.proxies import RealTraining
from search.output.numbers import plural
from search.proxies.journal import ScoreJournal
from search.proxies.plan import Job, ProxyPlan
from search.proxies.preparation import ProxyPreparation
from search.proxies.truth_cache import TruthCache
from search.runs.progress import Pace, Progress
from trainables.proxies import ProxyBench, ScoreJob, run_scores, run_truth
from trainables.trials.shared_dataset import SharedDataset


class Driver:
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
        self._pace = Pace(self._config.resources.concurrency)
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
        self._pace.done("training", found["seconds"])
        name = training.spec.label()
        if found["status"] == "failed":
            self._progress.say("truth", f"{name} cannot be trained: {found['reason']}")
        elif training.tested:
            text = f"{name}: test accuracy {found['test_accuracy']:.1%}, {found['seconds']:.0f} s"
            left = self._plan.trainings_left
            said = (f"{text}; {plural(left, 'training')} left", self._pace.left({"training": left}))
            self._progress.say("truth", ", ".join(part for part in said if part))
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
