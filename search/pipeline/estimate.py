"""How long a search will take: some candidates of its space are timed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
import torch
from optuna.samplers import RandomSampler

from dp_core.distillation import DistilledLibrary, Distiller
from dp_core.distillation.base import standardisation_of
from dp_core.pruning import sparsity_schedule
from search.output.numbers import plural
from search.pipeline.preparation import Preparation
from search.runs.estimate import SECONDS, Estimate, Phase, distilling_phases
from search.runs.timing import speed_of, trial_threads
from trainables import Candidate

_MOST_CANDIDATES = 12
_EACH_STEP = 0.05  # seconds of a round or an epoch for its checkpoint, its report and its line in the study
_STARTING = (6.0, 30.0)  # seconds: Ray, and importing torch in its workers, for screening and for retraining
_SIDE_BY_SIDE = 1.5  # how much slower a trial may be than one alone, at most


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
    with trial_threads(config.resources.cpus_per_job) as device:
        timed = list(_timed(prepared, device))
    train, seed = prepared.splits.train, config.run.seed
    library = DistilledLibrary(config.distill.directory)
    missing = [(maker, ipc) for maker, ipc in wanted.values() if not library.holds(maker, train, ipc, seed)]
    distilling, unknown = distilling_phases(missing, prepared.splits, seed, SECONDS / 3)
    if not timed:
        return Estimate(distilling, (*unknown, "screening", "retraining"))
    search, retrain = config.search, config.retrain
    trials = int(min(search.trials, prepared.space.size()))
    at_once = config.resources.concurrency
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
    jobs = min(tickets, trials) * retrain.seeds * len(retrain.methods())
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
    rungs = Candidate.parse(value, train.classes).rungs(config.search.ladder.ipc, train.classes)
    own = rungs[-1]
    rounds = len(sparsity_schedule(own.sparsity, config.screen.prune_fraction))
    speed = speed_of(own.model, own.recipe, train, space, own.images(train.classes) or len(train), device)
    steps = [rung.recipe.total_steps(rung.images(train.classes) or len(train)) for rung in rungs]
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
