"""`winnow distill`: distilled sets as runs of their own, and their evaluation."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
