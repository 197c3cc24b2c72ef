from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from dp_core.errors import UserError
from search.config.models import PromoteSection
from search.retraining import promote


def trials(*given: tuple[float | None, str] | TrialState) -> list[FrozenTrial]:
    """Return finished trials of these scores and sources, or trials in these states, numbered from 0."""
    study = optuna.create_study(direction="maximize")
    for item in given:
        if isinstance(item, TrialState):
            study.add_trial(create_trial(state=item, user_attrs={"candidate": {"source": "real"}}))
        else:
            study.add_trial(create_trial(value=item[0], user_attrs={"candidate": {"source": item[1]}}))
    return study.trials


def test_the_best_scores_come_first() -> None:
    found = trials((0.3, "real"), (0.9, "real"), (0.5, "distilled"), (0.7, "real"))
    assert promote(found, PromoteSection(top=3)) == [1, 3, 2]
    assert promote(found, PromoteSection(top=99)) == [1, 3, 2, 0]


def test_among_equals_the_earlier_trial_wins() -> None:
    found = trials((0.5, "real"), (0.6, "real"), (0.6, "real"), (0.5, "real"))
    assert promote(found, PromoteSection(top=4)) == [1, 2, 0, 3]


def test_only_finished_trials_are_promoted() -> None:
    study = optuna.create_study(direction="maximize")
    pruned = create_trial(state=TrialState.PRUNED, value=0.99, intermediate_values={1: 0.99})
    study.add_trial(pruned)
    study.add_trial(create_trial(value=0.1))
    study.add_trial(create_trial(state=TrialState.FAIL))
    study.add_trial(create_trial(state=TrialState.RUNNING))
    assert promote(study.trials, PromoteSection(top=4)) == [1]


def test_by_source_the_best_of_every_source_goes_first_then_the_rest_by_score() -> None:
    found = trials(
        (0.9, "real"), (0.8, "real"), (0.3, "distilled"), (0.7, "real"), (0.2, "subset"), (0.35, "distilled")
    )
    assert promote(found, PromoteSection(top=2, by="source")) == [0, 5]
    assert promote(found, PromoteSection(top=3, by="source")) == [0, 5, 4]
    assert promote(found, PromoteSection(top=5, by="source")) == [0, 5, 4, 1, 3]


def test_by_source_a_candidate_without_source_is_a_distilled_one() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=0.6, user_attrs={"candidate": {"sparsity": 0.5}}))
    study.add_trial(create_trial(value=0.5, user_attrs={"candidate": {"source": "distilled"}}))
    study.add_trial(create_trial(value=0.4, user_attrs={"candidate": {"source": "real"}}))
    assert promote(study.trials, PromoteSection(top=2, by="source")) == [0, 2]


def test_scores_of_zero_are_scores() -> None:
    assert promote(trials((0.0, "real"), (0.0, "distilled")), PromoteSection(top=1)) == [0]


def test_without_a_finished_trial_there_is_nothing_to_retrain() -> None:
    found = trials(TrialState.FAIL, TrialState.PRUNED, TrialState.PRUNED)
    with pytest.raises(UserError, match=r"nothing to retrain \(1 FAIL, 2 PRUNED\)"):
        promote(found, PromoteSection())


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from(["distilled", "subset", "real"])),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 12),
)
def test_no_source_is_left_out_while_there_is_room(given: list[tuple[float, str]], top: int) -> None:
    found = trials(*given)
    chosen = promote(found, PromoteSection(top=top, by="source"))
    assert len(chosen) == len(set(chosen)) == min(top, len(found))
    sources = {source for _, source in given}
    assert len({given[number][1] for number in chosen}) == min(top, len(sources))
    assert chosen[0] == promote(found, PromoteSection(top=1))[0]
