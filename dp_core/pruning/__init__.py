"""Masks, criteria, schedules, the iterative pruning loop, and tickets."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
