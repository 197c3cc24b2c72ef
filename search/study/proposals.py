"""What is proposed next: a start point, what the sampler draws, or a candidate that is left; none of them twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from dp_core.errors import UserError
from dp_core.seeds import derive_seed
from search.study.constraints import Limits
from search.study.memory import MemoryStudies, MemoryTrial
from search.study.sampling import SOURCE, patience_with
from search.study.sampling.kinds import PATIENCE
from search.study.untried import Params, Untried
from trainables import Candidate
from trainables.trials.identity import identity_of

SMALL = 1000
"""Points up to which a space, or a source's part of it, is counted in any case."""


@dataclass(frozen=True)
class Draw:
    """A candidate that was drawn, before it has a number.

    Attributes:
        trial: in the study of its source.
        source: None where the space has no choice of it.
        candidate: that it is.
        point: which the candidate completes, if it is one that was to be tried first.
        identity: what equal candidates share.
        repeats: number of the trial that had the candidate before, if one has.
        broken: what it breaks before it is trained, if anything.
    """

    trial: MemoryTrial
    source: str | None
    candidate: Candidate
    point: Params | None
    identity: str
    repeats: int | None
    broken: str | None

    @property
    def params(self) -> dict[str, Any]:
        """All parameters, the source too, as Optuna stores them."""
        drawn = self.trial.drawn().params
        return drawn if self.source is None else {SOURCE: self.source, **drawn}


class Proposals:
    """Draws candidates and knows which of them were proposed before.

    The sources of a space take turns, each as long as it has candidates left. What a sampler proposes a second time is
    told to it as pruned at once, which makes it look elsewhere: told a second time with its value, a good candidate
    would weigh twice, and be proposed ever more often. A sampler that goes on repeating itself, as one that only
    exploits does in a small space, is given a candidate that is left; a grid is nothing but that, from the start.

    Args:
        memory: the studies that are sampled.
        classes: of the images.
        ladder_ipc: images a class of the rungs below, which tell candidates apart, too.
        limits: the constraints.
        points: candidates to try first, as flat parameters.
        trials: how many the run is to have.
        seed: of the run.
        sampler: what the config calls it.
    """

    def __init__(
        self,
        memory: MemoryStudies,
        *,
        classes: int,
        ladder_ipc: Sequence[int],
        limits: Limits,
        points: Sequence[Params],
        trials: int,
        seed: int,
        sampler: str,
    ) -> None:
        self._memory, self._limits = memory, limits
        self._classes, self._ladder_ipc = classes, ladder_ipc
        self._points = [dict(point) for point in points]
        self._most, self._seed = max(SMALL, 2 * trials), seed
        self._name, self._patience = sampler, patience_with(sampler)
        self._sources = tuple(memory.spaces)
        self._known: dict[str, int] = {}
        self._untried: dict[str | None, Untried] = {}
        self._in_a_row = 0

    def learn(self, candidate: Candidate, number: int) -> None:
        """Take note of a trial that an earlier driver proposed, one after the other."""
        identity = self._identify(candidate)
        self._in_a_row = self._in_a_row + 1 if identity in self._known else 0
        self._note(identity, number)

    def _identify(self, candidate: Candidate) -> str:
        return identity_of(candidate, self._classes, self._ladder_ipc)

    def _identify_written(self, written: Mapping[str, Any]) -> str:
        return self._identify(Candidate.parse(written, self._classes))

    def _note(self, identity: str, number: int) -> None:
        self._known.setdefault(identity, number)
        for untried in self._untried.values():
            untried.forget(identity)

    def _untried_of(self, source: str | None) -> Untried:
        if source not in self._untried:
            space = self._memory.spaces[source]
            # Another seed whenever the study has grown, so that a resumed run does not draw what it has drawn before.
            seed = derive_seed(self._seed, "untried", str(source), len(self._known))
            self._untried[source] = Untried(space, self._identify_written, self._known, most=self._most, seed=seed)
        return self._untried[source]

    @property
    def total(self) -> int | float:
        """Number of different candidates of the space; infinity if there are too many to be counted."""
        return sum(self._untried_of(source).total for source in self._sources)

    @property
    def left(self) -> int | float:
        """How many of them have not been proposed; infinity as long as they are not used up."""
        return sum(self._left_of(source) for source in self._sources)

    def _left_of(self, source: str | None) -> int | float:
        untried = self._untried_of(source)
        # Whether a large space is used up is asked only when its sampler seems to find nothing else.
        return 0 if self._in_a_row >= self._patience and untried.one() is None else untried.left

    def draw(self, turn: int) -> Draw:
        """Return the next candidate; something must be `left`.

        Args:
            turn: how many candidates were proposed before, which decides whose turn of the sources it is.

        Raises:
            UserError: the sampler has failed, or what it has drawn is no candidate.
        """
        sources = [source for source in self._sources if self._left_of(source)]
        source = self._sources[turn % len(self._sources)]
        if source not in sources:
            source = sources[turn % len(sources)]
        if self._points:
            point = self._points[0]
            fixed = {name: value for name, value in point.items() if name != SOURCE}
            return self._drawn(point.get(SOURCE, source), fixed, point)
        left = self._untried_of(source).one() if self._in_a_row >= self._patience else None
        return self._drawn(source, left or {}, None)

    def _drawn(self, source: Any, fixed: Params, point: Params | None) -> Draw:
        with self._blaming_sampler():
            trial, written = self._memory.ask(source, fixed)
        candidate = Candidate.parse(written, self._classes)
        identity = self._identify(candidate)
        excess = self._limits.before(candidate)
        broken = self._limits.sentence(candidate) or None
        trial.constrain(excess if broken else {})
        repeats = self._known.get(identity)
        self._in_a_row = 0 if repeats is None else self._in_a_row + 1
        # A point of which nothing was left to the sampler would only be drawn again.
        drawn = trial.drawn().params.keys()
        if point is not None and (repeats is None or self._in_a_row >= PATIENCE or drawn <= fixed.keys()):
            del self._points[0]
            self._in_a_row = 0
        return Draw(trial, source, candidate, point, identity, repeats, broken)

    def recorded(self, draw: Draw, number: int) -> None:
        """Take note that a drawn candidate has become the trial of this number; one not to be trained ends here."""
        self._note(draw.identity, number)
        if draw.repeats is not None or draw.broken is not None:
            draw.trial.tell(TrialState.PRUNED, None)

    @contextmanager
    def _blaming_sampler(self) -> Iterator[None]:
        """Make whatever a sampler raises, which may be of the user's own making, a sentence."""
        try:
            yield
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())[:500].rstrip(".")
            raise UserError(f"The sampler '{self._name}' (search.sampler) has failed with {what}.") from error
