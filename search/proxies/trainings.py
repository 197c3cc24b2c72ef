"""The trainings behind the true accuracies of architectures: which there are to be, and which are known."""

from __future__ import annotations

from typing import Any

from dp_core.proxies import RealTraining, TruthPlan
from search.proxies.architecture import Architecture
from search.proxies.config import ProxyEvaluationConfig
from search.proxies.truth_cache import TruthCache
from search.runs.images import ImageFacts


class Trainings:
    """The trainings of an evaluation.

    Args:
        plan: how a true accuracy is found.
        images: of the training split.
        cache: the trainings that there are.
    """

    def __init__(self, plan: TruthPlan, images: int, cache: TruthCache) -> None:
        self._plan, self._images, self._cache = plan, images, cache

    def known(self, training: RealTraining) -> dict[str, Any] | None:
        """Return what is known of a training, or None."""
        return self._cache.get(training)

    def add(self, training: RealTraining, found: dict[str, Any]) -> None:
        """Keep what was found."""
        self._cache.add(training, found)

    def tunings(self, architecture: Architecture) -> list[RealTraining]:
        """Return the trainings that choose an architecture's learning rate; none if there is one rate."""
        return self._plan.tunings(architecture.spec, self._images)

    def finals(self, architecture: Architecture) -> list[RealTraining]:
        """Return an architecture's full trainings; none as long as its learning rate is not known, or cannot be."""
        found = [self.known(tuning) for tuning in self.tunings(architecture)]
        known = [row for row in found if row is not None and row["status"] != "failed"]
        if len(known) < len(found):
            return []
        return self._plan.finals(architecture.spec, self._plan.chosen(known))

    def left(self, architecture: Architecture) -> list[RealTraining]:
        """Return the trainings of an architecture that are not known and can be done now."""
        tunings = [training for training in self.tunings(architecture) if self.known(training) is None]
        return tunings or [training for training in self.finals(architecture) if self.known(training) is None]


def trainings_of(config: ProxyEvaluationConfig, images: ImageFacts) -> Trainings | None:
    """Return the trainings of an evaluation on such images; None where a table has the accuracies."""
    if config.truth.table is not None:
        return None
    return Trainings(config.truth.plan(), images.train, TruthCache(config.truth.directory, images.digests))
