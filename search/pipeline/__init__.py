"""A search: prepare, distil, screen, write tickets, promote, retrain, rank."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
