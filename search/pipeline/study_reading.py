"""Reading the study of a run, wherever it is kept."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from dp_core.errors import UserError
from search.config.models import SearchConfig
from search.runs.directory import RunDirectory
from search.study.storage.mending import mirror_of
from search.study.storage.store import exists, read_trials
from search.study.trials import STUDY


def study_name(config: SearchConfig) -> str:
    """Return the name of the study: a journal has one only, a database one for each run."""
    return STUDY if config.search.storage is None else config.run.name


def refuse_lost_study(run: RunDirectory, config: SearchConfig) -> None:
    """See that a run that has begun still has its study: without it all trials would be taken for never run.

    Raises:
        UserError: journal and mirror, or the study in the database, are gone.
    """
    if not run.agreed.exists():
        return  # it is killed before it had begun, or older than this file
    url = config.search.storage
    if url is not None and not exists(url, study_name(config)):
        raise UserError(
            f"The study '{study_name(config)}' of the run {run.path} is not in the database of 'search.storage'."
        )
    if url is None and not run.journal.exists() and not mirror_of(run.journal).exists():
        raise UserError(f"The study of the run {run.path} is gone: there is neither {run.journal.name} nor its mirror.")


def trials_of(run: RunDirectory, config: SearchConfig) -> list[FrozenTrial]:
    """Return the trials of a run without changing anything; none where there is no study yet.

    Raises:
        UserError: the study of a run that has begun is gone, damaged or cannot be reached.
    """
    refuse_lost_study(run, config)
    return read_trials(run.journal, config.search.storage, study_name(config))
