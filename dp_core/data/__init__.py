"""Image data sets: reading, caching, splitting, and preparing them for a network."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
