"""What each rung of the ladder, and each pruning round, bought: who went on, at what cost, and how well it foretold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search.output.rank_correlation import MINIMUM_PAIRS, spearman
from search.report.facts import Rounds, Row, outcome
from trainables.screening.round import Round

Place = tuple[int, int]
"""A rung, and a round within it or 0 for all of them."""

_TRAINED_ON = ("distilled", "subset", "real")


@dataclass
class Stage:
    """What became of the trials of one source at one place of the ladder.

    Attributes:
        source: of these trials.
        rung: its index from 0.
        rung_round: the round within the rung, from 1; 0 for the whole rung.
        fidelity: what it scores by, such as `distilled-10`.
        entered: trials that reported from it.
        went_on: those that reported from a later place, or finished here.
        stopped: those that were stopped early here.
        collapsed: those whose network came to nothing here.
        failed: those that failed here.
        seconds: spent here, over all trials.
        image_gradients: spent here, likewise.
        scores: here and in the end, of the trials that went on and finished.
    """

    source: str
    rung: int
    rung_round: int
    fidelity: str
    entered: int = 0
    went_on: int = 0
    stopped: int = 0
    collapsed: int = 0
    failed: int = 0
    seconds: float = 0.0
    image_gradients: int = 0
    scores: list[tuple[float, float]] = field(default_factory=list)

    @property
    def pairs(self) -> int:
        """How many trials the rank correlation is of."""
        return len(self.scores)

    @property
    def rho(self) -> float:
        """Spearman's rank correlation of the score here with the final one; NaN for fewer than 5 trials."""
        return spearman(*zip(*self.scores, strict=True)) if self.pairs >= MINIMUM_PAIRS else math.nan


def stages_by_rung(trials: Sequence[Row], rounds: Rounds) -> list[Stage]:
    """Return what each rung bought, by source, or nothing where no trial climbed more than one rung.

    Seconds and image-gradients are differences of the cumulative ones. The rank correlation is within a source and of
    the trials that finished: those that a rung stopped have no final score, so it tells how the rung ordered its best.
    """
    several = any(each.rung > 0 for found in rounds.values() for each in found)
    return _stages(trials, rounds, lambda each: (each.rung, 0)) if several else []


def stages_by_round(trials: Sequence[Row], rounds: Rounds) -> list[Stage]:
    """Return what each round within a rung bought, as `stages_by_rung` does, or nothing where no trial was stopped."""
    stopped = any(row["state"] == "PRUNED" for row in trials)
    return _stages(trials, rounds, _place) if stopped else []


def pruning_rounds(trials: Sequence[Row], rounds: Rounds) -> dict[int, int]:
    """Return how many rounds of pruning led to the ticket of each finished trial: those of its last pruning rung."""
    finished = {row["trial"] for row in trials if row["state"] == "COMPLETE"}
    pruned = {trial: [each for each in rounds.get(trial, ()) if _prunes(each.fidelity)] for trial in finished}
    return {trial: found[-1].rung_round for trial, found in pruned.items() if found}


def _prunes(fidelity: str) -> bool:
    return fidelity.split("-")[0] in _TRAINED_ON and not fidelity.startswith("real-epochs-")


def _place(found: Round) -> Place:
    return found.rung, found.rung_round


def _stages(trials: Sequence[Row], rounds: Rounds, place_of: Callable[[Round], Place]) -> list[Stage]:
    stages: dict[tuple[str, Place, str], Stage] = {}
    for row in trials:
        if ends := {place_of(each): each for each in rounds.get(row["trial"], ())}:  # the last at each place
            _add(stages, row, ends)
    return [stages[key] for key in sorted(stages)]


def _add(stages: dict[tuple[str, Place, str], Stage], trial: Row, ends: Mapping[Place, Round]) -> None:
    seconds, gradients = 0.0, 0
    last = [*ends.values()][-1]
    for place, found in ends.items():
        source, fidelity = trial["source"], found.fidelity
        stage = stages.setdefault((source, place, fidelity), Stage(source, *place, fidelity))
        stage.entered += 1
        stage.seconds += found.seconds - seconds
        stage.image_gradients += found.image_gradients - gradients
        seconds, gradients = found.seconds, found.image_gradients
        is_last = found is last
        stage.went_on += not is_last or trial["state"] == "COMPLETE"
        stage.stopped += is_last and outcome(trial) == "stopped early"
        stage.collapsed += is_last and outcome(trial) == "collapsed"
        stage.failed += is_last and trial["state"] == "FAIL"
        pair = (found.score, last.score)
        if not is_last and trial["state"] == "COMPLETE" and all(math.isfinite(score) for score in pair):
            stage.scores.append(pair)
