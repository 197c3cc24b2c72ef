"""Distilled sets and the ways to make them."""

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
from dp_core.distillation.registry import DISTILLERS
from dp_core.distillation.tesla import Tesla
from dp_core.distillation.trajectory_matching import TrajectoryMatching

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
