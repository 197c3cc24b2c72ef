"""What trials have had of a conditional space: which parameters together, and which values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.trial import FrozenTrial

from search.study.sampling.parzen import Box, Floats


class Branches:
    """The parameters that trials have together: a box for each set of them that no trial has had a part of only.

    Attributes:
        boxes: of the parameters that vary.
        places: of the box that a parameter is in.
    """

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.places: dict[str, int] = {}
        self._groups = _SearchSpaceGroup()
        self._seen: set[frozenset[str]] = set()

    def learn(self, trial: FrozenTrial) -> bool:
        """Return whether a trial is of a branch that none before was of, so that the boxes are others."""
        branch = frozenset(trial.distributions)
        if branch in self._seen:
            return False
        self._seen.add(branch)
        self._groups.add_distributions(trial.distributions)
        varying = [
            # Sorted, as Python's order of a set of names is another in every process.
            {name: space[name] for name in sorted(space) if not space[name].single()}
            for space in self._groups.search_spaces
        ]
        self.boxes = [Box(space) for space in sorted((space for space in varying if space), key=list)]
        self.places = {name: place for place, box in enumerate(self.boxes) for name in box.space}
        return True


class Points:
    """The internal values of trials, a row a trial and a column a parameter; NaN where a trial does not have it."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._rows = np.full((64, 16), np.nan)
        self._count = 0

    def append(self, trial: FrozenTrial) -> None:
        """Keep the values of one more trial, at the next place."""
        row = self.rows([trial])[0]
        if self._count == len(self._rows):
            self._rows = np.vstack([self._rows, np.full_like(self._rows, np.nan)])
        self._rows[self._count] = row
        self._count += 1

    def rows(self, trials: Sequence[FrozenTrial]) -> Floats:
        """Return the values of trials, [N, columns]."""
        for name in {name for trial in trials for name in trial.params} - self._columns.keys():
            self._columns[name] = len(self._columns)
        if len(self._columns) > self._rows.shape[1]:
            self._rows = np.hstack([self._rows, np.full_like(self._rows, np.nan)])
        found = np.full((len(trials), self._rows.shape[1]), np.nan)
        for row, trial in zip(found, trials, strict=True):
            for name, value in trial.params.items():
                row[self._columns[name]] = trial.distributions[name].to_internal_repr(value)
        return found

    def of(self, box: Box, places: Sequence[int], more: Floats | None = None) -> Floats:
        """Return the points of a box, [N, D], at these places and in further rows: of those that have all of it."""
        columns = [self._columns[name] for name in box.space]
        rows = self._rows[np.ix_(places, columns)]
        if more is not None:
            rows = np.vstack([rows, more[:, columns]])
        found: Floats = rows[~np.isnan(rows).any(axis=1)]
        return found
