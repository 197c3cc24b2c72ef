"""What the parts of a distilled set must be like: each check raises UserError with what is wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dp_core.data.preprocessing import Preprocessing, Standardisation
from dp_core.errors import UserError

_SUM_TOLERANCE = 1e-3  # of a row of soft labels; rounding a sum of 1 to float16 moves it by half of that


def check_counts(images_per_class: int, classes: int) -> None:
    """Both are at least 1."""
    if images_per_class < 1 or classes < 1:
        raise UserError(
            f"A distilled set needs at least one class and one image of each, "
            f"not {classes} classes and {images_per_class} images of each."
        )


def check_learning_rate(learning_rate: float | None) -> None:
    """The rate is positive and finite, if there is one."""
    if learning_rate is not None and not (math.isfinite(learning_rate) and learning_rate > 0):
        raise UserError(f"The learning rate of a distilled set is positive and finite, not {learning_rate}.")


def check_images(images: Tensor, labels: Tensor, images_per_class: int, classes: int) -> None:
    """Images are finite float32 [N, C, H, W] with as many labels, N = images_per_class · classes."""
    if images.dim() != 4 or images.dtype != torch.float32:
        raise UserError(f"Distilled images are float32 [N, C, H, W], not {images.dtype} {images.shape}.")
    if len(images) != len(labels) or len(images) != images_per_class * classes:
        raise UserError(
            f"A distilled set of {classes} classes with {images_per_class} images each needs "
            f"{images_per_class * classes} images and labels, not {len(images)} and {len(labels)}."
        )
    if not torch.isfinite(images).all():
        raise UserError("A distilled set has images with values that are not finite.")


def check_labels(labels: Tensor, images_per_class: int, classes: int) -> None:
    """Labels are int64 [N], each class `images_per_class` times, or float32 [N, classes], each row a distribution."""
    if labels.dim() == 2 and labels.dtype == torch.float32:
        _check_soft(labels, classes)
    elif labels.dim() == 1 and labels.dtype == torch.int64:
        _check_hard(labels, images_per_class, classes)
    else:
        raise UserError(f"Labels are int64 [N] or float32 [N, classes], not {labels.dtype} {labels.shape}.")


def check_preprocessing(space: Preprocessing, images: Tensor) -> None:
    """The preprocessing is for as many channels (standardisation) or values (ZCA) as the images have."""
    wanted = images.shape[1] if isinstance(space, Standardisation) else images[0].numel()
    found = len(space.mean) if isinstance(space, Standardisation) else space.mean.numel()
    if found != wanted:
        raise UserError(f"The preprocessing of a distilled set is for {found} values, its images have {wanted}.")


def _check_hard(labels: Tensor, images_per_class: int, classes: int) -> None:
    known = int(labels.min()) >= 0 and int(labels.max()) < classes
    if not known or not bool((torch.bincount(labels, minlength=classes) == images_per_class).all()):
        raise UserError(
            f"A distilled set needs {images_per_class} images of each of its {classes} classes; "
            f"its labels are not that."
        )


def _check_soft(labels: Tensor, classes: int) -> None:
    if labels.shape[1] != classes:
        raise UserError(f"A distilled set of {classes} classes has soft labels of {labels.shape[1]}.")
    # A NaN fails both comparisons, an infinity the second.
    sound = (labels >= 0).all(1) & ((labels.double().sum(1) - 1).abs() <= _SUM_TOLERANCE)
    if not sound.all():
        row = int(sound.int().argmin())
        raise UserError(f"Soft labels are finite, at least 0 and 1 in sum for each image; row {row} is not.")
