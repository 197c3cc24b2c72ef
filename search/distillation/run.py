"""What a distillation does: its sets, one after the other."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import torch

from dp_core.distillation import DistilledSet, Workspace
from dp_core.distillation.recovery import DistillationDiverged
from dp_core.errors import UserError
from search.distillation.config import DistillConfig
from search.distillation.plan import DistillPlan, WantedSets, key_of
from search.distillation.preparation import DistillPreparation
from search.distillation.watching import Watch
from search.runs.directory import RunDirectory
from search.runs.estimate import SECONDS, Estimate, distilling_phases
from search.runs.progress import Progress
from search.runs.record import config_of, read_run, record_sets


def estimate(prepared: DistillPreparation) -> Estimate:
    """Return how long the sets take that are not there yet."""
    makers = [
        (prepared.distiller, ipc) for ipc in prepared.config.distill.images_per_class if not prepared.is_made(ipc)
    ]
    return Estimate(*distilling_phases(makers, prepared.splits, prepared.config.run.seed, SECONDS))


def recorded_plan(run: RunDirectory) -> tuple[dict[str, Any], DistillPlan]:
    """Return what run.yaml says, and the plan of its sets; the images need not be there."""
    return plan_with(run, config_of(run, read_run(run), DistillConfig))


def plan_with(run: RunDirectory, config: DistillConfig) -> tuple[dict[str, Any], DistillPlan]:
    """Return what run.yaml says, and the plan that the run's sets have with this config."""
    recorded = read_run(run)
    return recorded, DistillPlan(config, run.path, WantedSets.of(config.distill.distiller()), recorded["data"]["train"])


def rows_of(prepared: DistillPlan) -> list[dict[str, Any]]:
    """Return a row for each set that has been made: where it is, and what its card says."""
    return [
        row_of(prepared, ipc, made)
        for ipc in prepared.config.distill.images_per_class
        if (made := made_set(prepared, ipc)) is not None
    ]


def made_set(prepared: DistillPlan, images_per_class: int) -> DistilledSet | None:
    """Return the set of this size, None if it has not been made; UserError as in `DistillPlan.is_made`."""
    return DistilledSet.load(prepared.path(images_per_class)) if prepared.is_made(images_per_class) else None


def row_of(prepared: DistillPlan, images_per_class: int, made: DistilledSet) -> dict[str, Any]:
    """Return what is said of a set; its validation accuracy is None where nothing was chosen by it."""
    cost = made.provenance["cost"]
    return {
        "set": str(prepared.path(images_per_class)),
        "method": made.provenance["distiller"]["method"],
        "images_per_class": images_per_class,
        "classes": made.classes,
        "validation_accuracy": made.provenance.get("validation_accuracy"),
        "seconds": cost["seconds"],
        "image_gradients": cost["image_gradients"],
        "digest": made.digest,
    }


def advance(run: RunDirectory, prepared: DistillPreparation, progress: Progress) -> None:
    """Make the sets that are left, each from its checkpoint on if there is one.

    Raises:
        UserError: the distillation diverges.
    """
    if prepared.is_finished(read_run(run)):
        progress.say("run", f"{run.path} is finished: there is nothing left to do")
        return
    if (threads := prepared.config.resources.cpus_per_job) is not None:
        torch.set_num_threads(threads)
    for ipc in prepared.config.distill.images_per_class:
        unfinished = prepared.unfinished(ipc)
        with Watch(run.path, ipc, prepared.distiller, unfinished, progress) as watch:
            made = made_set(prepared, ipc)
            progress.say("distilling", f"{'making' if made is None else 'found'} {prepared.path(ipc)}")
            if made is None:
                run.enter("distilling")
                prepared.path(ipc).parent.mkdir(parents=True, exist_ok=True)
                made = _make(prepared, ipc, watch, _without_folders(read_run(run)["command"]))
            if key_of(ipc) not in read_run(run)["distilled_sets"]:
                watch.finished(made)
        record_sets(run, {key_of(ipc): made})
        unfinished.remove()


def _make(prepared: DistillPreparation, images_per_class: int, watch: Watch, command: str) -> DistilledSet:
    """Make the set of this size, from its checkpoint on if there is one, and save it with the command in its card."""
    section, splits = prepared.config.distill, prepared.splits
    workspace = Workspace(
        progress=watch.step,
        say=watch.say,
        folder=prepared.unfinished(images_per_class).folder,
        checkpoint_every=section.checkpoint_every,
        experts=section.experts,
        validation=splits.validation,
        snapshot=watch.snapshot,
    )
    try:
        made = prepared.distiller.distill(splits.train, images_per_class, prepared.config.run.seed, workspace)
    except DistillationDiverged as error:
        raise UserError(
            f"{error} Go on by: winnow resume {prepared.run} distill.settings.NAME=VALUE --accept-changes"
        ) from error
    made = replace(made, provenance={**made.provenance, "command": command})
    made.save(prepared.path(images_per_class))
    return made


def _without_folders(command: str) -> str:
    """Return a command with PATH in the place of folders outside the one it was given in: a card is for everybody."""
    words = [word.rpartition("=") for word in shlex.split(command)]
    return shlex.join(
        f"{key}{equals}PATH" if value.startswith(("/", "~", "..")) else f"{key}{equals}{value}"
        for key, equals, value in words
    )
