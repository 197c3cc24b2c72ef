"""The jobs of a comparison that compares ways of pruning: choose a learning rate, find tickets, train them.

Each job writes its result into the comparison's folder when it is done, and nothing if the result is there already.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
