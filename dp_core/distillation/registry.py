"""The distillers by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_core.registry import Registry

if TYPE_CHECKING:
    from dp_core.distillation.base import Distiller

# A new distiller is one file with one class and one line here; the class's fields are its settings.
DISTILLERS: Registry[type[Distiller]] = Registry(
    {
        "datm": "dp_core.distillation.datm:DATM",
        "distribution_matching": "dp_core.distillation.distribution_matching:DistributionMatching",
        "feature_regression": "dp_core.distillation.feature_regression:FeatureRegression",
        "herding": "dp_core.distillation.herding:Herding",
        "k_center": "dp_core.distillation.k_center:KCenter",
        "random_images": "dp_core.distillation.random_images:RandomImages",
        "rded": "dp_core.distillation.rded:RDED",
        "tesla": "dp_core.distillation.tesla:Tesla",
        "trajectory_matching": "dp_core.distillation.trajectory_matching:TrajectoryMatching",
    }
)
