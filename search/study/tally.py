"""How many trials a study has in each state, and how many it is to have."""

from __future__ import annotations

import math
from collections import Counter

from optuna.trial import TrialState

from search.output.numbers import plural
from search.study.proposals import Proposals
from search.study.untried import DRAWS

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Tally:
    """Counts trials; what was rejected before training, or repeats another, is counted apart.

    Args:
        wanted: how many trials the run is to have.
        proposals: what is left of the space.
    """

    def __init__(self, wanted: int, proposals: Proposals) -> None:
        self._wanted, self._proposals = wanted, proposals
        self._states: Counter[str] = Counter()
        self.asked = 0
        """Candidates that were handed out to be screened."""

    def add(self, state: str) -> None:
        """Count a trial that is in this state, as `state_of` names it."""
        self._states[state] += 1
        self.asked += state not in ("REJECTED", "REPEATED")

    def end(self, state: TrialState) -> None:
        """Count the end of a running trial."""
        self._states[TrialState.RUNNING.name] -= 1
        self._states[state.name] += 1

    def states(self) -> dict[str, int]:
        """Return how many trials are in each state."""
        return {state: count for state, count in self._states.items() if count}

    @property
    def target(self) -> int:
        """Number of trials that the run is to have: at least those it has.

        A space with fewer candidates has as many trials as it has candidates that keep to the constraints.
        """
        return int(max(self.asked, min(self._wanted, self.asked + self._proposals.left)))

    @property
    def used_up(self) -> str | None:
        """That the space has fewer candidates than there were to be trials, in words; None as long as it has not."""
        if self.target >= self._wanted:
            return None
        total, left = self._proposals.total, self._proposals.left
        wanted = f"the {self._wanted} trials of 'search.trials'"
        if math.isinf(total):
            return f"no other candidate of the space was found in {DRAWS} draws, fewer than {wanted}"
        if not left:
            tried = (
                "the one candidate of the space has" if total == 1 else f"all {total:,} candidates of the space have"
            )
            return f"{tried} been tried, fewer than {wanted}"
        return f"the space has {plural(int(total), 'candidate')}, fewer than {wanted}: the search ends with the last"

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(self._states[state.name] for state in _ENDED)

    @property
    def unfinished(self) -> int:
        """Trials still to be run or to be run to their end."""
        return max(self.target - self.ended, self._states[TrialState.RUNNING.name])
