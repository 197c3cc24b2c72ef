"""Training a sparse network in one run: masks that change while it trains."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
