"""The HTML report of a run directory: one file that needs nothing else."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
