"""Opening the study of a run: its store, its sampler, and what it knows before its first trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from search.config.models import SearchConfig
from search.config.objectives import objectives_of
from search.output.numbers import plural
from search.pipeline.preparation import Preparation
from search.pipeline.study_reading import study_name
from search.pipeline.warm_start import earlier_trials, proxy_settings
from search.runs.directory import RunDirectory
from search.runs.images import digests
from search.runs.progress import Progress
from search.study.record import StudyRecord
from search.study.storage.store import TrialStore, exists
from trainables import Score


@contextmanager
def open_record(
    run: RunDirectory, prepared: Preparation, sets: Mapping[str, DistilledSet], progress: Progress
) -> Iterator[StudyRecord]:
    """Open the study of a run; what was damaged and has been mended is said in a line.

    Args:
        run: the run, locked.
        prepared: its config.
        sets: what its trials are screened on, by `Candidate.data_key`.
        progress: is told.

    Raises:
        UserError: the study cannot be read or reached.
    """
    config = prepared.config
    search = config.search
    objectives = objectives_of(search.objectives)
    earlier, notes = earlier_trials(
        search.start.runs,
        prepared.space,
        objectives,
        Score(search.score.target_parameters, search.score.exponent),
        digests(prepared.splits),
        proxy=proxy_settings(config),
        sets={name: found.digest for name, found in sets.items()},
        limits=prepared.limits,
    )
    store = TrialStore.open(run.journal, search.storage, study_name(config), objectives)
    try:
        for sentence in (*store.notes, *notes):
            progress.say("run", sentence)
        if earlier:
            progress.say("run", f"learns from {plural(len(earlier), 'trial')} of earlier runs")
        yield StudyRecord(
            store,
            config,
            prepared.space,
            prepared.splits.train.classes,
            limits=prepared.limits,
            points=prepared.points,
            earlier=earlier,
        )
    finally:
        store.close()


def make_study(run: RunDirectory, config: SearchConfig) -> None:
    """Make the study of a new run, before anything says that the run has begun.

    Raises:
        UserError: the database cannot be reached, or is none of this version of Optuna.
    """
    objectives = objectives_of(config.search.objectives)
    TrialStore.open(run.journal, config.search.storage, study_name(config), objectives).close()


def refuse_used_database(config: SearchConfig) -> None:
    """Raise UserError if the database of a new run has a study of its name."""
    url = config.search.storage
    if url is not None and exists(url, study_name(config)):
        raise UserError(
            f"The database of 'search.storage' has a study '{study_name(config)}' already: choose another run.name."
        )
