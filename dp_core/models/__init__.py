"""Architectures, their registry, and building one from a ModelSpec."""

from dp_core.models.spec import ARCHITECTURES, ModelSpec, build

__all__ = ["ARCHITECTURES", "ModelSpec", "build"]
