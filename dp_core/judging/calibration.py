"""The real images on which a judged network's norm statistics are estimated."""

from __future__ import annotations

import torch

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.seeds import generator
from dp_core.training.data import TrainingData

CALIBRATION_IMAGES = 500
"""How many there are: a mean over so many is known to 5 % of a standard deviation even where a channel is one value an
image, and a convolution's channel has many an image."""


def calibration_images(train: ImageDataset, preprocessing: Preprocessing) -> TrainingData:
    """Return real training images, drawn at random but always the same, to be judged with (see `judge`).

    Args:
        train: the training images; never those that are scored, and never test images.
        preprocessing: what the network's images go through: those that it is scored on, too.
    """
    drawn = torch.randperm(len(train), generator=generator(0, "calibration"))[:CALIBRATION_IMAGES]
    return TrainingData(train.images[drawn], train.labels[drawn], preprocessing)
