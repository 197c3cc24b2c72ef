"""An architecture that a proxy evaluation ranks."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.models import ModelSpec

# Backward costs twice what forward does: a convolution's gradients are two more of its size.
_FORWARD_AND_BACKWARD = 3

UNITS = ("seconds", "processor_seconds", "image_gradients", "flops")
"""What costs are counted in."""


@dataclass(frozen=True)
class Architecture:
    """An architecture to be ranked.

    Args:
        label: what tables call it; no two of a space have the same.
        spec: builds it.
        parameters: their number.
        flops: of the forward pass of one image, as `dp_core.analysis.Cost` counts them.
    """

    label: str
    spec: ModelSpec
    parameters: int
    flops: int


def flops_of(architecture: Architecture, image_gradients: float, forward_images: float = 0) -> float:
    """Return the FLOPs of so many images forward and backward, and so many forward only."""
    # A whole number of more than 2**53, as of long trainings, would not fit a column of floats.
    return float(architecture.flops) * (_FORWARD_AND_BACKWARD * image_gradients + forward_images)
