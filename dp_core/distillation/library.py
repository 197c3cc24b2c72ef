"""A folder of distilled sets in which each is found by what it was made from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dp_core.data import ImageDataset
from dp_core.distillation.base import HERE, Distiller, Workspace
from dp_core.distillation.card import FORMAT, card_path
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.files import digest_of_json
from dp_core.source_code import combined, sources_within


class Digested(Protocol):
    """Images of which the contents are known: an ImageDataset, or what is recorded of one."""

    @property
    def digest(self) -> str:
        """Of their contents."""


class DistilledLibrary:
    """Makes each set once: the key is the digest of distiller, settings, source digest, ipc and seed.

    The source of a user's own networks is part of it (`sources_within`).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, distiller: Distiller, source: Digested, images_per_class: int, seed: int) -> Path:
        """Return where the set is, or will be."""
        settings = distiller.settings()
        code = combined(sources_within(settings))
        key = digest_of_json(
            {
                "format": FORMAT,
                "settings": settings,
                "source": source.digest,
                "images_per_class": images_per_class,
                "seed": seed,
                **({} if code is None else {"code": code}),
            }
        )
        return self._folder / f"{settings['method']}-{images_per_class}ipc-{key[:12]}.safetensors"

    def holds(self, distiller: Distiller, source: Digested, images_per_class: int, seed: int) -> bool:
        """Return whether the set has been made."""
        path = self.path(distiller, source, images_per_class, seed)
        return path.exists() and card_path(path).exists()

    def get(
        self,
        distiller: Distiller,
        source: ImageDataset,
        images_per_class: int,
        seed: int,
        workspace: Workspace = HERE,
    ) -> DistilledSet:
        """Return the set, making and saving it if it is not there.

        A distillation that was interrupted goes on from its last checkpoint, which is kept beside where the set will
        be unless the workspace names a folder, and removed when the set is there. Expert buffers are kept in `experts`
        in the library's folder unless the workspace names another.

        Raises:
            UserError: the set is there but damaged, or cannot be made.
        """
        path = self.path(distiller, source, images_per_class, seed)
        if self.holds(distiller, source, images_per_class, seed):
            return DistilledSet.load(path)
        checkpoints = workspace.folder or path.with_suffix(".checkpoint")
        experts = workspace.experts or self._folder / "experts"
        made = distiller.distill(
            source, images_per_class, seed, replace(workspace, folder=checkpoints, experts=experts)
        )
        made.save(path)
        if workspace.folder is None:
            shutil.rmtree(checkpoints, ignore_errors=True)
        return made
