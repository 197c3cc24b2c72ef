"""Who is retrained: the promoted and the audited, others where these came to nothing, and who was asked for."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from search.config.objectives import objectives_of
from search.pipeline.bad_ends import BadEnds
from search.pipeline.preparation import Preparation
from search.pipeline.promotion import Identify, NothingToPromote, promote
from search.pipeline.promotion_file import Promotion, begun_anew, promotion_before, read_promotion, write_promotion
from search.pipeline.retrained_models import models_of
from search.pipeline.retraining import retrain
from search.pipeline.retraining_plan import RetrainingPlan
from search.pipeline.retraining_requests import drop_request, read_requests
from search.pipeline.tensorboard import TensorBoardLog
from search.pipeline.tickets import complete_tickets, has_sound_ticket
from search.runs.directory import RunDirectory, where_tracebacks
from search.runs.progress import Progress
from search.study.candidates import candidate_of
from search.study.failures import shortened
from trainables.trials.identity import identity_of


def retrain_chosen(
    run: RunDirectory,
    prepared: Preparation,
    trials: Sequence[FrozenTrial],
    sets: Mapping[str, DistilledSet],
    board: TensorBoardLog,
    progress: Progress,
) -> None:
    """Retrain the promoted and the audited tickets by the config, and others in place of those that come to nothing.

    As many are replaced as trials may fail in a row (`search.failures_in_a_row`): if all tickets diverge, it is not for
    the tickets.

    Raises:
        UserError: there is nothing to retrain, or a disk is full.
    """
    plan, ends = RetrainingPlan.of(prepared.config.retrain), BadEnds(run.bad_ends)
    lost, known = ends.lost(plan.names, models_of(run)), None
    while lost != known:
        known = lost
        promotion = _chosen(run, prepared, plan.key, trials, lost, progress)
        complete_tickets(run, prepared, sets, trials, promotion.left, ends, progress)
        tickets = [number for number in promotion.left if has_sound_ticket(run, number)]
        retrain(run, prepared, plan, tickets, ends, board, progress)
        lost = ends.lost(plan.names, models_of(run))


def retrain_requested(run: RunDirectory, prepared: Preparation, board: TensorBoardLog, progress: Progress) -> None:
    """Do what `winnow retrain` was asked for and did not come to do.

    Raises:
        UserError: a disk is full.
    """
    for request in read_requests(run):
        retrain(run, prepared, request.plan, request.trials, BadEnds(run.bad_ends), board, progress)
        drop_request(run, request)


def told_ends(run: RunDirectory, recipe: str) -> str:
    """Return how many tickets came to nothing by a recipe, why the last did, and where to look: a sentence's end."""
    ends = [end for end in BadEnds(run.bad_ends) if end.retraining is None or end.retraining.endswith(f"-{recipe}")]
    if not ends:
        return f"none was left to try.{where_tracebacks(run)}"
    last = shortened(f"{ends[-1].status}: {ends[-1].reason}")
    return f"{len(ends)} came to nothing, the last with: {last}.{where_tracebacks(run)}"


def identify_by(prepared: Preparation) -> Identify:
    """Return what tells the candidates of trials apart, see `identity_of`."""
    classes, ladder = prepared.splits.train.classes, prepared.config.search.ladder.ipc

    def identify(trial: FrozenTrial) -> Hashable:
        candidate = candidate_of(trial, classes)
        return trial.number if candidate is None else identity_of(candidate, classes, ladder)

    return identify


def _chosen(
    run: RunDirectory,
    prepared: Preparation,
    recipe: str,
    trials: Sequence[FrozenTrial],
    lost: Collection[int],
    progress: Progress,
) -> Promotion:
    """Return whom to retrain, and write it down.

    Once chosen they stay chosen, unless they come to nothing by this recipe: by another, the best are the best again.
    """
    config = prepared.config
    before = start = read_promotion(run.promotion)
    if before is None:
        start = promotion_before(run.promotion)
    elif before.recipe not in (None, recipe):
        start = begun_anew(before)
    if before is start and before is not None and len(lost) >= config.search.failures_in_a_row:
        promotion = replace(before, lost=tuple(sorted(set(before.chosen).intersection(lost))))
        if promotion.lost != before.lost:
            progress.say("retraining", f"{len(lost)} tickets came to nothing: no more are replaced")
    else:
        objectives = objectives_of(config.search.objectives)
        try:
            promotion = promote(trials, config.promote, objectives, config.run.seed, start, lost, identify_by(prepared))
        except NothingToPromote as error:
            raise UserError(f"{error}{where_tracebacks(run)}") from error
    promotion = replace(promotion, recipe=recipe)
    if promotion != before:
        write_promotion(run.promotion, promotion)
    if before is start and before is not None:
        new = [str(number) for number in promotion.chosen if number not in before.chosen]
        if new:
            trials_in_place = f"trial{'s' if len(new) > 1 else ''} {', '.join(new)}"
            progress.say("retraining", f"in place of what came to nothing: {trials_in_place}")
    return promotion
