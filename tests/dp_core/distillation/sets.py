"""Distilled sets small enough to write out by hand: three classes, two images each, of 2×3×4."""

from __future__ import annotations

import torch

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation import DistilledSet

NAMES = ("cat", "dog", "owl")
SHAPE = (2, 3, 4)


def zca() -> ZCA:
    return ZCA.fit(torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(1)))


def make(preprocessing: Preprocessing | None = None, *, soft: bool = False) -> DistilledSet:
    labels = torch.arange(3).repeat_interleave(2)
    return DistilledSet(
        images=torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0)),
        labels=torch.eye(3)[labels] * 0.7 + 0.1 if soft else labels,
        preprocessing=preprocessing or Standardisation((0.5, 0.4), (0.25, 0.2)),
        class_names=NAMES,
        images_per_class=2,
        learning_rate=0.01 if soft else None,
        provenance={"distiller": {"method": "by hand"}, "seed": 3},
    )
