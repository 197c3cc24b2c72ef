"""One way to run trials under Ray Tune, for screening and for retraining."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ray import tune
from ray.tune import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher, SearchGenerator

from dp_core.errors import UserError
from search.config.sections import ResourcesSection
from search.tune.controller import Controller, PromptScheduler

ENDS = "ends.json"


def run_trials(
    trainable: type[tune.Trainable],
    context: Any,
    *,
    storage: str,
    session: str,
    resources: ResourcesSection,
    callback: tune.Callback,
    trials: int = 1,
    searcher: Searcher | None = None,
    scheduler: TrialScheduler | None = None,
    stopper: tune.Stopper | None = None,
    param_space: dict[str, Any] | None = None,
) -> None:
    """Run trials to their ends.

    Args:
        trainable: a class Trainable whose `setup` takes `context`; it is told of its trial by `config`.
        context: goes through the object store once.
        storage: folder or bucket URL under which Tune keeps the experiment `session`.
        session: name of the experiment; one for each driver that works on the run.
        resources: of each trial.
        callback: is told of everything.
        trials: how many the searcher proposes (with a searcher), or 1 for every point of a grid in `param_space`.
        searcher: proposes configs.
        scheduler: stops trials, and decides which are taken up again.
        stopper: may end the search.
        param_space: a grid instead of a searcher.
    """
    experiment = Experiment(
        name=session,
        run=tune.with_resources(
            tune.with_parameters(trainable, context=context),
            {"cpu": resources.cpus_per_job, "gpu": resources.gpus_per_job},
        ),
        stop=stopper,
        config=param_space,
        num_samples=trials,
        storage_path=storage,
        # A checkpoint after every step makes every step resumable.
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
        max_failures=-1,  # whether a trial is taken up again, the scheduler decides
    )
    algorithm = _algorithm(searcher, resources.concurrency)
    algorithm.add_configurations([experiment])
    controller = Controller(
        search_alg=algorithm,
        scheduler=scheduler or PromptScheduler(),  # type: ignore[no-untyped-call]
        stopper=experiment.stopper,
        callbacks=[callback],
        storage=experiment.storage,
        reuse_actors=True,
    )
    controller.update_max_pending_trials(resources.concurrency)
    controller.setup_experiments([experiment], algorithm.total_samples)
    try:
        _run(controller)
    finally:
        _write_ends(experiment, controller.ended)


def _run(controller: TuneController) -> None:
    try:
        while not controller.is_finished():
            controller.step()
    except Exception as error:
        controller.cleanup()
        cause = error.__context__
        if isinstance(error, TuneError) and isinstance(cause, OSError | UserError):
            raise cause from None  # Tune has made a text of what a callback raised
        raise
    controller.cleanup()


def _write_ends(experiment: Experiment, ended: Mapping[str, str]) -> None:
    """Write beside the checkpoints how Tune says that the trials of this session ended, to be held against the study.

    Nothing is read from it, so a disk that has no room for it is no harm.
    """
    storage = experiment.storage
    with (
        suppress(OSError),
        storage.storage_filesystem.open_output_stream(f"{storage.experiment_fs_path}/{ENDS}") as file,
    ):
        file.write(json.dumps(dict(ended), indent=2, sort_keys=True).encode())


def _algorithm(searcher: Searcher | None, concurrency: int) -> SearchAlgorithm:
    if searcher is None:
        return BasicVariantGenerator(max_concurrent=concurrency)
    return SearchGenerator(ConcurrencyLimiter(searcher, max_concurrent=concurrency))


def trial_directory(number: int) -> str:
    """Return the name of a trial's folder in its session; a retraining's is the name of its model."""
    return f"{number:05d}"


def _trial_name(trial: Trial) -> str:
    job = trial.config.get("job", trial.config)
    return str(job.get("name") or trial_directory(job["trial"]))
