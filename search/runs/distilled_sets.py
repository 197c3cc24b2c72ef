"""The first phase of a run: the sets that it trains on, each made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dp_core.data import Splits
from dp_core.distillation import DistilledLibrary, DistilledSet, Distiller, Workspace
from search.runs.directory import RunDirectory
from search.runs.progress import Progress


def make_sets(
    wanted: Mapping[str, tuple[Distiller, int]],
    splits: Splits,
    folder: Path,
    seed: int,
    run: RunDirectory,
    progress: Progress,
) -> dict[str, DistilledSet]:
    """Return the wanted sets (distiller and ipc) by name, making those that the library in `folder` does not have.

    A set whose making was interrupted goes on from the checkpoint that it left in the library.
    """
    library, train = DistilledLibrary(folder), splits.train
    workspace = Workspace(
        progress=lambda done, total, loss: progress.step("distilling", done, total, f"iterations, loss {loss:.4g}"),
        say=lambda sentence: progress.say("distilling", sentence),
        validation=splits.validation,
    )
    sets = {}
    for name, (distiller, ipc) in wanted.items():
        path = library.path(distiller, train, ipc, seed)
        found = library.holds(distiller, train, ipc, seed)
        progress.say("distilling", f"{'found' if found else 'making'} {path}")
        if not found:
            run.enter("distilling")
        made = library.get(distiller, train, ipc, seed, workspace)
        made.check_fits(train.image_shape, train.class_names)
        sets[name] = made
    return sets
