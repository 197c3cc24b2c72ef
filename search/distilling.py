"""The first phase of a run: the sets that candidates may be screened on, each made once."""

from __future__ import annotations

from dp_core.distillation import DISTILLERS, DistilledLibrary, DistilledSet, Distiller
from search.preparation import Preparation
from search.progress import Progress


def make_sets(prepared: Preparation, progress: Progress) -> dict[str, DistilledSet]:
    """Return the distilled sets and random subsets of the space by `Candidate.data_key`, making what is missing."""
    config = prepared.config
    library = DistilledLibrary(config.distill.directory)
    makers: dict[str, Distiller] = {"distilled": prepared.distiller, "subset": DISTILLERS["random_images"]()}
    train = prepared.splits.train
    sets = {}
    for source, distiller in makers.items():
        for ipc in prepared.images_per_class if source in prepared.sources else ():
            path = library.path(distiller, train, ipc, config.run.seed)
            found = library.holds(distiller, train, ipc, config.run.seed)
            progress.say("distilling", f"{'found' if found else 'making'} {path}")

            def tell(done: int, total: int, loss: float) -> None:
                progress.step("distilling", done, total, f"iterations, loss {loss:.4g}")

            made = library.get(distiller, train, ipc, config.run.seed, tell)
            made.check_fits(train.image_shape, train.class_names)
            sets[f"{source}-{ipc}"] = made
    return sets
