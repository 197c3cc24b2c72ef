"""Judging cheap scores of architectures by real training: the `winnow proxy-eval` command."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
