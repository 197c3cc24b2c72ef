"""What samplers see of a study."""

from __future__ import annotations

from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.config.objectives import objectives_of
from search.study.memory import MemoryStudy
from search.study.trials import REASON
from tests.search.tiny import round_row


def ended(state: TrialState, reason: str | None, value: float | None) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value,
        intermediate_values={1: 0.5},
        user_attrs={"round:0001": round_row(1, 0.5), **({} if reason is None else {REASON: reason})},
    )


def states(study: MemoryStudy) -> list[TrialState]:
    return [study.drawn(study.known(position)).state for position in range(3)]


def test_what_has_collapsed_is_no_good_example() -> None:
    known = [
        ended(TrialState.COMPLETE, None, 0.5),
        ended(TrialState.PRUNED, "stopped early after round 1: others were better", 0.5),
        ended(TrialState.PRUNED, "layer collapse: no weight left in classifier.weight", 0.5),
    ]
    study = MemoryStudy(objectives_of(["score"]), RandomSampler(seed=0), known)
    assert states(study) == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert known[2].state == TrialState.PRUNED, "the record stays as it is"
    assert study.drawn(study.known(0)).user_attrs == {}


def test_fixed_parameters_are_not_drawn() -> None:
    study = MemoryStudy(objectives_of(["accuracy", "flops"]), RandomSampler(seed=0), [])
    trial = study.ask({"x": 0.25}, {"point": {"x": 0.25}})
    assert trial.suggest_float("x", 0, 1) == 0.25
    assert study.drawn(trial._trial_id).user_attrs == {"point": {"x": 0.25}}
    study.constrain(trial._trial_id, {"max_flops": 0.5})
    study.tell(trial._trial_id, TrialState.COMPLETE, [0.5, 10])
    told = study.drawn(trial._trial_id)
    assert (told.values, told.constraints) == ([0.5, 10], {"max_flops": 0.5})
