"""Samplers by name: what is tried next, within each source of the space as if it had a study of its own.

`auto` is Optuna's TPE, for more than 300 trials of a source on a bounded history: see
`search.study.sampling.bounded`. After 2,000 trials with two objectives that is level with the whole history, at a
twelfth of its cost; after 300 it is behind by 1.4 % of the hypervolume, where the whole history costs little
(benchmarks/results/sampler_quality.md). NSGA-II is cheaper still, and finds less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.samplers import BaseSampler

from dp_core.errors import UserError, nearest
from dp_core.seeds import derive_seed
from search.config.objectives import Objective
from search.space import ChoiceParameter, Space
from search.space.place import Place
from search.study.sampling import evolution, genetic, limits, stock
from search.study.sampling.bounded import BoundedTPESampler
from search.study.sampling.grid import GridSampler
from search.study.sampling.imported import import_sampler
from search.study.sampling.kinds import Kind, Plan
from search.study.sampling.quasi_random import QuasiRandomSampler
from search.study.sampling.strata import SOURCE, SourceStudy, WithinSourceSampler, source_of

__all__ = ["SAMPLERS", "build_sampler", "check_sampler", "source_of", "sources_of"]


WHOLE_HISTORY = 300
"""Trials of a source up to which `auto` learns from all of them: four seconds of suggestions at most."""


def _auto(plan: Plan, history: SourceStudy) -> BaseSampler:
    if plan.trials <= WHOLE_HISTORY:
        return stock.tpe(plan, history)
    return BoundedTPESampler(history, plan.optuna_seed, plan.startup_trials)


# A new sampler is a function (or a class) and a line: how it is made and, if there is something, what it cannot do.
SAMPLERS: Mapping[str, Kind] = {
    "auto": Kind(_auto),
    "tpe": Kind(stock.tpe),
    "gp": Kind(stock.gp, limits.needs_no_conditions),
    "nsga2": Kind(genetic.nsga2),
    "cmaes": Kind(evolution.cma_es, limits.needs_numbers),
    "random": Kind(stock.random),
    "qmc": Kind(QuasiRandomSampler),
    "grid": Kind(GridSampler, limits.needs_finiteness),
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
    for source in sources_of(space) or (None,):
        plan = _plan(space, source, objectives, trials)
        problem = SAMPLERS[name].check(plan)
        if problem is None:
            continue
        able = ", ".join(f"'{other}'" for other, kind in SAMPLERS.items() if kind.check(plan) is None)
        if problem.parameter is None:
            raise UserError(f"search.sampler: '{name}' {problem.sentence}; {able} can do without.")
        raise Place("space", problem.parameter.name).mistake(
            f"{problem.sentence}, which the sampler '{name}' (search.sampler) cannot search; {able} can."
        )


def build_sampler(
    name: str,
    *,
    space: Space,
    objectives: Sequence[Objective],
    trials: int,
    known_trials: int,
    seed: int,
    startup_trials: int,
) -> BaseSampler:
    """Return a sampler, for a study in memory, that has a sampler of its own for each source.

    Args:
        name: what `check_sampler` has found to be right.
        space: the space of the run.
        objectives: what is optimised.
        trials: how many there are to be, of all sources.
        known_trials: how many the study has already; a resumed run does not propose its first points again.
        seed: the run's.
        startup_trials: trials of each source at random before a model takes over.
    """

    def of_source(source: str | None, history: SourceStudy) -> BaseSampler:
        plan = _plan(space, source, objectives, trials, known_trials, seed, startup_trials)
        if name in SAMPLERS:
            return SAMPLERS[name].build(plan, history)
        return import_sampler(name, plan.optuna_seed)

    return WithinSourceSampler(of_source)


def sources_of(space: Space) -> tuple[str, ...]:
    """Return the sources that take turns; none where the space has no choice of them."""
    for parameter in space.parameters:
        if parameter.name == SOURCE and isinstance(parameter, ChoiceParameter):
            return tuple(str(value) for value in parameter.values)
    return ()


def _plan(
    space: Space,
    source: str | None,
    objectives: Sequence[Objective],
    trials: int,
    known_trials: int = 0,
    seed: int = 0,
    startup_trials: int = 1,
) -> Plan:
    return Plan(
        space=space if source is None else space.fixed(SOURCE, source),
        objectives=len(objectives),
        trials=-(-trials // max(1, len(sources_of(space)))),
        known_trials=known_trials,
        seed=derive_seed(seed, "source", str(source)),
        startup_trials=startup_trials,
    )
