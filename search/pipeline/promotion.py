"""Promotion: which tickets are retrained, the best ones and a few drawn at random to check the cheap score by."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from dp_core.errors import UserError
from search.config.models import PromoteSection
from search.config.objectives import OBJECTIVES, Objective
from search.output.pareto import hypervolume_subset, non_dominated_ranks
from search.pipeline.audit_draw import draw
from search.pipeline.promotion_file import Promotion
from search.study.outcomes import what_became_of
from search.study.sampling import source_of
from search.study.trials import has_rounds, is_stopped_early, rounds_of


class NothingToPromote(UserError):
    """No trial reached its sparsity and keeps to the constraints, or all that did came to nothing."""


@dataclass(frozen=True)
class _Finisher:
    """A trial that reached its sparsity, and its gains in the measures that decide, the first objective first."""

    number: int
    source: str | None
    gains: tuple[float, ...]


_Ranking = Callable[[list[_Finisher], int], list[_Finisher]]

Identify: TypeAlias = Callable[[FrozenTrial], Hashable]
"""Returns what trials of one candidate have in common."""


def _by_number(trial: FrozenTrial) -> int:
    """Take every trial for a candidate of its own."""
    return trial.number


def promote(
    trials: Sequence[FrozenTrial],
    settings: PromoteSection,
    objectives: Sequence[Objective],
    seed: int,
    before: Promotion | None = None,
    lost: Collection[int] = (),
    identify: Identify = _by_number,
) -> Promotion:
    """Return which trials are retrained, by their last rounds.

    The sources of the space take turns, since their scores are not on one scale: the best of each, then the second of
    each. Among the sources of a turn the higher first objective goes first, among equals the earlier trial. `by` says
    what is best within a source: the first objective (`score`), or the choice that dominates the largest hypervolume,
    from the Pareto front and, when it is used up, from the next one (`pareto`). `sparsity` promotes the one of each
    bucket whose turn comes first, and gives the places of empty buckets to those whose turns come next.

    The audit is drawn from all others that keep to the constraints and either reached their sparsity or were stopped
    early because others were better.

    What was chosen before stays chosen, but for those `lost`. The place of a promoted one goes to the best that there
    is now, audited or not, whatever the audit has found: so those that are left are as good as drawn from the
    others that are left. A promoted one that is lost is not among these: what became of it is known without a draw.
    An audited one that is lost stays drawn, since it says how many come to nothing, and a further one is drawn
    beside it, see `draw`.

    A candidate that several trials have, as in runs from before repeats were noticed, is taken once: by the first of
    them that reached its sparsity. Taking the best of them would favour what was tried most often.

    Args:
        trials: all trials of the study.
        settings: `promote`.
        objectives: what is optimised.
        seed: the run's; with the same trials it always draws the same audit.
        before: what has been chosen so far, from the same trials.
        lost: trials that are known to have come to nothing.
        identify: tells candidates apart.

    Raises:
        NothingToPromote: no trial is left that reached its sparsity and keeps to the constraints.
    """
    before = Promotion((), (), 0) if before is None else before
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE and has_rounds(trial)]
    feasible = [trial for trial in finished if not _broken(trial)]
    measures = _measures(settings, objectives)
    measured = [trial for trial in feasible if not any(math.isnan(gain) for gain in _finisher(trial, measures).gains)]
    candidates = [_finisher(trial, measures) for trial in _distinct(measured, identify)]
    if not candidates:
        raise NothingToPromote(_why_nothing(trials, finished))
    kept = tuple(number for number in before.promoted if number not in lost)
    best = _best([candidate for candidate in candidates if candidate.number not in lost], settings)
    promoted = (*kept, *(number for number in best if number not in kept))[: settings.top]
    replaced = {*before.replaced, *set(lost).difference(before.ever_audited)}
    stopped = [trial for trial in trials if _was_stopped_for_others(trial) and not _broken(trial)]
    everyone = _distinct([*measured, *feasible, *stopped], identify)
    others = {trial.number for trial in everyone}.difference(promoted, replaced)
    drawn = draw(others, settings.audit, seed, lost, (*before.audited, *before.further))
    named = {*promoted, *drawn.first, *drawn.further}
    return Promotion(
        promoted,
        drawn.first,
        len(others),
        lost=tuple(sorted(named.intersection(lost))),
        earlier=tuple(sorted(before.ever_audited - named)),
        further=drawn.further,
        replaced=tuple(sorted(replaced.difference(named))),
    )


def _best(candidates: Sequence[_Finisher], settings: PromoteSection) -> list[int]:
    """Return the `top` best of the candidates."""
    if not candidates:
        return []
    ranking = _by_hypervolume if settings.by == "pareto" else _by_first_objective
    in_turns = _in_turns(candidates, settings.top, ranking)
    best = _over_buckets(in_turns, settings.top) if settings.by == "sparsity" else in_turns[: settings.top]
    return [candidate.number for candidate in best]


def _distinct(trials: Sequence[FrozenTrial], identify: Identify) -> list[FrozenTrial]:
    """Return the first trial of each candidate."""
    first: dict[Hashable, FrozenTrial] = {}
    for trial in trials:
        first.setdefault(identify(trial), trial)
    return list(first.values())


def _measures(settings: PromoteSection, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    if settings.by == "pareto":
        return tuple(objectives)
    return (objectives[0], OBJECTIVES["sparsity"]) if settings.by == "sparsity" else (objectives[0],)


def _finisher(trial: FrozenTrial, measures: Sequence[Objective]) -> _Finisher:
    last = rounds_of(trial)[-1]
    return _Finisher(trial.number, source_of(trial), tuple(measure.gain(last) for measure in measures))


def _broken(trial: FrozenTrial) -> list[str]:
    """Return the names of the constraints that a trial breaks."""
    return [name for name, excess in trial.constraints.items() if excess > 0]


def _was_stopped_for_others(trial: FrozenTrial) -> bool:
    # A collapsed trial is PRUNED too, but for reasons of its own, and a rejected one was never looked at.
    return is_stopped_early(trial)


def _why_nothing(trials: Sequence[FrozenTrial], finished: Sequence[FrozenTrial]) -> str:
    broken = Counter(name for trial in finished for name in _broken(trial))
    if broken:
        name, count = broken.most_common(1)[0]
        return (
            f"None of the {len(finished)} trials that reached their sparsity keeps to 'search.constraints' "
            f"({count} break '{name}'), so there is nothing to retrain."
        )
    return f"No trial reached its sparsity, so there is nothing to retrain: {what_became_of(trials)}."


def _in_turns(candidates: Sequence[_Finisher], top: int, ranking: _Ranking) -> list[_Finisher]:
    """Return the candidates with those of each source in their ranking, the sources taking turns."""
    sources: Mapping[str | None, list[_Finisher]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda candidate: (-candidate.gains[0], candidate.number)):
        sources[candidate.source].append(candidate)
    turns = [(turn, found) for own in sources.values() for turn, found in enumerate(ranking(own, top))]
    turns.sort(key=lambda entry: (entry[0], -entry[1].gains[0], entry[1].number))
    return [candidate for _, candidate in turns]


def _by_first_objective(candidates: list[_Finisher], top: int) -> list[_Finisher]:
    """Return candidates of one source as they come: the best in the first objective first."""
    return candidates


def _by_hypervolume(candidates: list[_Finisher], top: int) -> list[_Finisher]:
    """Return the `top` candidates of one source, front after front, those first that add the most hypervolume."""
    gains = np.array([candidate.gains for candidate in candidates], dtype=np.float64)
    ranks = non_dominated_ranks(gains)
    chosen: list[_Finisher] = []
    for rank in range(int(ranks.max()) + 1):
        front = np.flatnonzero(ranks == rank)
        chosen += [candidates[place] for place in front[hypervolume_subset(gains[front], top - len(chosen))]]
        if len(chosen) == top:
            break
    return chosen


def _over_buckets(candidates: list[_Finisher], top: int) -> list[_Finisher]:
    """Return the first candidate of each of `top` equal buckets of sparsity, filled up with the next ones."""
    sparsities = [candidate.gains[1] for candidate in candidates]
    low, width = min(sparsities), max(sparsities) - min(sparsities)
    buckets: dict[int, _Finisher] = {}
    for candidate in candidates:
        bucket = min(int((candidate.gains[1] - low) / width * top), top - 1) if width > 0 else 0
        buckets.setdefault(bucket, candidate)
    first = {candidate.number for candidate in buckets.values()}
    return sorted(candidates, key=lambda candidate: candidate.number not in first)[:top]
