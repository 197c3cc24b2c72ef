from __future__ import annotations

import pytest

from search.pipeline.tables import rounds_by_trial
from search.report.full_search import Bill, bills
from tests.search.report.report_rows import model_row, no_rounds, round_row, trial_row

TRIALS = [
    trial_row(0, "COMPLETE", 0.4, flops_dense=1000, seconds=2.0, image_gradients=20),
    trial_row(1, "COMPLETE", 0.4, flops_dense=3000, seconds=3.0, image_gradients=30),
    trial_row(2, "PRUNED", 0.2, flops_dense=2000, seconds=1.0, image_gradients=10),
    no_rounds(3, "REJECTED", broken_constraints="max_flops"),
    no_rounds(4, "FAIL"),
]
ROUNDS = rounds_by_trial(
    [
        *(round_row(0, number, 0.4) for number in (1, 2, 3)),
        *(round_row(1, number, 0.4) for number in (1, 2, 3, 4, 5)),
        round_row(2, 1, 0.2),
    ]
)


def test_by_hand() -> None:
    """Two seeds of 1,000 FLOPs took 20 s and one of 3,000 took 30 s: 50 s for 5,000, so 10 ms a FLOP.

    Once each: (1,000 + 3,000 + 2,000) · 10 ms. Pruned in 3, 5 and, as the mean of these, 4 rounds:
    (3 · 1,000 + 5 · 3,000 + 4 · 2,000) · 10 ms. A training has 700 image-gradients.
    """
    board = [
        model_row(1, 0.4, 0.6, trial=0, seeds=2, flops_dense=1000, retraining_seconds=20.0),
        model_row(2, 0.4, 0.6, trial=1, seeds=1, flops_dense=3000, retraining_seconds=30.0),
    ]
    this, once, iterative = bills(TRIALS, ROUNDS, board, 700)
    assert [bill.seconds for bill in (this, once, iterative)] == pytest.approx([56.0, 60.0, 260.0])
    assert [bill.image_gradients for bill in (this, once, iterative)] == [60 + 3 * 700, 3 * 700, 12 * 700]


def test_what_models_say_of_their_image_gradients_counts() -> None:
    board = [model_row(1, 0.4, 0.6, trial=0, seeds=2, retraining_image_gradients=1000)]
    assert [bill.image_gradients for bill in bills(TRIALS, ROUNDS, board, 700)] == [60 + 1000, 1500, 6000]


def test_unknown_image_gradients_stay_unknown() -> None:
    found = bills(TRIALS, ROUNDS, [model_row(1, 0.4, 0.6, trial=0)], None)
    assert [bill.image_gradients for bill in found] == [None, None, None]


def test_before_a_model_was_retrained_there_is_nothing_to_say() -> None:
    assert bills(TRIALS, ROUNDS, [], 700) == []
    assert bills([no_rounds(0, "FAIL")], {}, [model_row(1, 0.4, 0.6)], 700) == []


def test_without_a_finished_trial_nobody_knows_the_rounds() -> None:
    found = bills(TRIALS[2:3], ROUNDS, [model_row(1, 0.4, 0.6, audited=True, trial=2)], 700)
    assert [type(bill) for bill in found] == [Bill, Bill]
