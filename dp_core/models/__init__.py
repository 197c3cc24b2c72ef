"""Architectures and spaces of them: the registry, building one from a ModelSpec, checking that it takes its images."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
