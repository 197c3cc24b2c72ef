"""`winnow retrain`: tickets of a run trained again, longer or by another recipe."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from dp_core.errors import UserError
from search.config.loader import override_config
from search.config.models import SearchConfig
from search.config.overrides import Override
from search.pipeline.bad_ends import BadEnds
from search.pipeline.preparation import Preparation
from search.pipeline.promotion_file import read_promotion
from search.pipeline.retrained_models import models_of
from search.pipeline.retraining_phase import retrain_requested, told_ends
from search.pipeline.retraining_requests import Request, add_request
from search.pipeline.screening import phase_storage
from search.pipeline.study_reading import trials_of
from search.pipeline.tensorboard import TensorBoardLog
from search.pipeline.tickets import has_sound_ticket
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from search.study.trials import reason_of
from search.tune.checkpoints import CheckpointStore
from trainables.retraining.trained_model import TrainedModel


def asked_config(run: RunDirectory, config: SearchConfig, overrides: Sequence[str]) -> SearchConfig:
    """Return the config of a run with keys of `retrain` changed, `retrain.key=value`.

    Raises:
        UserError: a key is not one of `retrain`, or a value is wrong.
    """
    _refuse_other_keys(overrides)
    return override_config(SearchConfig, config.in_full(), run.config, overrides)


def requested(run: RunDirectory, asked: SearchConfig, numbers: Sequence[int]) -> Request:
    """Return what is asked for by such a config: the tickets of these trials, or with none those promoted.

    Each training begins at its ticket, also where a shorter one has ended: a schedule ends with its last step. The
    models stand beside those that there are, and the config of the run stays as it is.

    Raises:
        UserError: a trial has no ticket.
    """
    return Request(_tickets(run, trials_of(run, asked), numbers), asked.retrain)


def retrain_again(run: RunDirectory, prepared: Preparation, request: Request, progress: Progress) -> None:
    """Train what is asked for; it is written down before it begins, so that `winnow resume` goes on with it.

    Args:
        run: the run, locked.
        prepared: the config of the request.
        request: what is asked for.
        progress: is told what happens.

    Raises:
        UserError: a disk is full.
    """
    if set(request.names) <= {name for name, folder in models_of(run).items() if TrainedModel.is_sound(folder)}:
        progress.say("retraining", "nothing to train: all that is asked for has been trained by this recipe")
    _let_try_again(run, prepared, request)
    add_request(run, request)
    board = TensorBoardLog(run.tensorboard)
    try:
        retrain_requested(run, prepared, board, progress)
    finally:
        board.close()


def refuse_no_model(run: RunDirectory, request: Request) -> None:
    """Raise UserError if nothing has come of a request."""
    if not set(request.names) & set(models_of(run)):
        raise UserError(f"No ticket could be retrained: {told_ends(run, request.plan.key)}")


def _let_try_again(run: RunDirectory, prepared: Preparation, request: Request) -> None:
    """Forget the bad ends of what is asked for, and the checkpoints that would lead to them at once."""
    ends, store = BadEnds(run.bad_ends), CheckpointStore(phase_storage(run, prepared, "retraining"))
    failed = ends.retrainings().intersection(request.names)
    for name in failed:
        store.drop(name)
    ends.forget(failed)


def _refuse_other_keys(overrides: Sequence[str]) -> None:
    for override in overrides:
        key = Override.parse(override).path
        if key[0] != "retrain" or len(key) == 1:
            raise UserError(
                f"the override '{override}' is none of 'retrain': winnow retrain takes keys such as retrain.epochs, "
                "retrain.seeds or retrain.recipe.learning_rate."
            )


def _tickets(run: RunDirectory, trials: Sequence[FrozenTrial], numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the trials whose tickets are to be retrained, each once."""
    if not run.tickets():
        raise UserError(f"The run {run.path} has no tickets yet: go on with it by 'winnow resume {run.path}'.")
    if not numbers:
        promotion = read_promotion(run.promotion)
        if promotion is None:
            raise UserError(
                f"The run {run.path} has not promoted any ticket yet: name trials by --trial, or go on with it by "
                f"'winnow resume {run.path}'."
            )
        numbers = [number for number in promotion.promoted if has_sound_ticket(run, number)]
        if not numbers:
            raise UserError(f"The run {run.path} has promoted no ticket that is there: name trials by --trial.")
    known = {trial.number: trial for trial in trials}
    for number in numbers:
        if number not in known:
            raise UserError(f"The run {run.path} has no trial {number}: its trials are 0 to {max(known, default=0)}.")
        if not has_sound_ticket(run, number):
            what = "a damaged ticket" if run.ticket(number).exists() else "no ticket"
            raise UserError(f"Trial {number} of the run {run.path} has {what}: {_why(known[number])}.")
    return tuple(dict.fromkeys(numbers))


def _why(trial: FrozenTrial) -> str:
    reason = " ".join((reason_of(trial) or "").split()).rstrip(".")
    return f"it is {trial.state.name}" + (f", {reason}" if reason else "")
