"""How long a search will take, said before it starts: a little of its work is done, and multiplied.

It is meant to tell minutes from hours. What is not known before is in the range: whether trials are stopped early, how
much trials that run side by side slow one another down, and how many candidates there are like those that were timed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
import torch
from optuna.samplers import RandomSampler

from dp_core.data import Splits
from dp_core.distillation import DistilledLibrary, Distiller
from dp_core.distillation.base import standardisation_of
from dp_core.pruning import sparsity_schedule
from search.output.numbers import plural
from search.output.wording import about
from search.pipeline.preparation import Preparation
from search.runs.timing import distilling_seconds, speed_of, trial_threads
from trainables import Candidate

SECONDS = 1.5
"""How long candidates are timed; the distiller gets a third of it."""

_MOST_CANDIDATES = 12
_EACH_STEP = 0.05  # seconds of a round or an epoch for its checkpoint, its report and its line in the study
_WORTH_TELLING = 0.2  # seconds
_STARTING = (6.0, 30.0)  # seconds: Ray, and importing torch in its workers, for screening and for retraining
_SIDE_BY_SIDE = 1.5  # how much slower a trial may be than one alone, at most


@dataclass(frozen=True)
class Phase:
    """A phase of a run, the seconds that it will take, at least and at most, and what that rests on."""

    name: str
    low: float
    high: float
    rests_on: str


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `unknown` names the phases of which nothing can be said."""

    phases: tuple[Phase, ...]
    unknown: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """Seconds of all phases, at least."""
        return sum(phase.low for phase in self.phases)

    @property
    def high(self) -> float:
        """Seconds of all phases, at most."""
        return sum(phase.high for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: `[least, most]` seconds of each phase and of all, None where a phase is unknown."""
        spans = {phase.name: [round(phase.low, 1), round(phase.high, 1)] for phase in self.phases}
        total = None if self.unknown else [round(self.low, 1), round(self.high, 1)]
        return {**spans, "total": total, "unknown": list(self.unknown)}

    def lines(self) -> Iterator[str]:
        """Yield what is said of it."""
        if not self.phases:
            yield from (f"how long {name} takes is not known before: the time left is told" for name in self.unknown)
            return
        missing = f", and {' and '.join(self.unknown)}, of which nothing is known before" if self.unknown else ""
        yield f"{about(self.low, self.high)} in all{missing}"
        for phase in self.phases:
            yield f"{phase.name} {about(phase.low, phase.high)}: {phase.rests_on}"


@dataclass(frozen=True)
class _Timed:
    """Seconds of screening a candidate to its end, of its rounds until it might first be stopped, and of retraining."""

    whole: float
    stopped: float
    retraining: float


def estimate_search(prepared: Preparation, wanted: Mapping[str, tuple[Distiller, int]]) -> Estimate:
    """Return how long a search will take, having timed some candidates of its space, and the `wanted` sets' distiller.

    It takes about two seconds, more only where a single step is as long.
    """
    config = prepared.config
    with trial_threads(config.search.cpus_per_trial) as device:
        timed = list(_timed(prepared, device))
    train, seed = prepared.splits.train, config.run.seed
    library = DistilledLibrary(config.distill.directory)
    missing = [(maker, ipc) for maker, ipc in wanted.values() if not library.holds(maker, train, ipc, seed)]
    distilling, unknown = distilling_phases(missing, prepared.splits, seed, SECONDS / 3)
    if not timed:
        return Estimate(distilling, (*unknown, "screening", "retraining"))
    search, retrain = config.search, config.retrain
    trials = int(min(search.trials, prepared.space.size()))
    at_once = search.concurrency
    crowd = _SIDE_BY_SIDE if at_once > 1 else 1.2
    rests_on = f"{plural(len(timed), 'candidate')} timed here"
    whole, stopped = fmean(one.whole for one in timed), fmean(one.stopped for one in timed)
    early = config.search.early_stopping.method != "none"
    screening = Phase(
        "screening",
        0.9 * trials * (stopped if early else whole) / at_once,
        crowd * trials * ((stopped + whole) / 2 if early else whole) / at_once,
        f"{plural(trials, 'trial')}, {at_once} at a time; {rests_on}",
    )
    tickets = config.promote.top + config.promote.audit
    jobs = min(tickets, trials) * retrain.seeds
    one = fmean(one.retraining for one in timed)
    audit = min(config.promote.audit, trials) * (whole - stopped) / at_once
    retraining = Phase(
        "retraining",
        0.7 * one * jobs / at_once,
        crowd * one * math.ceil(jobs / at_once) + audit,
        f"{plural(jobs, 'model')}, {plural(retrain.epochs, 'epoch')} of {len(prepared.splits.train):,} images each",
    )
    starting = Phase("starting", *_STARTING, "what Ray and its workers usually take")
    return Estimate((*distilling, starting, screening, retraining), unknown)


def distilling_phases(
    makers: Sequence[tuple[Distiller, int]], splits: Splits, seed: int, within: float
) -> tuple[tuple[Phase, ...], tuple[str, ...]]:
    """Return the phase in which sets are made, by timing some iterations of each, or that nothing is known of it."""
    found = [distilling_seconds(maker, splits, ipc, seed, within / len(makers)) for maker, ipc in makers]
    seconds = [each for each in found if each is not None]
    if len(seconds) < len(makers):
        return (), ("distilling",)
    if sum(seconds) < _WORTH_TELLING:
        return (), ()
    judged = any(getattr(maker, "validate_every", 0) for maker, _ in makers)
    looks = ", looking at validation images not counted" if judged else ""
    rests_on = f"{plural(len(makers), 'set')}, some iterations of each timed here{looks}"
    return (Phase("distilling", 0.8 * sum(seconds), (2.0 if judged else 1.4) * sum(seconds), rests_on),), ()


def _timed(prepared: Preparation, device: torch.device) -> Iterator[_Timed]:
    """Yield what candidates take, the sources in turn, until the time for it is over."""
    started = time.perf_counter()
    for value in _drawn(prepared):
        # What cannot be trained here fails in its trial, which says why.
        with suppress(Exception):
            yield _time(value, prepared, device)
        if time.perf_counter() - started > SECONDS:
            return


def _drawn(prepared: Preparation) -> Iterator[dict[str, Any]]:
    """Yield random candidates of the space, each next one of the next source where it can be had."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=RandomSampler(seed=prepared.config.run.seed))
    sources = prepared.sources
    for number in range(_MOST_CANDIDATES):
        for _ in range(10 * len(sources)):
            value = prepared.space.suggest(study.ask())
            if value.get("source", sources[0]) == sources[number % len(sources)]:
                break
        yield value


def _time(value: Mapping[str, Any], prepared: Preparation, device: torch.device) -> _Timed:
    config, train = prepared.config, prepared.splits.train
    space, scored = standardisation_of(train), len(prepared.splits.validation)
    looked = min(config.screen.validation_images or scored, scored)
    rungs = Candidate.parse_ladder(value, train.classes, config.search.ladder.ipc)
    own = rungs[-1]
    rounds = len(sparsity_schedule(own.sparsity, config.screen.prune_fraction))
    speed = speed_of(own.model, own.recipe, train, space, _images(own, train.classes, len(train)), device)
    steps = [rung.recipe.total_steps(_images(rung, train.classes, len(train))) for rung in rungs]
    evaluated = speed.judged(looked)
    of_rungs = [config.screen.replicates * (count * speed.step + evaluated) + _EACH_STEP for count in steps]
    recipe = prepared.retraining
    real = speed_of(own.model, recipe, train, space, len(train), device)
    epoch = recipe.steps_of_epochs(1, len(train)) * real.step + real.judged(scored) + _EACH_STEP
    test = real.judged(len(prepared.splits.test))
    ladder = config.search.ladder.real_epochs * epoch
    stopping = config.search.early_stopping
    survivors = _share_of_rounds(rounds, stopping.first_round, stopping.reduction_factor)
    below = rounds * sum(of_rungs[:-1])
    whole = below + rounds * of_rungs[-1] + ladder
    share = 1 / stopping.reduction_factor if below or ladder else 1.0
    stopped = survivors * (below + share * (rounds * of_rungs[-1] + ladder))
    return _Timed(whole, stopped, config.retrain.epochs * epoch + test)


def _share_of_rounds(rounds: int, first: int, factor: int) -> float:
    """Return which share of its rounds a trial goes through on average if one in `factor` goes on from each rung."""
    total, going, at = 0.0, 1.0, 0
    rung = first
    while rung < rounds:
        total += going * (rung - at)
        going, at, rung = going / factor, rung, rung * factor
    return (total + going * (rounds - at)) / rounds


def _images(candidate: Candidate, classes: int, real: int) -> int:
    return real if candidate.images_per_class is None else candidate.images_per_class * classes
