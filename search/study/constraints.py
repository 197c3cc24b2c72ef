"""What a candidate must keep to: what is known of it before it is trained, and what is measured of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import optuna

from dp_core.cost import DenseCost, dense_cost
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from dp_core.seeds import derive_seed
from search.config.models import ConstraintsSection
from search.space import Space
from trainables import Candidate
from trainables.screening.round import Round

PARAMETERS, FLOPS, SPARSITY, LATENCY = "max_parameters", "max_flops", "min_sparsity", "max_latency_ms"

ARCHITECTURES = 4096
"""How many architectures are remembered."""

CORNERS = 256
"""Combinations of range ends and choices that are looked at where no draw keeps the constraints."""

MEASURED = 10
"""Architectures whose latency is measured, at most, to see that there is one that is fast enough."""


@dataclass(frozen=True)
class Standing:
    """What a candidate comes to under a constraint, and its relative excess over the limit: ≤ 0 keeps it."""

    value: float
    excess: float


class Limits:
    """The constraints of a search.

    They go by the keys of `search.constraints`. What is said of a candidate is its relative excess over each limit,
    (value - limit) / limit, as Optuna takes it: a constraint is kept up to 0 and broken above. Under `min_sparsity` the
    value is the number of weights kept and the limit the number kept at the least sparsity, so that rounding to whole
    weights breaks nothing.

    A network that cannot be built or run says nothing here; its trial will fail and say why.

    Args:
        settings: the limits; None is no limit.
        input_shape: channels, height, width of one image.
        classes: number of outputs.
        latency: measures the milliseconds of an architecture's forward pass, once for each.
    """

    def __init__(
        self,
        settings: ConstraintsSection,
        input_shape: tuple[int, int, int],
        classes: int,
        latency: Callable[[ModelSpec], float] | None = None,
    ) -> None:
        self.classes = classes
        self.limits: Mapping[str, float] = {
            name: limit for name, limit in settings.model_dump().items() if limit is not None
        }
        self._input_shape = input_shape
        self._measure = latency
        # By the text of a spec, which itself cannot be a key.
        self._cost_of = lru_cache(maxsize=ARCHITECTURES)(self._count)
        self._latency_of = lru_cache(maxsize=ARCHITECTURES)(self._time)

    def before(self, candidate: Candidate) -> dict[str, float]:
        """Return what can be known before training, by name of the constraint.

        FLOPs are the fewest that can remain. Latency is measured only if all else is kept.
        """
        return {name: standing.excess for name, standing in self._foreseen(candidate).items()}

    def after(self, candidate: Candidate, last: Round) -> dict[str, float]:
        """Return what the last round says of the candidate, by name of the constraint.

        Latency is that of this device, or the round's if nothing measures it.
        """
        if not self.limits:
            return {}
        cost = self.cost(candidate.model)
        values: dict[str, float | None] = {PARAMETERS: last.parameters_left, FLOPS: last.flops_remaining}
        if cost is not None:
            values[SPARSITY] = last.sparsity
        if LATENCY in self.limits:
            values[LATENCY] = last.latency_ms if self._measure is None else self.latency_ms(candidate.model)
        return {
            name: self._standing(name, values[name], cost).excess
            for name in self.limits
            if values.get(name) is not None
        }

    def sentence(self, candidate: Candidate) -> str:
        """Return the constraints that the candidate breaks before training, in words; empty if it breaks none."""
        return "; ".join(
            f"{_WORDS[name].format(standing.value)} {self.named(name)}"
            for name, standing in self._foreseen(candidate).items()
            if standing.excess > 0
        )

    def named(self, name: str) -> str:
        """Return the key of a constraint with its limit."""
        return f"search.constraints.{name} {self.limits[name]:,}"

    def standings(self, candidate: Candidate) -> dict[str, Standing]:
        """Return where the candidate stands with all constraints but latency, before training."""
        cost = self.cost(candidate.model)
        if cost is None:
            return {}
        values = {
            PARAMETERS: cost.parameters_left(candidate.sparsity),
            FLOPS: cost.least_flops(candidate.sparsity),
            SPARSITY: candidate.sparsity,
        }
        return {name: self._standing(name, values[name], cost) for name in self.limits if name != LATENCY}

    def cost(self, spec: ModelSpec) -> DenseCost | None:
        """Return the sizes of an architecture, None if it cannot be built or run."""
        return self._cost_of(_text(spec))

    def latency_ms(self, spec: ModelSpec) -> float | None:
        """Return the milliseconds of an architecture's forward pass, None if it cannot be run or nothing measures."""
        return None if self._measure is None or self.cost(spec) is None else self._latency_of(_text(spec))

    def _foreseen(self, candidate: Candidate) -> dict[str, Standing]:
        if not self.limits:
            return {}
        standings = self.standings(candidate)
        if LATENCY in self.limits and all(standing.excess <= 0 for standing in standings.values()):
            latency = self.latency_ms(candidate.model)
            if latency is not None:
                standings[LATENCY] = self._standing(LATENCY, latency, None)
        return standings

    def _standing(self, name: str, value: Any, cost: DenseCost | None) -> Standing:
        limit = self.limits[name]
        if name == SPARSITY:
            assert cost is not None
            most = cost.weights_kept(limit)
            return Standing(float(value), (cost.weights_kept(value) - most) / max(1, most))
        return Standing(value, (value - limit) / limit)

    def _count(self, text: str) -> DenseCost | None:
        try:
            return dense_cost(ModelSpec.from_dict(json.loads(text)), self._input_shape, self.classes)
        except Exception:  # a user's network may raise anything
            return None

    def _time(self, text: str) -> float:
        assert self._measure is not None
        return self._measure(ModelSpec.from_dict(json.loads(text)))


