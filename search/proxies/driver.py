"""The jobs of a proxy evaluation, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from dp_core.proxies import RealTraining
from search.output.numbers import plural
from search.proxies.journal import ScoreJournal
from search.proxies.plan import Job, ProxyPlan
from search.proxies.preparation import ProxyPreparation
from search.proxies.trainings import Trainings
from search.runs.jobs import JobQueue
from search.runs.progress import Pace, Progress
from trainables.proxies import ProxyBench, ScoreJob, run_scores, run_truth
from trainables.trials.shared_dataset import SharedDataset


class EvaluationJobs(JobQueue[Job]):
    """The jobs of a plan: scores go to the run's journal, trainings to the cache of truths."""

    def __init__(
        self,
        prepared: ProxyPreparation,
        plan: ProxyPlan,
        journal: ScoreJournal,
        trainings: Trainings | None,
        progress: Progress,
    ) -> None:
        self.shared = _bench(prepared)
        self._plan, self._journal, self._trainings, self._progress = plan, journal, trainings, progress
        self._pace = Pace(prepared.config.resources.concurrency)

    def next(self) -> Job | None:
        """See `JobQueue`."""
        return self._plan.next()

    def work(self, job: Job) -> Callable[[Any, Any], Any]:
        """See `JobQueue`."""
        return run_scores if isinstance(job, ScoreJob) else run_truth

    def name(self, job: Job) -> str:
        """See `JobQueue`."""
        return job.label if isinstance(job, ScoreJob) else job.spec.label()

    def done(self, job: Job, result: Any, seconds: float, running: Collection[Job]) -> None:
        """See `JobQueue`."""
        if isinstance(job, ScoreJob):
            self._scored(result, len(running))
        else:
            self._trained(job, result)

    def _scored(self, rows: list[dict[str, Any]], running: int) -> None:
        self._journal.append(rows)
        for row in rows:
            if row["status"] == "failed":
                self._progress.say("proxies", f"{row['proxy']} failed on {row['architecture']}: {row['reason']}")
        wanted = self._plan.scores_wanted
        done = wanted - self._plan.scores_left - running
        self._progress.step("scores", done, wanted, rows[-1]["architecture"])

    def _trained(self, training: RealTraining, found: dict[str, Any]) -> None:
        assert self._trainings is not None, "the accuracies come from a table"
        self._trainings.add(training, found)
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
