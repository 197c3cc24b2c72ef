"""What the same search would have cost on real data, beside what it did cost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from search.report.facts import Rounds, Row, screening_cost
from search.report.rungs import pruning_rounds


@dataclass(frozen=True)
class Bill:
    """What a way of searching costs: seconds summed over its trainings, and image-gradients (None where unknown)."""

    way: str
    seconds: float
    image_gradients: float | None


def bills(
    trials: Sequence[Row], rounds: Rounds, leaderboard: Sequence[Row], gradients_a_training: int | None
) -> list[Bill]:
    """Return the cost of this search and of two that train all screened candidates on real images, or nothing.

    A training of candidate i on real images, as the retrained models had it, is taken to last t · Fᵢ, where Fᵢ is the
    dense FLOPs of its network (a mask saves none) and t = Σ seconds / Σ F over the retrainings that were done. Training
    every candidate costs t · Σ Fᵢ over the n candidates that were screened, and n trainings' image-gradients.
    Iterative pruning of every candidate trains each of them once a pruning round: t · Σ rᵢ · Fᵢ, where rᵢ is the
    number of rounds that led to its ticket, or the mean of the others' where it was stopped before.

    The making of distilled sets is in none of them. There is nothing to say before a model was retrained.

    Args:
        trials: rows of that table.
        rounds: of each trial.
        leaderboard: rows of that table.
        gradients_a_training: image-gradients of one training on real images, for models that do not say.
    """
    screened = [row for row in trials if row["seconds"] is not None and row["state"] != "REJECTED"]
    trained_flops = sum(row["seeds"] * row["flops_dense"] for row in leaderboard)
    if not screened or not trained_flops:
        return []
    spent = sum(row["retraining_seconds"] for row in leaderboard)
    a_flop, a_training = spent / trained_flops, _gradients_a_training(leaderboard, gradients_a_training)
    cost = screening_cost(trials, leaderboard)
    trainings = sum(row["seeds"] for row in leaderboard)
    found = [
        Bill(
            "This search: screening, and retraining a few",
            cost.seconds + spent,
            None if a_training is None else cost.image_gradients + trainings * a_training,
        ),
        _bill("Training every candidate on real images", [1.0] * len(screened), screened, a_flop, a_training),
    ]
    needed = pruning_rounds(trials, rounds)
    if needed:
        mean = statistics.fmean(needed.values())
        times = [float(needed.get(row["trial"], mean)) for row in screened]
        found.append(_bill("Iterative pruning of every candidate on real images", times, screened, a_flop, a_training))
    return found


def _bill(way: str, times: Sequence[float], screened: Sequence[Row], a_flop: float, a_training: float | None) -> Bill:
    flops = sum(often * row["flops_dense"] for often, row in zip(times, screened, strict=True))
    return Bill(way, a_flop * flops, None if a_training is None else sum(times) * a_training)


def _gradients_a_training(leaderboard: Sequence[Row], unsaid: int | None) -> float | None:
    """Return the mean image-gradients of a retraining."""
    said = [row["retraining_image_gradients"] for row in leaderboard]
    return unsaid if None in said else sum(said) / sum(row["seeds"] for row in leaderboard)
