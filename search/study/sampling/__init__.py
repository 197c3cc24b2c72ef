"""Samplers by name: what is tried next in the study of a source.

`auto` is Optuna's TPE, for more than 300 trials of a source on a bounded history: see
`search.study.sampling.bounded`. After 2,000 trials with two objectives that is level with the whole history, at a
twelfth of its cost; after 300 it is behind by 1.4 % of the hypervolume, where the whole history costs little
(benchmarks/results/sampler_quality.md). NSGA-II is cheaper still, and finds less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.samplers import BaseSampler
from optuna.study import StudyDirection

from dp_core.errors import UserError, nearest
from dp_core.seeds import derive_seed
from search.config.objectives import Objective
from search.space import Space
from search.space.place import Place
from search.study.sampling import evolution, genetic, limits, stock
from search.study.sampling.bounded import BoundedTPESampler
from search.study.sampling.imported import import_sampler
from search.study.sampling.kinds import PATIENCE, Kind, Part
from search.study.sampling.quasi_random import QuasiRandomSampler
from search.study.sampling.sources import SOURCE, source_of, spaces_by_source

__all__ = ["SAMPLERS", "SOURCE", "Part", "build_sampler", "check_sampler", "parts_of", "patience_with", "source_of"]


WHOLE_HISTORY = 300
"""Trials of a source up to which `auto` learns from all of them: four seconds of suggestions at most."""


def _auto(part: Part) -> BaseSampler:
    if part.trials <= WHOLE_HISTORY:
        return stock.tpe(part)
    return BoundedTPESampler(part.directions, part.optuna_seed, part.startup_trials)


# A new sampler is a function (or a class) and a line: how it is made and, if there is something, what it cannot do.
SAMPLERS: Mapping[str, Kind] = {
    "auto": Kind(_auto),
    "tpe": Kind(stock.tpe),
    "gp": Kind(stock.gp, limits.needs_no_conditions),
    "nsga2": Kind(genetic.nsga2),
    "cmaes": Kind(evolution.cma_es, limits.needs_numbers),
    "random": Kind(stock.random),
    "qmc": Kind(QuasiRandomSampler),
    "grid": Kind(stock.random, limits.needs_finiteness, patience=0),
}


def check_sampler(name: str, space: Space, objectives: Sequence[Objective], trials: int) -> None:
    """Check that a sampler can search a space, before anything is run.

    Args:
        name: a name of `SAMPLERS`, `optunahub:PACKAGE:Class` or `package.module:function`.
        space: the space of the run, of which the sampler has one source at a time.
        objectives: what is optimised.
        trials: how many there are to be, of all sources.

    Raises:
        UserError: there is no such sampler, or it cannot do a part of the space, which the sentence names.
    """
    if name not in SAMPLERS:
        if ":" not in name:
            known = ", ".join(SAMPLERS)
            raise UserError(
                f"search.sampler: there is no sampler '{name}'.{nearest(name, SAMPLERS)} Known: {known}, or your "
                f"own as 'package.module:function' or 'optunahub:package:Class'."
            )
        import_sampler(name, 0)
        return
    for part in parts_of(space, objectives, trials).values():
        problem = SAMPLERS[name].check(part)
        if problem is None:
            continue
        able = ", ".join(f"'{other}'" for other, kind in SAMPLERS.items() if kind.check(part) is None)
        if problem.parameter is None:
            raise UserError(f"search.sampler: '{name}' {problem.sentence}; {able} can do without.")
        raise Place("space", problem.parameter.name).mistake(
            f"{problem.sentence}, which the sampler '{name}' (search.sampler) cannot search; {able} can."
        )


def parts_of(
    space: Space, objectives: Sequence[Objective], trials: int, *, seed: int = 0, startup_trials: int = 1
) -> dict[str | None, Part]:
    """Return the part of a search that each source has, without what is known of it; see `spaces_by_source`.

    Args:
        space: the space of the run.
        objectives: what is optimised.
        trials: how many there are to be, of all sources.
        seed: the run's.
        startup_trials: trials of each source at random before a model takes over.
    """
    spaces = spaces_by_source(space)
    directions = tuple(StudyDirection[objective.direction.upper()] for objective in objectives)
    return {
        source: Part(
            space=own,
            directions=directions,
            trials=-(-trials // len(spaces)),
            seed=derive_seed(seed, "source", str(source)),
            startup_trials=startup_trials,
        )
        for source, own in spaces.items()
    }


def build_sampler(name: str, part: Part) -> BaseSampler:
    """Return a sampler for the study of one source; `check_sampler` has found it to be right."""
    return SAMPLERS[name].build(part) if name in SAMPLERS else import_sampler(name, part.optuna_seed)


def patience_with(name: str) -> int:
    """Return how many candidates in a row a sampler may propose again; see `Kind`."""
    return SAMPLERS[name].patience if name in SAMPLERS else PATIENCE
