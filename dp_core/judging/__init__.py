"""What a trained network is worth on images that it has not seen: one judge for all that train."""

from dp_core.judging.calibration import CALIBRATION_IMAGES, calibration_images
from dp_core.judging.judge import divergence_of, judge
from dp_core.judging.statistics import gathers_statistics, reestimate_statistics

__all__ = [
    "CALIBRATION_IMAGES",
    "calibration_images",
    "divergence_of",
    "gathers_statistics",
    "judge",
    "reestimate_statistics",
]
