"""The durable record of a study: every event on the disk before the next one, in a journal or a database."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dp_core.errors import UserError
from search.config.objectives import Objective
from search.study.storage.database import exists, open_database, read_database, reading_database
from search.study.storage.database_url import check_url, resolve_url
from search.study.storage.journal import open_journal, read_journal, reading_journal
from search.study.storage.medium import Medium
from search.study.trials import CANDIDATE, METRIC_NAMES, constraint_key, has_rounds

__all__ = ["TrialStore", "check_url", "exists", "read_trials", "resolve_url"]


class TrialStore:
    """The durable record: every event is written as it happens, in as few appends as Optuna's format allows.

    One driver writes at a time. Each event is one append to a journal, or one transaction of a database, whose last
    part is what makes it known: a driver that is killed in the middle of it tells it again. What is known already
    changes nothing.

    Attributes:
        notes: a sentence for each thing that was found damaged and was mended, to be said to the user.
    """

    def __init__(self, medium: Medium, study_id: int) -> None:
        self._medium, self._storage, self._study_id = medium, medium.storage, study_id
        self.notes = medium.notes
        # What is written while events are held back must not come from two threads.
        self._lock = threading.RLock()
        self._open: dict[int, tuple[int, set[str]]] = {}
        with medium.reading():
            states = (TrialState.RUNNING, TrialState.WAITING)
            for trial in self._storage.get_all_trials(study_id, deepcopy=False, states=states):
                self._open[trial.number] = trial._trial_id, set(trial.user_attrs)

    @staticmethod
    def open(journal: Path, url: str | None, name: str, objectives: Sequence[Objective]) -> TrialStore:
        """Open the study `name`, making it if it is not there, in the database at `url` or, without one, in `journal`.

        A study that does not name its objectives yet, as one of an earlier version of Winnow, does from now on.

        Args:
            journal: path of the journal.
            url: of a database that Optuna can use, or None.
            name: of the study.
            objectives: what its values are.

        Raises:
            UserError: the record is damaged beyond repair, has no room, cannot be reached or has other objectives.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        medium = open_journal(journal) if url is None else open_database(url)
        wanted = [StudyDirection[objective.direction.upper()] for objective in objectives]
        with medium.reading():
            study_id = _study_id(medium.storage, name)
            if study_id is None:
                study_id = medium.storage.create_new_study(wanted, name)
            found = medium.storage.get_study_directions(study_id)
        if found != wanted:
            medium.close()
            now, then = (", ".join(each.name.lower() for each in some) for some in (wanted, found))
            raise UserError(f"The study '{name}' was begun with other objectives: it has to {then}, not to {now}.")
        _name_metrics(medium, study_id, [objective.name for objective in objectives])
        return TrialStore(medium, study_id)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number, as Optuna has them; they are not to be changed.

        Raises:
            UserError: one of them is not what was written.
        """
        with self._lock, self._medium.reading():
            return _checked(self._storage.get_all_trials(self._study_id, deepcopy=False))

    def add(self, trial: FrozenTrial) -> int:
        """Record a trial with all that it has; return its number.

        Raises:
            UserError: there is no room for it, the record cannot be written, or it is a database, of which Optuna wants
                that a parameter has the same choices in all trials, and the space has changed.
        """
        with self._lock, self._medium.writing():
            try:
                trial_id = self._storage.create_new_trial(self._study_id, template_trial=trial)
            except ValueError as error:
                raise UserError(f"The study has trials of another space: {str(error).rstrip('.')}.") from error
            number = self._medium.number_of(trial_id)
            if not trial.state.is_finished():
                self._open[number] = trial_id, set(trial.user_attrs)
        return number

    def keep_round(self, number: int, key: str, row: Mapping[str, Any], step: int, value: float | None) -> None:
        """Record a round of a trial as its user attribute `key`; a key that is known, and an ended trial, stay.

        Args:
            number: of the trial.
            key: of the user attribute.
            row: what the round came to, as JSON can hold it.
            step: Optuna's step of the round.
            value: Optuna's intermediate value at this step; None keeps none.

        Raises:
            UserError: there is no room for it, or the record cannot be written.
        """
        with self._lock:
            trial_id, keys = self._open.get(number, (-1, {key}))
            if key in keys or self._has_ended(number):
                return
            with self._medium.writing(), suppress(UpdateFinishedTrialError), self._medium.together():
                # The row comes last: where it is known, so is the value.
                if value is not None:
                    self._storage.set_trial_intermediate_value(trial_id, step, value)
                self._storage.set_trial_user_attr(trial_id, key, dict(row))
            keys.add(key)

    def end(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None,
        user_attrs: Mapping[str, Any],
        constraints: Mapping[str, float],
    ) -> None:
        """Record the end of a trial; a second end changes nothing.

        Args:
            number: of the trial.
            state: COMPLETE, PRUNED or FAIL.
            values: one for each objective, or None.
            user_attrs: what else is to be kept of the trial.
            constraints: by name; above 0 is broken.

        Raises:
            UserError: there is no room for it, or the record cannot be written.
        """
        with self._lock:
            if number not in self._open or self._has_ended(number):
                return
            trial_id, _ = self._open[number]
            with self._medium.writing(), suppress(UpdateFinishedTrialError), self._medium.together():
                for key, value in user_attrs.items():
                    self._storage.set_trial_user_attr(trial_id, key, value)
                for name, constraint in constraints.items():
                    self._storage.set_trial_system_attr(trial_id, constraint_key(name), float(constraint))
                self._storage.set_trial_state_values(trial_id, state, values)
            del self._open[number]

    def close(self) -> None:
        """Give back what is held open; nothing is written after it."""
        with self._lock:
            self._medium.close()

    def _has_ended(self, number: int) -> bool:
        """Return whether someone with Optuna in hand has ended a trial meanwhile."""
        with self._medium.reading():
            return self._medium.has_ended(self._open[number][0])


def read_trials(journal: Path, url: str | None, name: str) -> list[FrozenTrial]:
    """Return the trials of a study without changing anything; none where there is nothing yet.

    Raises:
        UserError: the journal has only other studies, or the record is damaged or cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: BaseStorage | None = read_journal(journal) if url is None else read_database(url, name)
    if storage is None:
        return []
    with reading_journal(journal) if url is None else reading_database(url):
        study_id = _study_id(storage, name)
        if study_id is None:
            raise UserError(f"{journal} has no study '{name}'.")
        return _checked(storage.get_all_trials(study_id, deepcopy=False))


def _study_id(storage: BaseStorage, name: str) -> int | None:
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None


def _name_metrics(medium: Medium, study_id: int, names: list[str]) -> None:
    """Name the objectives for Optuna's own tools, where nobody has yet (Study.set_metric_names)."""
    with medium.reading():
        known = METRIC_NAMES in medium.storage.get_study_system_attrs(study_id)
    if not known:
        with medium.writing():
            medium.storage.set_study_system_attr(study_id, METRIC_NAMES, names)


def _checked(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials, or raise ValueError for one whose candidate or rounds are not what was written."""
    for trial in trials:
        if CANDIDATE in trial.user_attrs and "model" not in trial.user_attrs[CANDIDATE]:
            raise ValueError(f"the candidate of trial {trial.number} has no model")
        if trial.state == TrialState.COMPLETE and not has_rounds(trial):
            raise ValueError(f"trial {trial.number} is complete but has no rounds")
    return trials
