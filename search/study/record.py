"""The study: the single record of what was proposed and what became of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError
from dp_core.seeds import derive_seed
from search.config.models import SearchConfig
from search.config.objectives import objectives_of
from search.output.numbers import plural
from search.space import Space
from search.study.candidates import candidate_of
from search.study.constraints import Limits
from search.study.failures import FailureStreak
from search.study.memory import MemoryStudies, MemoryTrial
from search.study.proposals import Draw, Proposals
from search.study.sampling import parts_of, source_of
from search.study.stopping import Observation, build_stopping
from search.study.storage.store import TrialStore
from search.study.trials import (
    CANDIDATE,
    POINT,
    REASON,
    REJECTED,
    REPEATS,
    ROUND,
    STOP,
    is_rejected,
    repeats_trial,
    rounds_of,
    state_of,
    step_of,
    stopped_early,
    stops_of,
)
from search.study.untried import DRAWS
from trainables import Candidate
from trainables.screening.round import Round, finite

MOST_REJECTIONS = 100
"""Proposals in a row that may break a constraint before the run stops."""

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Proposal:
    """A candidate to screen, with its number in the study; `resumed` if an earlier driver had begun it."""

    number: int
    candidate: Candidate
    resumed: bool


@dataclass
class OpenTrial:
    """A trial that is running, with what its sampler sees of it, and the rounds after which it is to stop."""

    number: int
    seen: MemoryTrial
    candidate: Candidate
    params: dict[str, Any]
    source: str | None
    rounds: list[Round] = field(default_factory=list)
    stops: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class End:
    """How a trial ended: its last round, if it had one, and the best value of the (first) objective on its scale.

    The scale is what the last round of a trial like this scores by, such as `distilled-10`.
    """

    number: int
    state: TrialState
    reason: str | None
    candidate: Candidate
    last: Round | None
    objective: str
    scale: str
    best: float | None


class StudyRecord:
    """An Optuna study, written as things happen, so that losing the driver loses nothing.

    Every event goes into the store, which is the record, and into studies in memory, from which the samplers draw.
    Trials that were running when an earlier driver was lost are proposed again, under their own numbers, before any
    new one. Every report is idempotent: a round or an end that is known already changes nothing.

    Args:
        store: the durable record, opened.
        config: the search.
        space: its space.
        classes: of the images.
        limits: what a candidate must keep to; None for nothing.
        points: candidates to try first, as flat parameters.
        earlier: trials of earlier runs, for the sampler to learn from.
    """

    def __init__(
        self,
        store: TrialStore,
        config: SearchConfig,
        space: Space,
        classes: int,
        *,
        limits: Limits | None = None,
        points: Sequence[Mapping[str, Any]] = (),
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        settings = config.search
        self._store, self._space, self._classes, self._limits = store, space, classes, limits
        self._trials = settings.trials
        self._objectives = objectives_of(settings.objectives)
        _end_unreadable(store, classes)
        known = store.trials()
        seed = derive_seed(config.run.seed, "sampler")
        parts = parts_of(space, self._objectives, self._trials, seed=seed, startup_trials=settings.startup_trials)
        memory = MemoryStudies(settings.sampler, parts, [*earlier, *known])
        self._stopping = build_stopping(settings.early_stopping, settings.startup_trials, len(self._objectives))
        self._streak = FailureStreak(settings.failures_in_a_row)
        self._with_latency = "latency" in settings.objectives or settings.constraints.max_latency_ms is not None
        self._counts: Counter[str] = Counter()
        self._best: dict[str, float] = {}
        self._real_epochs = settings.ladder.real_epochs
        self._orphans: list[OpenTrial] = []
        self._open: dict[int, OpenTrial] = {}
        self._ends: dict[int, End] = {}
        self._asked = 0
        self.halted: UserError | None = None
        tried = [trial.user_attrs[POINT] for trial in known if POINT in trial.user_attrs]
        self._proposals = Proposals(
            memory,
            classes=classes,
            ladder_ipc=settings.ladder.ipc,
            check=self._broken,
            points=[point for point in points if dict(point) not in tried],
            trials=settings.trials,
            seed=config.run.seed,
            sampler=settings.sampler,
        )
        for place, trial in enumerate(known, start=len(earlier)):
            self._take_up(trial, memory, place)
        self._end_stopped()

    def _take_up(self, trial: FrozenTrial, memory: MemoryStudies, place: int) -> None:
        """Learn of a trial that an earlier driver proposed."""
        candidate = candidate_of(trial, self._classes)
        if candidate is not None:
            self._proposals.learn(candidate, trial.number)
        if is_rejected(trial):
            self._counts[state_of(trial)] += 1
            return
        self._asked += 1
        self._counts[trial.state.name] += 1
        rounds, source = rounds_of(trial), source_of(trial)
        for found in rounds:
            self._stopping.hopeless(self._observation(trial.number, source, found))
        if trial.state == TrialState.RUNNING and candidate is not None:
            seen, params, stops = memory.known(place), dict(trial.params), stops_of(trial)
            self._orphans.append(OpenTrial(trial.number, seen, candidate, params, source, rounds, stops))
        elif trial.state == TrialState.COMPLETE:
            self._stopping.finished(trial.number)
            self._note_best(rounds[-1])

    def _end_stopped(self) -> None:
        """End the trials that an earlier driver was about to stop when it was lost."""
        stopped = [trial for trial in self._orphans if trial.rounds and trial.rounds[-1].round in trial.stops]
        for trial in stopped:
            self._orphans.remove(trial)
            self._open[trial.number] = trial
            self.finish(trial.number, TrialState.PRUNED, stopped_early(trial.rounds[-1].round))
        self._ends.clear()

    @property
    def target(self) -> int:
        """Number of trials that the run is to have, rejected proposals and repeats not counted: at least those it has.

        A space with fewer candidates has as many trials as it has candidates that keep to the constraints.
        """
        return int(max(self._asked, min(self._trials, self._asked + self._proposals.left)))

    @property
    def used_up(self) -> str | None:
        """That the space has fewer candidates than there were to be trials, in words; None as long as it has not."""
        if self.target >= self._trials:
            return None
        total, left = self._proposals.total, self._proposals.left
        wanted = f"the {self._trials} trials of 'search.trials'"
        if math.isinf(total):
            return f"no other candidate of the space was found in {DRAWS} draws, fewer than {wanted}"
        if not left:
            tried = (
                "the one candidate of the space has" if total == 1 else f"all {total:,} candidates of the space have"
            )
            return f"{tried} been tried, fewer than {wanted}"
        return f"the space has {plural(int(total), 'candidate')}, fewer than {wanted}: the search ends with the last"

    @property
    def ended(self) -> int:
        """Trials that have ended, rejected proposals not counted."""
        return sum(self._counts[state.name] for state in _ENDED)

    @property
    def unfinished(self) -> int:
        """Trials still to be run or to be run to their end."""
        return max(self.target - self.ended, len(self._orphans) + len(self._open))

    def counts(self) -> dict[str, int]:
        """Return how many trials are in each state, as `state_of` names them."""
        return {state: count for state, count in self._counts.items() if count}

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in these states, or all, as the store has them."""
        return [trial for trial in self._store.trials() if not states or trial.state in states]

    def running(self, number: int) -> OpenTrial:
        """Return a trial that was proposed and has not ended."""
        return self._open[number]

    def end_of(self, number: int) -> End | None:
        """Return how a trial has ended, None if it has not; it can be asked once, and is then forgotten."""
        return self._ends.pop(number, None)

    def halt(self, error: UserError) -> None:
        """Propose nothing more, for this reason; the first one counts."""
        if self.halted is None:
            self.halted = error

    @contextmanager
    def halting(self) -> Iterator[None]:
        """Turn a UserError, such as a full disk, into a halt: what is running is taken up when the run is resumed."""
        try:
            yield
        except UserError as error:
            self.halt(error)

    def propose(self) -> Proposal | None:
        """Return the next candidate to screen, or None when the target number has been proposed.

        Raises:
            UserError: so many proposals in a row broke a constraint that there seems to be nothing else.
        """
        if self._orphans:
            orphan = self._orphans.pop(0)
            self._open[orphan.number] = orphan
            return Proposal(orphan.number, orphan.candidate, resumed=True)
        broken: list[str] = []
        while len(broken) < MOST_REJECTIONS:
            if self._asked >= self.target:
                return None
            draw = self._proposals.draw(self._asked)
            number = self._record(draw)
            if draw.repeats is None and draw.broken is None:
                return self._begun(draw, number)
            broken += [] if draw.broken is None else [draw.broken]
        raise UserError(
            f"The last {MOST_REJECTIONS} proposals all broke a constraint, so the search has nothing left to try: "
            f"the last has {broken[-1]}. Loosen 'search.constraints' or the space."
        )

    def _record(self, draw: Draw) -> int:
        """Record a candidate that was drawn, one that is not to be trained as pruned; return its number."""
        params, notes = draw.params, draw.trial.drawn().system_attrs
        distributions = self._space.distributions(params)
        state = TrialState.RUNNING
        attributes: dict[str, Any] = {CANDIDATE: dict(draw.candidate.written)}
        if draw.point is not None:
            attributes[POINT] = draw.point
        if draw.repeats is not None:
            attributes |= {REJECTED: True, REPEATS: draw.repeats, REASON: repeats_trial(draw.repeats)}
            state = TrialState.PRUNED
        elif draw.broken is not None:
            attributes |= {REJECTED: True, REASON: f"rejected before training: {draw.broken}"}
            state = TrialState.PRUNED
        number = self._store.add(
            create_trial(
                state=state,
                params={name: params[name] for name in distributions},
                distributions=distributions,
                user_attrs=attributes,
                # A sampler's pickled state is nothing that anybody should have to load.
                system_attrs={key: value for key, value in notes.items() if not key.startswith("cma:")},
            )
        )
        self._proposals.recorded(draw, number)
        if draw.repeats is not None or draw.broken is not None:
            self._counts["REJECTED" if draw.repeats is None else "REPEATED"] += 1
        return number

    def _begun(self, draw: Draw, number: int) -> Proposal:
        self._asked += 1
        self._counts["RUNNING"] += 1
        self._open[number] = OpenTrial(number, draw.trial, draw.candidate, draw.params, draw.source)
        return Proposal(number, draw.candidate, resumed=False)

    def _broken(self, candidate: Candidate) -> tuple[Mapping[str, float], str | None]:
        """Return by how much a candidate breaks its constraints before it is trained, and in words what it breaks."""
        if self._limits is None or not self._limits.limits:
            return {}, None
        excess = self._limits.before(candidate)
        return excess, self._limits.sentence(candidate) if any(value > 0 for value in excess.values()) else None

    def report(self, number: int, found: Round, *, last: bool = False) -> bool:
        """Record a round; return whether the trial should be stopped for lack of promise.

        What has been said of a round is said again. After the `last` round there is nothing to stop.
        """
        trial = self._open[number]
        if any(known.round == found.round for known in trial.rounds):
            return found.round in trial.stops
        if self._with_latency and found.latency_ms is None:
            found = replace(found, latency_ms=self._latency(trial))
        hopeless = self._stopping.hopeless(self._observation(number, trial.source, found)) and not last
        row = finite(found.to_row())
        value, step = self._objectives[0].value(found), step_of(found)
        known_value = value if len(self._objectives) == 1 and math.isfinite(value) else None
        kept = {**row, STOP: True} if hopeless else row
        self._store.keep_round(number, f"{ROUND}{found.round:04d}", kept, step, known_value)
        if known_value is not None:
            trial.seen.report(step, known_value)
        trial.rounds.append(Round.from_row(row))
        trial.stops |= {found.round} if hopeless else set()
        return hopeless

    def _latency(self, trial: OpenTrial) -> float | None:
        assert self._limits is not None
        return self._limits.latency_ms(trial.candidate.model)

    def _observation(self, number: int, source: str | None, found: Round) -> Observation:
        return Observation(
            trial=number,
            source=source,
            fidelity=found.fidelity,
            rung_round=found.rung_round,
            rung_done=found.rung_done,
            gains=tuple(objective.gain(found) for objective in self._objectives),
        )

    def finish(self, number: int, state: TrialState, reason: str | None) -> None:
        """Record the end of a trial; COMPLETE takes the objectives of its last round. A second end changes nothing.

        A COMPLETE trial with an objective that is no finite number is a failure.
        """
        trial = self._open.get(number)
        if trial is None:
            return
        last = trial.rounds[-1] if trial.rounds else None
        values = None
        if state == TrialState.COMPLETE:
            values, wrong = self._values(last)
            if wrong is not None:
                state, reason, values = TrialState.FAIL, wrong, None
        elif state == TrialState.PRUNED and len(self._objectives) == 1 and last is not None:
            value = self._objectives[0].value(last)
            # As Study.tell does it; but a zero-cost score is no value of an objective.
            values = [value] if math.isfinite(value) and last.has_accuracy else None
        excess = self._excess(trial, state, last)
        self._store.end(number, state, values, {} if reason is None else {REASON: reason}, excess)
        del self._open[number]
        trial.seen.constrain(excess)
        # What has collapsed has failed, as far as samplers are concerned: see MemoryStudy.
        collapsed = state == TrialState.PRUNED and reason != (stopped_early(last.round) if last else None)
        told = TrialState.FAIL if collapsed else state
        trial.seen.tell(told, values if state == TrialState.COMPLETE else None)
        self._counts["RUNNING"] -= 1
        self._counts[state.name] += 1
        self._note_end(trial, state, reason, last)

    def _note_end(self, trial: OpenTrial, state: TrialState, reason: str | None, last: Round | None) -> None:
        if state == TrialState.COMPLETE and last is not None:
            self._stopping.finished(trial.number)
            self._note_best(last)
        if state == TrialState.FAIL:
            too_many = self._streak.failed(reason or "no reason")
            if too_many is not None:
                self.halt(too_many)
        else:
            self._streak.ended_well()
        scale, objective = self._scale(trial.candidate), self._objectives[0].name
        self._ends[trial.number] = End(
            trial.number, state, reason, trial.candidate, last, objective, scale, self._best.get(scale)
        )

    def _scale(self, candidate: Candidate) -> str:
        """Return what the last round of a candidate scores by: the last of `LadderPlan.fidelities`."""
        if self._real_epochs:
            return f"real-epochs-{self._real_epochs}"
        return candidate.data_key

    def _values(self, last: Round | None) -> tuple[list[float] | None, str | None]:
        """Return the objectives of a last round, or what is wrong with them."""
        if last is None:
            return None, "it ended without a round"
        values = {objective.name: objective.value(last) for objective in self._objectives}
        wrong = [f"its {name} is {value}" for name, value in values.items() if not math.isfinite(value)]
        return list(values.values()), " and ".join(wrong) or None

    def _excess(self, trial: OpenTrial, state: TrialState, last: Round | None) -> dict[str, float]:
        """Return by how much the trial breaks its constraints; of one that was not pruned to its end, what is sure."""
        if self._limits is None or not self._limits.limits:
            return {}
        if state == TrialState.COMPLETE and last is not None:
            return self._limits.after(trial.candidate, last)
        return self._limits.before(trial.candidate)

    def _note_best(self, last: Round) -> None:
        objective = self._objectives[0]
        value = objective.value(last)
        best = self._best.get(last.fidelity)
        better: Callable[..., float] = max if objective.maximised else min
        self._best[last.fidelity] = value if best is None else better(best, value)


def _end_unreadable(store: TrialStore, classes: int) -> None:
    """End the open trials that have no candidate, and so nothing that could be run."""
    for trial in store.trials():
        if not trial.state.is_finished() and candidate_of(trial, classes) is None:
            known = CANDIDATE in trial.user_attrs
            reason = "its candidate cannot be read" if known else "it was not proposed by Winnow"
            store.end(trial.number, TrialState.FAIL, None, {REJECTED: True, REASON: reason}, {})
