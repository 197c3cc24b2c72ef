"""Replicates of one candidate: prunings that differ in nothing but their seeds, and what they show together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dp_core.cost import CostModel
from dp_core.judging import divergence_of, judge
from dp_core.pruning import IterativePruning, layer_collapse, run_round_together
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, TrainingData
from dp_core.training.network import unchanged_buffers
from trainables.screening.round import Measures
from trainables.screening.score import Score


@dataclass(frozen=True)
class Outcome:
    """What the last round of one replicate came to on the validation images, see `Evaluation`.

    `divergence` and `collapse` say in words how it failed, if it did.
    """

    accuracy: float
    loss: float
    predicted_classes: int
    divergence: str | None
    collapse: str | None


class Replicates:
    """Prunings of one candidate that go on together, round by round.

    Args:
        prunings: at least one; all have the same plan and data, each has its own initial weights and seed.
        score: what the search maximises.
        cost: of the candidate.
        validation: what every replicate is scored on after a round, on the device of the prunings.
        calibration: the real training images that it is judged with, see `judge`.
        recipe: the candidate's; its precision and mode are also those of the scoring.
        memory_parts: the scoring's batches are this many times smaller than usual.
    """

    def __init__(
        self,
        prunings: Sequence[IterativePruning],
        score: Score,
        cost: CostModel,
        validation: TrainingData,
        calibration: TrainingData,
        recipe: Recipe,
        memory_parts: int = 1,
    ) -> None:
        self._prunings = tuple(prunings)
        self._score, self._cost = score, cost
        self._validation, self._calibration = validation, calibration
        self._recipe = recipe
        self._batch_size = scoring_batch(memory_parts)
        self._outcomes: list[Outcome] = []

    def run_round(self) -> None:
        """Run the next round of every replicate and score it."""
        earlier: Sequence[Outcome | None] = self._outcomes or [None] * len(self._prunings)
        ends = run_round_together(self._prunings)
        self._outcomes = [
            self._outcome(pruning, end, before)
            for pruning, end, before in zip(self._prunings, ends, earlier, strict=True)
        ]

    def _outcome(self, pruning: IterativePruning, end: float | Diverged, before: Outcome | None) -> Outcome:
        with unchanged_buffers(pruning.model):  # what it is judged with is nothing to make the next mask from
            found = judge(pruning.model, self._validation, self._calibration, self._recipe, batch_size=self._batch_size)
        divergence = str(end) if isinstance(end, Diverged) else divergence_of(found)
        collapse = None
        channels, height, width = self._validation.images.shape[1:]
        if emptied := layer_collapse(pruning.mask, pruning.model, (channels, height, width)):
            collapse = emptied
        elif found.predicted_classes == 1 and before is not None and before.predicted_classes == 1:
            collapse = "the same class predicted for every validation image in two rounds running"
        return Outcome(found.accuracy, found.loss, found.predicted_classes, divergence, collapse)

    def measures(self) -> Measures:
        """Return the measures of the last round; sparsity and parameters left are the same for each replicate."""
        accuracies = [outcome.accuracy for outcome in self._outcomes]
        accuracy, error = statistics.fmean(accuracies), standard_error(accuracies)
        costs = [self._cost(pruning.mask) for pruning in self._prunings]
        mask, left = self._prunings[0].mask, costs[0].parameters_left
        return Measures(
            score=self._score(accuracy, left),
            score_sem=None if error is None else self._score(error, left),  # the score is linear in the accuracy
            proxy_accuracy=accuracy,
            proxy_accuracy_sem=error,
            proxy_loss=statistics.fmean(outcome.loss for outcome in self._outcomes),
            replicates=len(self._prunings),
            sparsity=mask.sparsity,
            density=mask.density,
            prunable_parameters=mask.total,
            parameters=costs[0].parameters,
            parameters_left=left,
            flops_dense=costs[0].flops_dense,
            flops_remaining=round(statistics.fmean(cost.flops_remaining for cost in costs)),
        )

    @property
    def predicted_classes(self) -> int:
        """The fewest of any replicate in the last round."""
        return min(outcome.predicted_classes for outcome in self._outcomes)

    @property
    def image_gradients(self) -> int:
        """Spent so far, by all replicates."""
        return sum(pruning.image_gradients for pruning in self._prunings)

    def status(self) -> tuple[str, str | None]:
        """Return the status after the last round, see `ScreeningTrainable`, with the reason of a bad end.

        One replicate that diverged is the end of all, since a mean without it would flatter the candidate. One that
        collapsed is not: it counts in the mean with the accuracy it has, which is that of chance, and gives no ticket.
        """
        total = len(self._outcomes)
        for number, outcome in enumerate(self._outcomes, start=1):
            if outcome.divergence is not None:
                which = f"replicate {number} of {total}: " if total > 1 else ""
                return "diverged", which + outcome.divergence
        collapses = [outcome.collapse for outcome in self._outcomes if outcome.collapse is not None]
        if len(collapses) == total:
            which = f"all {total} replicates: " if total > 1 else ""
            return "collapsed", which + "; ".join(dict.fromkeys(collapses))
        return ("finished" if self._prunings[0].finished else "running"), None

    def best(self) -> tuple[int, IterativePruning]:
        """Return the index and the pruning of highest validation accuracy among those that have not collapsed."""
        sound = [index for index, outcome in enumerate(self._outcomes) if outcome.collapse is None]
        index = max(sound, key=lambda index: self._outcomes[index].accuracy)  # the first of several that are equal
        return index, self._prunings[index]

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on after the last finished round."""
        return {
            "prunings": [pruning.state_dict() for pruning in self._prunings],
            "outcomes": [asdict(outcome) for outcome in self._outcomes],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` of as many replicates returned."""
        for pruning, saved in zip(self._prunings, state["prunings"], strict=True):
            pruning.load_state_dict(saved)
        self._outcomes = [Outcome(**saved) for saved in state["outcomes"]]


def scoring_batch(memory_parts: int) -> int:
    """Return how many validation images a trial passes forward at a time: 500, or less where memory is short."""
    return max(1, 500 // memory_parts)


def replicate_seeds(seed: int, count: int) -> list[int]:
    """Return the seeds of `count` replicates: `seed` itself, so that one replicate is the trial alone, and others."""
    return [seed, *(derive_seed(seed, "replicate", index) for index in range(1, count))]


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean of `values`, from their sample standard deviation; None for one value."""
    return None if len(values) < 2 else statistics.stdev(values) / math.sqrt(len(values))
