"""Successive halving of one objective decides as Optuna's pruner, and keeps apart what is not to be compared."""

from __future__ import annotations

import math
import random
import time

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from search.config.models import EarlyStoppingSection
from search.study.stopping import EarlyStopping, Observation, build_stopping


def stopping(method: str = "successive_halving", first_round: int = 1, startup_trials: int = 1) -> EarlyStopping:
    settings = EarlyStoppingSection.model_validate({"method": method, "first_round": first_round})
    return build_stopping(settings, startup_trials, 1)


def observed(trial: int, gain: float, rung_round: int = 1, **others: object) -> Observation:
    settled = {"source": None, "fidelity": "real", "rung_done": False, **others}
    return Observation(trial=trial, rung_round=rung_round, gains=(gain,), **settled)  # type: ignore[arg-type]


# What a trial sees round by round; few different values, so that ties are common.
CURVES = st.lists(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan]), min_size=1, max_size=9), min_size=1, max_size=12
)


def compare(stopper: EarlyStopping, pruner: BasePruner, curves: list[list[float]], order: list[int]) -> int:
    """Report the curves to both, the trials in `order` one round each; return how many trials both of them stopped."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    trials = [study.ask() for _ in curves]
    running = dict(enumerate(curves))
    rounds = [0] * len(curves)
    stopped = 0
    for number in [*order, *(number for number in range(len(curves)) for _ in range(10))]:
        if number not in running:
            continue
        gain = running[number][rounds[number]]
        rounds[number] += 1
        trials[number].report(gain, rounds[number])
        verdict = trials[number].should_prune()
        assert stopper.hopeless(observed(number, gain, rounds[number])) == verdict
        if rounds[number] == len(running[number]):
            # A last round is a last round, whatever is thought of it.
            study.tell(trials[number], 0.0)
            stopper.finished(number)
            del running[number]
        elif verdict:
            study.tell(trials[number], state=TrialState.PRUNED)
            del running[number]
            stopped += 1
    return stopped


ORDERS = st.lists(st.integers(0, 11), max_size=60)


@given(CURVES, ORDERS, st.integers(1, 4), st.integers(2, 4))
def test_halving_decides_as_optuna_does(
    curves: list[list[float]], order: list[int], first_round: int, reduction_factor: int
) -> None:
    settings = EarlyStoppingSection(first_round=first_round, reduction_factor=reduction_factor)
    pruner = SuccessiveHalvingPruner(min_resource=first_round, reduction_factor=reduction_factor)
    compare(build_stopping(settings, 10, 1), pruner, curves, order)


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")  # Optuna's
@given(CURVES, ORDERS, st.integers(1, 4), st.integers(1, 5))
def test_the_median_decides_as_optuna_does(
    curves: list[list[float]], order: list[int], first_round: int, startup_trials: int
) -> None:
    pruner = MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=first_round)
    compare(stopping("median", first_round, startup_trials), pruner, curves, order)


@pytest.mark.parametrize(
    ("method", "pruner"),
    [
        ("successive_halving", SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)),
        ("median", MedianPruner(n_startup_trials=5, n_warmup_steps=1)),
    ],
)
def test_hundreds_of_trials_are_decided_as_optuna_does(method: str, pruner: BasePruner) -> None:
    source = random.Random(7)
    curves = [[source.random() for _ in range(source.randint(1, 9))] for _ in range(200)]
    order = [source.randrange(200) for _ in range(1000)]
    stopped = compare(stopping(method, 1, 5), pruner, curves, order)
    assert 20 < stopped < 190


def test_a_round_that_was_skipped_is_made_up_for() -> None:
    stopper = stopping()
    assert not stopper.hopeless(observed(0, 0.5, rung_round=4))  # compared at 1, 2 and 4
    assert stopper.hopeless(observed(1, 0.4, rung_round=1))
    assert not stopper.hopeless(observed(2, 0.6, rung_round=1))
    assert stopper.hopeless(observed(2, 0.4, rung_round=2))


def test_an_observation_that_is_known_changes_nothing() -> None:
    stopper = stopping()
    assert not stopper.hopeless(observed(0, 0.5))
    for _ in range(9):
        stopper.hopeless(observed(1, 0.4))
    # Three were seen, of which one goes on. Had the second counted nine times, five would.
    assert stopper.hopeless(observed(2, 0.45))


def test_sources_and_fidelities_are_not_compared() -> None:
    stopper = stopping()
    assert not stopper.hopeless(observed(0, 0.9, source="real", fidelity="real"))
    assert not stopper.hopeless(observed(1, 0.2, source="distilled", fidelity="distilled-10"))
    assert not stopper.hopeless(observed(2, 0.1, source="distilled", fidelity="distilled-1"))
    assert stopper.hopeless(observed(3, 0.15, source="distilled", fidelity="distilled-10"))
    assert not stopper.hopeless(observed(3, 0.15, source="distilled", fidelity="distilled-1"))
    # One name for what two sources score by, such as a score that does not train.
    assert not stopper.hopeless(observed(4, 0.1, source="subset", fidelity="nwot"))
    assert not stopper.hopeless(observed(5, 0.05, source="real", fidelity="nwot"))


@pytest.mark.parametrize("method", ["successive_halving", "median", "none"])
def test_at_the_end_of_a_rung_one_in_so_many_goes_on_whatever_the_method(method: str) -> None:
    stopper = stopping(method, first_round=100, startup_trials=100)
    gains = [0.5, 0.4, 0.6, 0.6, 0.45, 0.55]
    # Places among those seen: 1 of 1, 1 of 2, 1 of 3, 2 of 4 (0.6, 0.6), 2 of 5, 3 of 6 (0.6, 0.6, 0.55).
    verdicts = [stopper.hopeless(observed(trial, gain, 3, rung_done=True)) for trial, gain in enumerate(gains)]
    assert verdicts == [False, True, False, False, True, False]
    assert stopper.hopeless(observed(6, math.nan, 3, rung_done=True))
    assert not stopper.hopeless(observed(7, 0.0, 3))


def test_the_end_of_a_rung_counts_where_rounds_are_compared_too() -> None:
    stopper = stopping(first_round=2)
    assert not stopper.hopeless(observed(0, 0.5, 2, rung_done=True))
    assert stopper.hopeless(observed(1, 0.4, 2))
    # At the second round 0.45 is the second of three; among those that ended there it is the second of two.
    assert stopper.hopeless(observed(2, 0.45, 2, rung_done=True))
    assert not stopper.hopeless(observed(3, 0.6, 2, rung_done=True))


def test_a_round_known_twice_at_the_end_of_a_rung_counts_once() -> None:
    stopper = stopping("none")
    assert not stopper.hopeless(observed(0, 0.5, 3, rung_done=True))
    for _ in range(9):
        stopper.hopeless(observed(1, 0.4, 3, rung_done=True))
    assert stopper.hopeless(observed(2, 0.45, 3, rung_done=True))


def test_none_stops_nothing_within_a_rung() -> None:
    stopper = stopping("none")
    assert not any(stopper.hopeless(observed(trial, -trial, 9)) for trial in range(20))
    assert not stopper.hopeless(observed(20, math.nan, 9))


def test_the_median_compares_with_finished_trials_only() -> None:
    stopper = stopping("median", startup_trials=2)
    for trial, gain in enumerate([0.2, 0.8, 0.9, 0.95]):
        assert not stopper.hopeless(observed(trial, gain))
    stopper.finished(0)
    assert not stopper.hopeless(observed(4, 0.0))  # one finished, two are wanted
    stopper.finished(1)
    assert stopper.hopeless(observed(5, 0.49))  # the median of 0.2 and 0.8 is 0.5
    assert not stopper.hopeless(observed(6, 0.51))
    stopper.finished(2)
    stopper.finished(2)
    assert stopper.hopeless(observed(7, 0.79))
    assert not stopper.hopeless(observed(8, 0.8))
    assert not stopper.hopeless(observed(9, 0.0, source="subset"))
    assert not stopper.hopeless(observed(9, 0.0, fidelity="real-epochs-2"))


@pytest.mark.parametrize("method", ["successive_halving", "median"])
def test_ten_thousand_trials_are_judged_in_well_under_a_second(method: str) -> None:
    stopper = stopping(method)
    started = time.process_time()
    for trial in range(10_000):
        gain = trial * 7919 % 10_000 / 10_000
        if not any(stopper.hopeless(observed(trial, gain, rung_round)) for rung_round in range(1, 9)):
            stopper.finished(trial)
    # Measured: 0.2 s. Optuna's own pruners read all trials every time, which is 50 million of them.
    assert time.process_time() - started < 2
