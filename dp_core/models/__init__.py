"""Architectures, their registry, building one from a ModelSpec, and checking that it takes its images."""

from dp_core.models.checking import check_forward
from dp_core.models.initialisation import INITIALISATIONS
from dp_core.models.spec import ARCHITECTURES, ModelSpec, build

__all__ = ["ARCHITECTURES", "INITIALISATIONS", "ModelSpec", "build", "check_forward"]
