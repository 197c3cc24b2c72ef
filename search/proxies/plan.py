"""What a proxy evaluation still has to do, in an order that leaves no core idle at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from dp_core.proxies import RealTraining
from dp_core.proxies.short_training import ShortTraining
from search.proxies.journal import ScoreJournal
from search.proxies.preparation import ProxyDesign
from search.proxies.trainings import Trainings
from trainables.proxies import ScoreJob

Job = ScoreJob | RealTraining


class ProxyPlan:
    """The jobs that are left: scores that are quick, then the truth, then proxies that train.

    Within each of these the most expensive architectures come first. The full trainings of an architecture become
    possible when those that choose its learning rate are done.

    Args:
        prepared: what is evaluated.
        journal: the scores that there are.
        trainings: behind the accuracies; None where a table has these.
    """

    def __init__(self, prepared: ProxyDesign, journal: ScoreJournal, trainings: Trainings | None) -> None:
        self._trainings = trainings
        self._architectures = sorted(prepared.architectures, key=lambda architecture: -architecture.flops)
        done = {(row["architecture"], row["proxy"], row["replicate"]) for row in journal.read()}
        wanted = {name: section.replicates for name, section in prepared.config.chosen_proxies.items()}
        quick = {name: n for name, n in wanted.items() if not isinstance(prepared.proxies[name], ShortTraining)}
        trained = {name: n for name, n in wanted.items() if name not in quick}
        self.scores_wanted = len(prepared.architectures) * sum(wanted.values())
        self._quick = deque(self._together(quick, done))
        self._trained = deque(self._one_by_one(trained, done))
        self._tunings: deque[RealTraining] = deque()
        self._finals: deque[RealTraining] = deque()
        if trainings is not None:
            left = [training for architecture in self._architectures for training in trainings.left(architecture)]
            self._tunings.extend(training for training in left if not training.tested)
            self._finals.extend(training for training in left if training.tested)

    def next(self) -> Job | None:
        """Return a job that can be done now, or None; nothing is returned twice."""
        queues: tuple[deque[ScoreJob] | deque[RealTraining], ...]
        queues = (self._quick, self._tunings, self._finals, self._trained)
        return next((jobs.popleft() for jobs in queues if jobs), None)

    def tuned(self, training: RealTraining) -> None:
        """Take note that a training is done; full ones become possible with the last one that chooses the rate."""
        if not training.tested and self._trainings is not None:
            architecture = next(found for found in self._architectures if found.spec == training.spec)
            self._finals.extend(each for each in self._trainings.left(architecture) if each.tested)

    @property
    def scores_left(self) -> int:
        """Scores that are not there and have not been given out."""
        return sum(len(job.wanted) for job in (*self._quick, *self._trained))

    @property
    def trainings_left(self) -> int:
        """Trainings that can be done now, are not there and have not been given out."""
        return len(self._tunings) + len(self._finals)

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return not self.scores_left and not self.trainings_left

    def _together(self, wanted: Mapping[str, int], done: set[tuple[str, str, int]]) -> Iterator[ScoreJob]:
        for architecture in self._architectures:
            left = tuple(pair for pair in _pairs(wanted) if (architecture.label, *pair) not in done)
            if left:
                yield ScoreJob(architecture.label, architecture.spec, left)

    def _one_by_one(self, wanted: Mapping[str, int], done: set[tuple[str, str, int]]) -> Iterator[ScoreJob]:
        for architecture in self._architectures:
            for pair in _pairs(wanted):
                if (architecture.label, *pair) not in done:
                    yield ScoreJob(architecture.label, architecture.spec, (pair,))


def _pairs(wanted: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, replicate) for name, replicates in wanted.items() for replicate in range(replicates)]
