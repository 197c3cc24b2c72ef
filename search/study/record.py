"""The study: the single record of what was proposed and what became of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from dp_core.errors import UserError
from dp_core.seeds import derive_seed
from search.config.models import SearchConfig
from search.space import ChoiceParameter, Space
from search.study.samplers import SAMPLERS, build_pruner
from search.study.strata import SOURCE, WithinSourcePruner, WithinSourceSampler
from search.study.trials import CANDIDATE, REASON, ROUND, STUDY, rounds_of


@dataclass(frozen=True)
class Proposal:
    """A candidate to screen, with its number in the study; `resumed` if an earlier driver had begun it."""

    number: int
    candidate: dict[str, Any]
    resumed: bool


class StudyRecord:
    """An Optuna study in a journal file, written as things happen, so that losing the driver loses nothing.

    Trials that were running when an earlier driver was lost are proposed again, under their own numbers, before any
    new one. Every report is idempotent: a round or an end that is known already changes nothing.
    """

    def __init__(self, journal: Path, config: SearchConfig, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        _repair(journal)
        settings = config.search
        with _naming_damage(journal):
            storage = JournalStorage(JournalFileBackend(str(journal)))
            self._study = optuna.create_study(
                storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True
            )
            known = _checked(self._study.get_trials(deepcopy=False))
        self._study.sampler = WithinSourceSampler(
            lambda source: SAMPLERS[settings.sampler](
                derive_seed(config.run.seed, "source", str(source)), len(known), settings.startup_trials
            )
        )
        stopping = settings.early_stopping
        self._study.pruner = WithinSourcePruner(
            build_pruner(stopping.method, stopping.first_round, stopping.reduction_factor, settings.startup_trials)
        )
        self._space = space
        self._target = settings.trials
        self._orphans = [trial.number for trial in known if trial.state == TrialState.RUNNING]
        self._open: dict[int, Trial] = {}
        self._proposed = sum(trial.state != TrialState.WAITING for trial in known)
        self._sources = _sources(space)

    @property
    def target(self) -> int:
        """Number of trials that the run is to have."""
        return self._target

    @property
    def unfinished(self) -> int:
        """Trials still to be run or to be run to their end."""
        return self._target - len(self.trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in these states, or all."""
        return self._study.get_trials(deepcopy=False, states=states or None)

    def propose(self) -> Proposal | None:
        """Return the next candidate to screen, or None when the target number has been proposed."""
        resumed = bool(self._orphans)
        if resumed:
            number = self._orphans.pop(0)
            trial = Trial(self._study, self._study.get_trials(deepcopy=False)[number]._trial_id)
        elif self._proposed < self._target:
            trial = self._ask()
            self._proposed += 1
        else:
            return None
        candidate = trial.user_attrs.get(CANDIDATE)
        if candidate is None:
            # New, or asked for by a driver that was lost before it wrote down the answer: what Optuna has already
            # drawn for this trial stays as it is.
            candidate = self._space.suggest(trial)
            trial.set_user_attr(CANDIDATE, candidate)
        self._open[trial.number] = trial
        return Proposal(trial.number, candidate, resumed)

    def _ask(self) -> Trial:
        """Start a new trial; the sources take turns."""
        if len(self._sources) > 1 and not self.trials(TrialState.WAITING):
            self._study.enqueue_trial({SOURCE: self._sources[self._proposed % len(self._sources)]})
        return self._study.ask()

    def report(self, number: int, row: Mapping[str, Any]) -> bool:
        """Record a round; return whether the trial should be stopped for lack of promise."""
        trial = self._open[number]
        step = int(row["round"])
        if f"{ROUND}{step:04d}" not in trial.user_attrs:
            trial.set_user_attr(f"{ROUND}{step:04d}", _finite(row))
            if math.isfinite(row["score"]):
                trial.report(row["score"], step)
        return trial.should_prune()

    def finish(self, number: int, state: TrialState, reason: str | None) -> None:
        """Record the end of a trial; COMPLETE takes the score of its last round. A second end changes nothing."""
        trial = self._open.pop(number, None)
        if trial is None:
            return
        if reason is not None:
            trial.set_user_attr(REASON, reason)
        rows = rounds_of(self._study.get_trials(deepcopy=False)[number])
        value = rows[-1]["score"] if state == TrialState.COMPLETE else None
        self._study.tell(number, value, state, skip_if_finished=True)

    def counts(self) -> dict[str, int]:
        """Return how many trials are in each state."""
        counts: dict[str, int] = {}
        for trial in self.trials():
            counts[trial.state.name] = counts.get(trial.state.name, 0) + 1
        return counts


def _sources(space: Space) -> tuple[Any, ...]:
    for parameter in space.parameters:
        if parameter.name == SOURCE and isinstance(parameter, ChoiceParameter):
            return parameter.values
    return ()


def read_trials(journal: Path) -> list[FrozenTrial]:
    """Return the trials of a journal without changing it.

    Raises:
        UserError: there is no study in it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if not journal.exists():
        return []
    with _naming_damage(journal):
        storage = JournalStorage(JournalFileBackend(str(journal)))
        if STUDY not in [study.study_name for study in storage.get_all_studies()]:
            raise UserError(f"{journal} has no study '{STUDY}'.")
        return _checked(optuna.load_study(study_name=STUDY, storage=storage).get_trials(deepcopy=False))


@contextmanager
def _naming_damage(journal: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{journal} is damaged: {' '.join(str(error).split())}.") from error


def _checked(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials, or raise ValueError for one whose candidate or rounds are not what was written."""
    for trial in trials:
        if CANDIDATE in trial.user_attrs and "model" not in trial.user_attrs[CANDIDATE]:
            raise ValueError(f"the candidate of trial {trial.number} has no model")
        if trial.state == TrialState.COMPLETE and not rounds_of(trial):
            raise ValueError(f"trial {trial.number} is complete but has no rounds")
    return trials


def _repair(journal: Path) -> None:
    """Undo what a killed driver may have left: half of the last line, and the lock. The run's own lock is ours."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with NaN and infinities as None, which JSON can hold."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
