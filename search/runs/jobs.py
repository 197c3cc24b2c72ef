"""Jobs as Ray tasks: as many at a time as the config says; one that fails does not stop the others."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from dp_core.errors import UserError
from search.config.sections import ResourcesSection
from search.runs.progress import Progress

J = TypeVar("J")


class JobQueue(ABC, Generic[J]):
    """The jobs that there are, and what becomes of them."""

    shared: Any
    """What all jobs share; it goes through the object store once."""

    @abstractmethod
    def next(self) -> J | None:
        """Return a job that can be done now and has not been given out; None if there is none."""

    @abstractmethod
    def work(self, job: J) -> Callable[[Any, J], Any]:
        """Return the function that does a job, in another process, given `shared` and the job."""

    @abstractmethod
    def name(self, job: J) -> str:
        """Return what a job is called."""

    @abstractmethod
    def done(self, job: J, result: Any, seconds: float, running: Collection[J]) -> None:
        """Take in what a job returned after so many seconds, while others are `running`."""


def do_jobs(queue: JobQueue[J], resources: ResourcesSection, phase: str, progress: Progress) -> None:
    """Do all jobs of a queue.

    Args:
        queue: the jobs.
        resources: what a job gets, how many run at a time, and how often one whose worker is lost is tried again.
        phase: what is said to be going on.
        progress: is told of what fails.

    Raises:
        UserError: jobs were lost, or failed in a way that no job should; all others are done then.
    """
    shared = ray.put(queue.shared)
    running: dict[Any, tuple[J, float]] = {}
    failures: list[str] = []
    first: RayError | None = None
    while True:
        while len(running) < resources.concurrency and (job := queue.next()) is not None:
            remote = ray.remote(queue.work(job)).options(
                num_cpus=resources.cpus_per_job, num_gpus=resources.gpus_per_job, max_retries=resources.max_failures
            )
            running[remote.remote(shared, job)] = job, time.monotonic()
        if not running:
            break
        (reference, *_), _ = ray.wait(list(running), num_returns=1)
        job, began = running.pop(reference)
        seconds = time.monotonic() - began
        try:
            result = ray.get(reference)
        except RayError as error:
            first = first or error
            failures.append(f"The job '{queue.name(job)}' failed: {_told(error)}")
            progress.say(phase, failures[-1])
            continue
        queue.done(job, result, seconds, [each for each, _ in running.values()])
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise UserError(f"{failures[0]}{more}; 'winnow resume' tries again.") from first


def _told(error: RayError) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
