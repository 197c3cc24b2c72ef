"""The study: the single record of what was proposed and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dp_core.errors import UserError
from dp_core.seeds import derive_seed
from search.config.models import SearchConfig
from search.config.objectives import objectives_of
from search.space import Space
from search.study.candidates import candidate_of, end_unreadable
from search.study.constraints import Limits
from search.study.ends import End, Ends
from search.study.failures import FailureStreak
from search.study.handover import Handover
from search.study.memory import MemoryStudies
from search.study.open_trial import OpenTrial
from search.study.proposals import Proposals
from search.study.reports import Reports
from search.study.sampling import parts_of, source_of
from search.study.stopping import build_stopping
from search.study.storage.store import TrialStore
from search.study.tally import Tally
from search.study.trials import (
    POINT,
    is_rejected,
    rounds_of,
    state_of,
    stopped_early,
    stops_of,
)
from trainables import Candidate
from trainables.screening.round import Round


@dataclass(frozen=True)
class Proposal:
    """A candidate to screen, with its number in the study; `resumed` if an earlier driver had begun it."""

    number: int
    candidate: Candidate
    resumed: bool


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
        limits: what a candidate must keep to.
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
        limits: Limits,
        points: Sequence[Mapping[str, Any]] = (),
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        settings = config.search
        self._store, self._classes = store, classes
        objectives = objectives_of(settings.objectives)
        end_unreadable(store, classes)
        known = store.trials()
        seed = derive_seed(config.run.seed, "sampler")
        parts = parts_of(space, objectives, settings.trials, seed=seed, startup_trials=settings.startup_trials)
        memory = MemoryStudies(settings.sampler, parts, [*earlier, *known])
        tried = [trial.user_attrs[POINT] for trial in known if POINT in trial.user_attrs]
        self._proposals = Proposals(
            memory,
            classes=classes,
            ladder_ipc=settings.ladder.ipc,
            limits=limits,
            points=[point for point in points if dict(point) not in tried],
            trials=settings.trials,
            seed=config.run.seed,
            sampler=settings.sampler,
        )
        self._tally = Tally(settings.trials, self._proposals)
        self._handover = Handover(store, space, self._proposals, self._tally)
        self._stopping = build_stopping(settings.early_stopping, settings.startup_trials, len(objectives))
        with_latency = "latency" in settings.objectives or settings.constraints.max_latency_ms is not None
        self._reports = Reports(store, objectives, self._stopping, limits.latency_ms if with_latency else None)
        self._ends = Ends(store, objectives, limits, settings.ladder.real_epochs)
        self._streak = FailureStreak(settings.failures_in_a_row)
        self._open: dict[int, OpenTrial] = {}
        self._told: dict[int, End] = {}
        self.halted: UserError | None = None
        for place, trial in enumerate(known, start=len(earlier)):
            self._take_up(trial, memory, place)
        self._end_stopped()

    def _take_up(self, trial: FrozenTrial, memory: MemoryStudies, place: int) -> None:
        """Learn of a trial that an earlier driver proposed."""
        candidate = candidate_of(trial, self._classes)
        if candidate is not None:
            self._proposals.learn(candidate, trial.number)
        self._tally.add(state_of(trial))
        if is_rejected(trial):
            return
        rounds, source = rounds_of(trial), source_of(trial)
        for found in rounds:
            self._reports.learn(trial.number, source, found)
        if trial.state == TrialState.RUNNING and candidate is not None:
            seen, params, stops = memory.known(place), dict(trial.params), stops_of(trial)
            begun = OpenTrial(trial.number, seen, candidate, params, source, rounds, stops, resumed=True)
            self._handover.begun.append(begun)
        elif trial.state == TrialState.COMPLETE:
            self._stopping.finished(trial.number)
            self._ends.learn(rounds[-1])

    def _end_stopped(self) -> None:
        """End the trials that an earlier driver was about to stop when it was lost."""
        begun = self._handover.begun
        stopped = [trial for trial in begun if trial.rounds and trial.rounds[-1].round in trial.stops]
        for trial in stopped:
            begun.remove(trial)
            self._open[trial.number] = trial
            self.finish(trial.number, TrialState.PRUNED, stopped_early(trial.rounds[-1].round))
        self._told.clear()

    @property
    def target(self) -> int:
        """Number of trials that the run is to have, rejected proposals and repeats not counted; see `Tally`."""
        return self._tally.target

    @property
    def used_up(self) -> str | None:
        """That the space has fewer candidates than there were to be trials, in words; None as long as it has not."""
        return self._tally.used_up

    @property
    def ended(self) -> int:
        """Trials that have ended, rejected proposals not counted."""
        return self._tally.ended

    @property
    def unfinished(self) -> int:
        """Trials still to be run or to be run to their end."""
        return self._tally.unfinished

    def counts(self) -> dict[str, int]:
        """Return how many trials are in each state, as `state_of` names them."""
        return self._tally.states()

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in these states, or all, as the store has them."""
        return [trial for trial in self._store.trials() if not states or trial.state in states]

    def running(self, number: int) -> OpenTrial:
        """Return a trial that was proposed and has not ended."""
        return self._open[number]

    def end_of(self, number: int) -> End | None:
        """Return how a trial has ended, None if it has not; it can be asked once, and is then forgotten."""
        return self._told.pop(number, None)

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
        trial = self._handover.next()
        if trial is None:
            return None
        self._open[trial.number] = trial
        return Proposal(trial.number, trial.candidate, trial.resumed)

    def report(self, number: int, found: Round, *, last: bool = False) -> bool:
        """Record a round; return whether the trial should be stopped for lack of promise.

        What has been said of a round is said again. After the `last` round there is nothing to stop.
        """
        return self._reports.add(self._open[number], found, last=last)

    def finish(self, number: int, state: TrialState, reason: str | None) -> None:
        """Record the end of a trial; COMPLETE takes the objectives of its last round. A second end changes nothing.

        A COMPLETE trial with an objective that is no finite number is a failure.
        """
        trial = self._open.get(number)
        if trial is None:
            return
        end = self._ends.add(trial, state, reason)
        del self._open[number]
        self._tally.end(end.state)
        self._told[number] = end
        if end.state == TrialState.COMPLETE:
            self._stopping.finished(number)
        if end.state != TrialState.FAIL:
            self._streak.ended_well()
        elif (too_many := self._streak.failed(end.reason or "no reason")) is not None:
            self.halt(too_many)
