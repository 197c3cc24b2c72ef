"""Reading the study of a run, wherever it is kept."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from search.config.models import SearchConfig
from search.run_directory import RunDirectory
from search.study.storage import read_trials
from search.study.trials import STUDY


def study_name(config: SearchConfig) -> str:
    """Return the name of the study: a journal has one only, a database one for each run."""
    return STUDY if config.search.storage is None else config.run.name


def trials_of(run: RunDirectory, config: SearchConfig) -> list[FrozenTrial]:
    """Return the trials of a run without changing anything; none where there is no study yet."""
    return read_trials(run.journal, config.search.storage, study_name(config))
