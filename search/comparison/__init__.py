"""Comparing ways to find a mask on the same seeds and initial weights: the `winnow prune` command."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
