"""Samplers see the trials of one source, and all of them."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.study.sampling.strata import SourceStudy, WithinSourceSampler, source_of


class _Spy(RandomSampler):
    def __init__(self, history: SourceStudy) -> None:
        super().__init__(seed=0)
        self.history = history
        self.seen: list[set[str | None]] = []

    def sample_independent(self, study: Study, trial: FrozenTrial, *rest: Any) -> Any:
        self.seen.append({source_of(other) for other in study.get_trials(deepcopy=False)})
        return super().sample_independent(study, trial, *rest)


def spied() -> tuple[Study, list[_Spy]]:
    made: list[_Spy] = []

    def make(source: str | None, history: SourceStudy) -> _Spy:
        made.append(_Spy(history))
        return made[-1]

    return optuna.create_study(sampler=WithinSourceSampler(make)), made


def begin(study: Study, source: str) -> optuna.Trial:
    study.enqueue_trial({"source": source})
    trial = study.ask()
    trial.suggest_categorical("source", ["distilled", "real"])
    trial.suggest_float("sparsity", 0.5, 0.9)
    return trial


def test_a_sampler_for_each_source_sees_no_other() -> None:
    study, made = spied()
    for source in ("distilled", "real", "distilled", "real"):
        begin(study, source)
    assert len(made) == 2
    assert [spy.seen for spy in made] == [[{"distilled"}] * 2, [{"real"}] * 2]


@pytest.mark.parametrize("seed", range(5))
def test_the_lists_that_are_kept_are_those_that_looking_at_every_trial_gives(seed: int) -> None:
    generator = random.Random(seed)
    study, made = spied()
    known = optuna.create_study()
    for source in ("real", "real", "distilled"):
        study.add_trial(known.tell(begin(known, source), 0.5))
    running = []
    for _ in range(60):
        trial = begin(study, generator.choice(["distilled", "real"]))
        for spy in made:
            everything = study.get_trials(deepcopy=False)
            own = [other for other in everything if source_of(other) == source_of(everything[spy.history.numbers[0]])]
            own = [other for other in own if other.number <= trial.number]
            assert spy.history.numbers == [other.number for other in own]
            learnt = {other.number for other in spy.history.learnt}
            assert len(learnt) == len(spy.history.learnt)
            ended = (TrialState.COMPLETE, TrialState.PRUNED)
            assert learnt == {other.number for other in own if other.state in ended}
            assert {other.number for other in spy.history.running} == {
                other.number for other in own if other.state == TrialState.RUNNING and other.number != trial.number
            }
        running.append(trial)
        if len(running) > 6:
            ended_trial = running.pop(generator.randrange(len(running)))
            state = generator.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            study.tell(ended_trial, 0.5 if state == TrialState.COMPLETE else None, state)
            begin(study, "real")  # the lists are brought up to date when a trial is begun
            running.append(begin(study, "distilled"))


def test_a_trial_that_draws_its_source_belongs_to_it_from_then_on() -> None:
    study, made = spied()
    trial = study.ask()
    trial.suggest_float("sparsity", 0.5, 0.9)
    source = trial.suggest_categorical("source", ["distilled", "real"])
    study.tell(trial, 1.0)
    begin(study, source)
    unknown, history = (spy.history for spy in made)
    assert (unknown.numbers, history.numbers) == ([], [0, 1])
    assert [learnt.number for learnt in history.learnt] == [0]


def test_what_samplers_note_of_the_study_is_of_their_source_alone() -> None:
    study, made = spied()
    begin(study, "distilled")
    begin(study, "real")
    one, other = (spy.history for spy in made)
    one._storage.set_study_system_attr(one._study_id, "parents", [1])
    assert one._storage.get_study_system_attrs(one._study_id) == {"parents": [1]}
    assert other._storage.get_study_system_attrs(other._study_id) == {}
    assert "parents" not in study._storage.get_study_system_attrs(study._study_id)
