"""Ray Tune Trainables: dp_core as resumable, stoppable trials.

The names are looked up when they are first used: a worker that only simulates trials is there in a third of the time,
and takes a fifth of the memory, that importing PyTorch would cost it.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
