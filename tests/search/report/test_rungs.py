from __future__ import annotations

import math
from typing import Any

import pytest

from search.pipeline.tables import rounds_by_trial
from search.report.rungs import pruning_rounds, stages_by_round, stages_by_rung
from tests.search.report.report_rows import round_row, trial_row
from trainables.screening.round import Round

LADDER = [("nwot", 1), ("distilled-1", 2), ("distilled-10", 2), ("real-epochs-2", 1)]


def climb(trial: int, scores: list[float]) -> list[dict[str, Any]]:
    """Return the rows of a trial that climbs the ladder as far as its scores go: 1 s and 10 image-gradients a round."""
    places = [(rung, number, name) for rung, (name, rounds) in enumerate(LADDER) for number in range(1, rounds + 1)]
    return [
        round_row(
            trial,
            index,
            score,
            rung=rung,
            rung_round=number,
            fidelity=name,
            rung_done=number == LADDER[rung][1],
            seconds=float(index),
            image_gradients=10 * index,
        )
        for index, ((rung, number, name), score) in enumerate(zip(places, scores, strict=False), start=1)
    ]


def ladder_search() -> tuple[list[dict[str, Any]], dict[int, list[Round]]]:
    """Five trials finish; one is stopped at zero cost and one in distilled-10, and one fails in distilled-1."""
    rounds, trials = [], []
    zero_cost = [5.0, 4.0, 3.0, 2.0, 1.0]
    for trial in range(5):
        rounds += climb(trial, [zero_cost[trial], 0.1, 0.1 * trial, 0.2, 0.1 * trial, 0.1 * trial])
        trials.append(trial_row(trial, "COMPLETE", 0.1 * trial))
    rounds += climb(5, [0.5]) + climb(6, [3.5, 0.1, 0.2, 0.3]) + climb(7, [3.5, 0.1])
    trials += [trial_row(n, state, 0.1) for n, state in ((5, "PRUNED"), (6, "PRUNED"), (7, "FAIL"))]
    return trials, rounds_by_trial(rounds)


def test_what_each_rung_bought_by_hand() -> None:
    stages = stages_by_rung(*ladder_search())
    assert [(stage.rung, stage.fidelity) for stage in stages] == list(enumerate(name for name, _ in LADDER))
    assert [(stage.entered, stage.went_on, stage.stopped, stage.failed) for stage in stages] == [
        (8, 7, 1, 0),
        (7, 6, 0, 1),
        (6, 5, 1, 0),
        (5, 5, 0, 0),
    ]
    # One second and ten image-gradients a round: the failed trial had one of the two of distilled-1, as the stopped one
    # had of distilled-10.
    assert [stage.seconds for stage in stages] == [8, 13, 11, 5]
    assert [stage.image_gradients for stage in stages] == [80, 130, 110, 50]


def test_how_well_each_rung_foretold_the_end() -> None:
    """The zero-cost rung orders the five backwards, distilled-1 and distilled-10 as they ended."""
    stages = stages_by_rung(*ladder_search())
    assert [stage.rho for stage in stages[:3]] == pytest.approx([-1, 1, 1])
    assert [stage.pairs for stage in stages] == [5, 5, 5, 0]
    assert math.isnan(stages[3].rho)  # the last rung is the end


def test_sources_are_not_mixed() -> None:
    trials, rounds = ladder_search()
    trials.append(trial_row(8, "COMPLETE", 0.5, source="real"))
    rounds |= rounds_by_trial([{**row, "fidelity": f"of-real-{row['rung']}"} for row in climb(8, [9.0, 0.5, 0.5])])
    stages = stages_by_rung(trials, rounds)
    assert [(stage.source, stage.entered) for stage in stages] == [
        *(("distilled", entered) for entered in (8, 7, 6, 5)),
        *(("real", entered) for entered in (1, 1)),
    ]


def test_without_a_ladder_the_rounds_are_the_milestones() -> None:
    trials = [trial_row(0, "COMPLETE", 0.4), trial_row(1, "PRUNED", 0.2)]
    rounds = rounds_by_trial([round_row(0, 2, 0.4), round_row(0, 1, 0.3), round_row(1, 1, 0.2)])
    assert stages_by_rung(trials, rounds) == []
    stages = stages_by_round(trials, rounds)
    assert [(stage.rung_round, stage.entered, stage.went_on, stage.stopped, stage.seconds) for stage in stages] == [
        (1, 2, 1, 1, 5.0),
        (2, 1, 1, 0, 2.5),
    ]
    assert stages_by_round(trials[:1], rounds) == []  # nobody was stopped: nothing to weigh


def test_scores_that_are_not_numbers_are_left_out() -> None:
    trials = [trial_row(0, "COMPLETE", 0.4)]
    stages = stages_by_rung(trials, rounds_by_trial(climb(0, [math.nan, 0.1, 0.1, 0.2, 0.2])))
    assert [stage.pairs for stage in stages] == [0, 1, 0]


def test_rounds_of_pruning_are_those_of_the_last_rung_that_prunes() -> None:
    trials, rounds = ladder_search()
    assert pruning_rounds(trials, rounds) == dict.fromkeys(range(5), 2)
    plain = rounds_by_trial([round_row(0, number, 0.4, fidelity="real") for number in (1, 2, 3)])
    assert pruning_rounds(trials, plain) == {0: 3}