# Of a candidate that breaks a constraint, and of the one that comes nearest to keeping it.
_WORDS: Mapping[str, str] = {
    PARAMETERS: "{:,} parameters left, more than",
    FLOPS: "at least {:,} FLOPs remaining, more than",
    SPARSITY: "a sparsity of {:.6g}, less than",
    LATENCY: "{:.3g} ms for one image, more than",
}
_NEAREST: Mapping[str, str] = {
    PARAMETERS: "the smallest{} has {:,}",
    FLOPS: "the cheapest{} has at least {:,}",
    SPARSITY: "the sparsest{} has {:.6g}",
    LATENCY: "the fastest{} takes {:.3g}",
}


def check_feasible(space: Space, limits: Limits, classes: int, seed: int, draws: int = 100) -> None:
    """See that the space has candidates which keep the constraints, by drawing some at random.

    Latency, which takes long to measure, is asked of the architectures with the fewest FLOPs only.

    Args:
        space: what candidates are drawn from.
        limits: the constraints.
        classes: number of outputs.
        seed: of the draws.
        draws: how many.

    Raises:
        UserError: none of them does; the sentence names the constraint that all break, or the fewest that none keeps
            together, and what the nearest comes to.
    """
    if not limits.limits:
        return
    drawn = [Candidate.parse(proposal, classes) for proposal in _proposals(space, seed, draws)]
    standings = [limits.standings(candidate) for candidate in drawn]
    kept = [candidate for candidate, found in zip(drawn, standings, strict=True) if not _broken(found)]
    if not kept:  # but a limit may be kept at the very ends of ranges, which are hardly ever drawn
        corners = [Candidate.parse(corner, classes) for corner in space.corners(limit=CORNERS)]
        kept = [candidate for candidate in corners if not _broken(limits.standings(candidate))]
    if not kept:
        raise UserError(f"no candidate of {draws} drawn keeps {_unkept(limits, standings)}.")
    if LATENCY in limits.limits:
        _check_latency(limits, kept, draws)


def _proposals(space: Space, seed: int, draws: int) -> list[dict[str, Any]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=derive_seed(seed, "feasible") % 2**32)
    study = optuna.create_study(sampler=sampler)
    return [space.suggest(study.ask()) for _ in range(draws)]


def _broken(standings: Mapping[str, Standing]) -> set[str]:
    return {name for name, standing in standings.items() if standing.excess > 0}


def _unkept(limits: Limits, drawn: Sequence[Mapping[str, Standing]]) -> str:
    """Return, in words, what every draw breaks: single constraints, or else the fewest that none keeps together."""
    broken = [_broken(standings) for standings in drawn]
    alone = sorted(set.intersection(*broken))
    if alone:
        nearest = [_NEAREST[name].format("", _nearest(name, drawn)) for name in alone]
        return "; and none keeps ".join(
            f"{limits.named(name)}: {words}" for name, words in zip(alone, nearest, strict=True)
        )
    names = sorted(set.union(*broken))
    sets = itertools.chain.from_iterable(itertools.combinations(names, size) for size in range(2, len(names) + 1))
    first, *others = next(chosen for chosen in sets if all(found.intersection(chosen) for found in broken))
    rest = [standings for standings, found in zip(drawn, broken, strict=True) if not found.intersection(others)]
    together = " and ".join(limits.named(name) for name in (first, *others))
    keepers = " of those that keep the other" + ("s" if len(others) > 1 else "")
    return f"{together} together: {_NEAREST[first].format(keepers, _nearest(first, rest))}"


def _nearest(name: str, drawn: Sequence[Mapping[str, Standing]]) -> float:
    return min((standings[name] for standings in drawn), key=lambda standing: standing.excess).value


def _check_latency(limits: Limits, kept: Sequence[Candidate], draws: int) -> None:
    """Raise UserError if the architectures of `kept` with the fewest FLOPs are all too slow."""
    sizes = {_text(candidate.model): limits.cost(candidate.model) for candidate in kept}
    if None in sizes.values():
        return  # it cannot be run, and whatever says so will say it better
    flops = {text: cost.flops for text, cost in sizes.items() if cost is not None}
    latencies: list[float] = []
    for text in sorted(flops, key=lambda text: flops[text])[:MEASURED]:
        latency = limits.latency_ms(ModelSpec.from_dict(json.loads(text)))
        if latency is None or latency <= limits.limits[LATENCY]:
            return
        latencies.append(latency)
    others = [name for name in limits.limits if name != LATENCY] if len(kept) < draws else []
    keys = " and ".join(limits.named(name) for name in (LATENCY, *others))
    of = f" of the {MEASURED} architectures with the fewest FLOPs" if len(flops) > MEASURED else ""
    nearest = _NEAREST[LATENCY].format(of, min(latencies))
    raise UserError(f"no candidate of {draws} drawn keeps {keys}{' together' if others else ''}: {nearest} ms.")


def _text(spec: ModelSpec) -> str:
    return json.dumps(spec.to_dict(), sort_keys=True)
