"""What a proxy evaluation still has to do, in an order that leaves no core idle at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from dp_core.proxies import RealTraining
from dp_core.proxies.short_training import ShortTraining
from search.proxies.architecture import Architecture
from search.proxies.journal import ScoreJournal
from search.proxies.preparation import ProxyDesign
from search.proxies.truth_cache import TruthCache
from trainables.proxies import ScoreJob

Job = ScoreJob | RealTraining


class ProxyPlan:
    """The jobs that are left: scores that are quick, then the truth, then proxies that train.

    Within each of these the most expensive architectures come first. The full trainings of an architecture become
    possible when those that choose its learning rate are done.

    Args:
        prepared: what is evaluated.
        journal: the scores that there are.
        truth: the trainings that there are; None where a table has the accuracies.
    """

    def __init__(self, prepared: ProxyDesign, journal: ScoreJournal, truth: TruthCache | None) -> None:
        self._prepared = prepared
        self._truth = truth
        self._images = prepared.images.train
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
        for architecture in self._architectures if prepared.truth is not None else ():
            left = [training for training in self.tunings(architecture) if self.known(training) is None]
            self._tunings.extend(left)
            if not left:
                self._finals.extend(self._finals_left(architecture))

    def next(self) -> Job | None:
        """Return a job that can be done now, or None; nothing is returned twice."""
        queues: tuple[deque[ScoreJob] | deque[RealTraining], ...]
        queues = (self._quick, self._tunings, self._finals, self._trained)
        return next((jobs.popleft() for jobs in queues if jobs), None)

    def tuned(self, training: RealTraining) -> None:
        """Take note that a training is done; full ones become possible with the last one that chooses the rate."""
        if not training.tested:
            architecture = next(found for found in self._architectures if found.spec == training.spec)
            if all(self.known(tuning) is not None for tuning in self.tunings(architecture)):
                self._finals.extend(self._finals_left(architecture))

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

    def known(self, training: RealTraining) -> dict[str, Any] | None:
        """Return what is known of a training, or None."""
        assert self._truth is not None, "the accuracies come from a table"
        return self._truth.get(training)

    def tunings(self, architecture: Architecture) -> list[RealTraining]:
        """Return the trainings that choose an architecture's learning rate; none if there is one rate."""
        assert self._prepared.truth is not None, "the accuracies come from a table"
        return self._prepared.truth.tunings(architecture.spec, self._images)

    def finals(self, architecture: Architecture) -> list[RealTraining]:
        """Return an architecture's full trainings; none as long as its learning rate is not known, or cannot be."""
        found = [self.known(tuning) for tuning in self.tunings(architecture)]
        known = [row for row in found if row is not None and row["status"] != "failed"]
        if self._prepared.truth is None or len(known) < len(found):
            return []
        return self._prepared.truth.finals(architecture.spec, self._prepared.truth.chosen(known))

    def _finals_left(self, architecture: Architecture) -> list[RealTraining]:
        return [training for training in self.finals(architecture) if self.known(training) is None]

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
