"""Distilled sets and the ways to make them."""

from collections.abc import Mapping

from dp_core.distillation.base import Distiller, Progress
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.distribution_matching import DistributionMatching
from dp_core.distillation.library import DistilledLibrary
from dp_core.distillation.random_images import RandomImages

# A new distiller is one file with one class and one line here; the class's fields are its settings.
DISTILLERS: Mapping[str, type[Distiller]] = {
    "distribution_matching": DistributionMatching,
    "random_images": RandomImages,
}

__all__ = [
    "DISTILLERS",
    "DistilledLibrary",
    "DistilledSet",
    "Distiller",
    "DistributionMatching",
    "Progress",
    "RandomImages",
]
