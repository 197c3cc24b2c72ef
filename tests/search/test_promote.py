from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError
from search.config.models import PromoteSection
from search.retraining import promote

SOURCES = CategoricalDistribution(["distilled", "subset", "real"])


def trials(*scores: float, state: TrialState = TrialState.COMPLETE) -> list[FrozenTrial]:
    """Return trials of these scores, of one source, numbered from 0."""
    study = optuna.create_study(direction="maximize")
    for score in scores:
        study.add_trial(create_trial(state=state, value=score))
    return study.trials


def sourced(*scores: tuple[float, str]) -> list[FrozenTrial]:
    """Return finished trials of these scores and sources, numbered from 0."""
    study = optuna.create_study(direction="maximize")
    for score, source in scores:
        study.add_trial(create_trial(value=score, params={"source": source}, distributions={"source": SOURCES}))
    return study.trials


def test_the_best_scores_come_first() -> None:
    found = trials(0.3, 0.9, 0.5, 0.7)
    assert promote(found, PromoteSection(top=3)) == [1, 3, 2]
    assert promote(found, PromoteSection(top=99)) == [1, 3, 2, 0]


def test_among_equals_the_earlier_trial_wins() -> None:
    assert promote(trials(0.5, 0.6, 0.6, 0.5), PromoteSection(top=4)) == [1, 2, 0, 3]


def test_only_finished_trials_are_promoted() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(state=TrialState.PRUNED, value=0.99, intermediate_values={1: 0.99}))
    study.add_trial(create_trial(value=0.1))
    study.add_trial(create_trial(state=TrialState.FAIL))
    study.add_trial(create_trial(state=TrialState.RUNNING))
    assert promote(study.trials, PromoteSection(top=4)) == [1]


def test_the_best_of_every_source_goes_before_the_second_of_any() -> None:
    found = sourced(
        (0.9, "real"), (0.8, "real"), (0.3, "distilled"), (0.7, "real"), (0.2, "subset"), (0.35, "distilled")
    )
    assert promote(found, PromoteSection(top=2)) == [0, 5]
    assert promote(found, PromoteSection(top=3)) == [0, 5, 4]
    assert promote(found, PromoteSection(top=5)) == [0, 5, 4, 1, 2]
    assert promote(found, PromoteSection(top=6)) == [0, 5, 4, 1, 2, 3]


def test_scores_of_zero_are_scores() -> None:
    assert promote(trials(0.0, 0.0), PromoteSection(top=1)) == [0]


def test_without_a_finished_trial_there_is_nothing_to_retrain() -> None:
    found = [*trials(0.5, 0.4, state=TrialState.PRUNED), create_trial(state=TrialState.FAIL)]
    with pytest.raises(UserError, match=r"nothing to retrain \(1 FAIL, 2 PRUNED\)"):
        promote(found, PromoteSection())


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from(SOURCES.choices)),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 12),
)
def test_no_source_is_left_out_while_there_is_room(given: list[tuple[float, str]], top: int) -> None:
    found = sourced(*given)
    chosen = promote(found, PromoteSection(top=top))
    assert len(chosen) == len(set(chosen)) == min(top, len(found))
    assert len({given[number][1] for number in chosen}) == min(top, len({source for _, source in given}))
    assert given[chosen[0]][0] == max(score for score, _ in given)
    # More room never takes a place away.
    assert promote(found, PromoteSection(top=top + 1))[: len(chosen)] == chosen
