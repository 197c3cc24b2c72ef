"""Pruning criteria: which weights go next. The recipe for a new one: a file here and a line in `registry.py`."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
