"""Random real images: the control that every distilled set has to beat at equal images per class."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from dp_core.data import ImageDataset
from dp_core.distillation.base import (
    HERE,
    Workspace,
    check_images_per_class,
    draw_images,
    pixels,
    provenance,
    standardisation_of,
)
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.seeds import generator


@dataclass(frozen=True)
class RandomImages:
    """Draw the images of each class uniformly, without replacement."""

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        return {"method": "random_images"}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """See Distiller."""
        self.check(source, images_per_class)
        started = time.perf_counter()
        chosen = draw_images(source, images_per_class, generator(seed, "random images"))
        space = standardisation_of(source)
        workspace.progress(1, 1, 0.0)
        return DistilledSet(
            images=space(pixels(source, chosen)),
            labels=source.labels[chosen].clone(),
            preprocessing=space,
            class_names=source.class_names,
            images_per_class=images_per_class,
            learning_rate=None,
            provenance=provenance(
                self.settings(), source, seed, seconds=time.perf_counter() - started, image_gradients=0
            ),
        )
