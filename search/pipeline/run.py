"""What a search does, phase by phase."""

from __future__ import annotations

from dp_core.distillation import DISTILLERS, Distiller
from dp_core.errors import UserError
from search.pipeline.preparation import Preparation
from search.pipeline.promotion_file import set_aside
from search.pipeline.retraining_phase import retrain_chosen, retrain_requested
from search.pipeline.screening import phase_storage, screen
from search.pipeline.study_opening import open_record
from search.pipeline.tensorboard import TensorBoardLog
from search.runs.directory import RunDirectory
from search.runs.distilled_sets import make_sets
from search.runs.progress import Progress
from search.runs.record import record_sets
from search.space import ChoiceParameter, FloatParameter, IntParameter, Space
from search.tune.checkpoints import CheckpointStore


def refuse_used_storage(run: RunDirectory, prepared: Preparation) -> None:
    """Raise UserError if there are checkpoints of another run of this name: they would be taken for this one's."""
    for phase in ("screening", "retraining"):
        storage = phase_storage(run, prepared, phase)
        if CheckpointStore(storage).has_sessions():
            raise UserError(f"The storage {storage} has the checkpoints of another run: choose another run.name.")


def advance(run: RunDirectory, prepared: Preparation, progress: Progress) -> None:
    """Do whatever of a search is left to be done, from its sets to its retrained models.

    Raises:
        UserError: the study is damaged or stopped, or a disk is full.
    """
    for sentence in prepared.space.notes:
        progress.say("run", sentence)
    ready = {f"distilled-{ipc}": found for ipc, found in prepared.ready.items()}
    folder, seed = prepared.config.distill.directory, prepared.config.run.seed
    sets = {**ready, **make_sets(wanted_sets(prepared), prepared.splits, folder, seed, run, progress)}
    record_sets(run, sets)
    board = TensorBoardLog(run.tensorboard, parameter_types(prepared.space))
    try:
        with open_record(run, prepared, sets, progress) as record:
            if record.unfinished > 0:
                set_aside(run.promotion)  # of a run that had fewer trials
                screen(run, prepared, record, sets, board, progress)
            retrain_chosen(run, prepared, record.trials(), sets, board, progress)
        retrain_requested(run, prepared, board, progress)
    finally:
        board.close()


def wanted_sets(prepared: Preparation) -> dict[str, tuple[Distiller, int]]:
    """Return the distilled sets and random subsets that are to be made, distiller and ipc by `Candidate.data_key`."""
    makers: dict[str, Distiller] = {"distilled": prepared.distiller, "subset": DISTILLERS["random_images"]()}
    return {
        f"{source}-{ipc}": (distiller, ipc)
        for source, distiller in makers.items()
        for ipc in (prepared.images_per_class if source in prepared.sources else ())
        if not (source == "distilled" and ipc in prepared.ready)
    }


def parameter_types(space: Space) -> dict[str, type]:
    """Return the searched parameters by name, with the type of their values, as TensorBoard shows them."""
    kinds: dict[str, type] = {}
    for parameter in space.parameters:
        if isinstance(parameter, IntParameter):
            kinds[parameter.name] = int
        elif isinstance(parameter, FloatParameter):
            kinds[parameter.name] = float
        elif isinstance(parameter, ChoiceParameter):
            found = {type(value) for value in parameter.values}
            kinds[parameter.name] = found.pop() if len(found) == 1 else str
    return kinds
