"""What samplers see of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.config.objectives import objectives_of
from search.space import Space
from search.study.memory import MemoryStudies
from search.study.sampling import parts_of
from search.study.trials import REASON
from tests.search.tiny import a_round

NUMBER = {"x": {"float": [0.0, 1.0]}}
SOURCES = {"source": {"choice": ["distilled", "real"]}, "x": {"float": [0.0, 1.0], "when": {"source": "real"}}}


def studies(
    space: dict[str, Any], known: Sequence[FrozenTrial] = (), objectives: Sequence[str] = ("score",)
) -> MemoryStudies:
    return MemoryStudies("random", parts_of(Space.parse(space), objectives_of(objectives), 10), known)


def ended(state: TrialState, reason: str | None, value: float | None) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value,
        intermediate_values={1: 0.5},
        user_attrs={"round:0001": a_round(1, 0.5).to_row(), **({} if reason is None else {REASON: reason})},
    )


def test_what_has_collapsed_is_no_good_example() -> None:
    known = [
        ended(TrialState.COMPLETE, None, 0.5),
        ended(TrialState.PRUNED, "stopped early after round 1: others were better", 0.5),
        ended(TrialState.PRUNED, "layer collapse: no weight left in classifier.weight", 0.5),
    ]
    memory = studies(NUMBER, known)
    states = [memory.known(place).drawn().state for place in range(3)]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert known[2].state == TrialState.PRUNED, "the record stays as it is"
    assert memory.known(0).drawn().user_attrs == {}


def test_fixed_parameters_are_not_drawn_and_a_trial_ends() -> None:
    trial, candidate = studies(NUMBER, objectives=["accuracy", "flops"]).ask(None, {"x": 0.25})
    assert candidate == {"x": 0.25} == trial.drawn().params
    trial.constrain({"max_flops": 0.5})
    trial.tell(TrialState.COMPLETE, [0.5, 10])
    told = trial.drawn()
    assert (told.values, told.constraints) == ([0.5, 10], {"max_flops": 0.5})


def test_a_study_has_the_trials_of_its_source_and_no_other() -> None:
    sources, unit = CategoricalDistribution(["distilled", "real"]), FloatDistribution(0, 1)
    known = [
        create_trial(value=0.1, params={"source": "real", "x": 0.5}, distributions={"source": sources, "x": unit}),
        create_trial(value=0.2, params={"source": "distilled"}, distributions={"source": sources}),
        create_trial(value=0.3, params={"source": "real", "x": 0.75}, distributions={"source": sources, "x": unit}),
    ]
    memory = studies(SOURCES, known)
    trial, candidate = memory.ask("real", {"x": 1.0})
    assert candidate == {"source": "real", "x": 1.0}
    assert [one.params for one in trial.of.study.trials] == [{"x": 0.5}, {"x": 0.75}, {"x": 1.0}]
    assert [memory.known(place).drawn().value for place in range(3)] == [0.1, 0.2, 0.3]
    trial, candidate = memory.ask("distilled", {})
    assert candidate == {"source": "distilled"}
    assert [one.value for one in trial.of.study.trials] == [0.2, None]
