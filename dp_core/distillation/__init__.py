"""Distilled sets and the ways to make them."""

from collections.abc import Mapping

from dp_core.distillation.base import Distiller, Progress, Workspace
from dp_core.distillation.datm import DATM
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.distribution_matching import DistributionMatching
from dp_core.distillation.feature_regression import FeatureRegression
from dp_core.distillation.gradient_matching import GradientMatching
from dp_core.distillation.herding import Herding
from dp_core.distillation.k_center import KCenter
from dp_core.distillation.library import DistilledLibrary
from dp_core.distillation.random_images import RandomImages
from dp_core.distillation.rded import RDED
from dp_core.distillation.tesla import Tesla
from dp_core.distillation.trajectory_matching import TrajectoryMatching

# A new distiller is one file with one class and one line here; the class's fields are its settings.
DISTILLERS: Mapping[str, type[Distiller]] = {
    "datm": DATM,
    "distribution_matching": DistributionMatching,
    "feature_regression": FeatureRegression,
    "gradient_matching": GradientMatching,
    "herding": Herding,
    "k_center": KCenter,
    "random_images": RandomImages,
    "rded": RDED,
    "tesla": Tesla,
    "trajectory_matching": TrajectoryMatching,
}

__all__ = [
    "DATM",
    "DISTILLERS",
    "RDED",
    "DistilledLibrary",
    "DistilledSet",
    "Distiller",
    "DistributionMatching",
    "FeatureRegression",
    "GradientMatching",
    "Herding",
    "KCenter",
    "Progress",
    "RandomImages",
    "Tesla",
    "TrajectoryMatching",
    "Workspace",
]
