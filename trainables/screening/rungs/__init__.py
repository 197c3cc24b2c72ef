"""Rungs: looks at a candidate of rising fidelity, and the climb from one to the next.

The recipe for a new one: a file here with a Rung, a field of LadderPlan and its place in `rungs_of`.
"""

from trainables.screening.rungs.base import FoundTicket, Look, Rung, RungPlan
from trainables.screening.rungs.climb import Climb, rungs_of

__all__ = ["Climb", "FoundTicket", "Look", "Rung", "RungPlan", "rungs_of"]
