"""What the shipped distilled sets are made from: CIFAR-10 without the images that they may be judged by.

    winnow distill configs/distill/cifar10.yaml data.root=PATH      # whose data.format is scripts.cifar10_for_sets:load

Of complete CIFAR-10 are left out: the training images that `data.validation: 0.1` and `run.seed: 0` hold back, so that
searches on complete CIFAR-10 may score by them; and every image of assets/cifar10-mini, so that the quickstart may hold
back whichever of them it likes, with any seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from dp_core.data import ImageDataset, hold_back, open_train_test
from dp_core.data.identity import image_digests

MINI = Path(__file__).parent.parent / "assets" / "cifar10-mini"
CACHE = Path(".cache/winnow")


def load(root: Path, cache: Path = CACHE) -> tuple[ImageDataset, ImageDataset]:
    """Return the training images that are left of CIFAR-10 in `root` (Parquet shards), and its test images."""
    train, test = open_train_test("parquet", root, cache=cache)
    mini = open_train_test("parquet", MINI, cache=cache)
    barred = {digest for part in mini for digest in image_digests(part.images)}
    left = hold_back(train, 0.1, seed=0)[0]
    kept = [place for place, digest in enumerate(image_digests(left.images)) if digest not in barred]
    names = mini[0].class_names  # which shards without metadata lack
    return replace(left.select(torch.tensor(kept)), class_names=names), replace(test, class_names=names)
