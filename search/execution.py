"""One way to run trials under Ray Tune, for screening and for retraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher


@dataclass(frozen=True)
class Resources:
    """What a trial gets, how many run at a time, and how often one that lost its worker is taken up again."""

    cpus: int
    gpus: float
    concurrency: int
    max_failures: int


def run_trials(
    trainable: type[tune.Trainable],
    context: Any,
    *,
    storage: str,
    session: str,
    resources: Resources,
    callback: tune.Callback,
    trials: int = 1,
    searcher: Searcher | None = None,
    scheduler: TrialScheduler | None = None,
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
        scheduler: stops trials.
        param_space: a grid instead of a searcher.
    """
    # Tune forks no process for its own logging; a checkpoint after every step makes every step resumable.
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, context=context), {"cpu": resources.cpus, "gpu": resources.gpus}
        ),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=trials,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=session,
            storage_path=storage,
            callbacks=[callback],
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=2),
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
        ),
    )
    tuner.fit()


def trial_directory(number: int, seed: int | None = None) -> str:
    """Return the name of a trial's folder in its session."""
    return f"{number:05d}" if seed is None else f"{number:05d}-seed{seed}"


def _trial_name(trial: Trial) -> str:
    job = trial.config.get("job", trial.config)
    return trial_directory(job["trial"], job.get("seed"))
