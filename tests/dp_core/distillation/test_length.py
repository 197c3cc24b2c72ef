"""Distillations that end by the clock, on a clock of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dp_core.distillation.base import Workspace
from dp_core.distillation.identity import Identity
from dp_core.distillation.length import Length
from dp_core.distillation.running import Choice, Outcome, Running
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError
from dp_core.training.schedule import SCHEDULES
from tests.dp_core.distillation.test_running import Bowl


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("dp_core.distillation.running.time.perf_counter", lambda: self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


class Timed:
    """A distillation of the bowl whose iterations take `pace` seconds and whose looks take `look`."""

    def __init__(self, clock: Clock, *, budget: float, pace: float = 1.0, look: float | None = None) -> None:
        self.rates: list[float] = []
        self.looks: list[int] = []
        self.told: list[tuple[int, int]] = []
        self._clock, self._budget, self._pace, self._look = clock, budget, pace, look

    def run(self, folder: Path | None = None, *, prepared: float = 0.0) -> Outcome:
        synthetic = Synthetic(torch.ones(4, 1, 2, 2), torch.arange(4), 4, learn_labels=False, rate=None)
        objective = Bowl()
        optimizer = torch.optim.SGD([{"params": [synthetic.images], "name": "images"}])

        def iterate(iteration: int) -> None:
            self.rates.append(optimizer.param_groups[0]["lr"])
            self._clock.pass_by(self._pace)

        def score(_: Synthetic) -> float:
            assert self._look is not None
            self.looks.append(objective.image_gradients // 4)
            self._clock.pass_by(self._look)
            return 1 / len(self.looks)  # the first is the best

        objective.before = iterate
        began = self._clock.now
        self._clock.pass_by(prepared)
        running = Running(
            synthetic,
            objective,
            optimizer,
            lambda: {"images": 0.1},
            Length(7, seconds=self._budget),
            SCHEDULES["half_step"],
            None if self._look is None else Choice(score, None),
            Identity("this", "this", {"image_rate": 0.1}),
            Workspace(progress=lambda done, total, _: self.told.append((done, total)), folder=folder),
            began=began,
        )
        return running.run(lambda _: None)


def test_it_ends_with_its_budget_and_the_schedule_goes_by_the_time_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Timed(Clock(monkeypatch), budget=20.0)
    outcome = case.run()
    assert case.rates == pytest.approx([0.1] * 10 + [0.01] * 10)
    assert (outcome.iteration, outcome.seconds, outcome.score) == (20, 20.0, None)
    assert case.told[3] == (4, 20)
    assert case.told[-1] == (20, 20)


def test_what_was_prepared_is_part_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Timed(Clock(monkeypatch), budget=20.0).run(prepared=15.0)
    assert (outcome.iteration, outcome.seconds) == (5, 20.0)


def test_a_few_late_states_are_looked_at_within_the_budget_and_the_best_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Timed(Clock(monkeypatch), budget=1000.0, look=30.0)
    outcome = case.run()
    # At 500 and, thirty seconds of looking later, at 750 (720 iterations and 30 s); 30 are left for the last look.
    assert case.looks == [500, 720, 910]
    assert (outcome.iteration, outcome.score) == (500, 1.0)
    assert outcome.seconds == 1000.0


def test_nothing_is_looked_at_where_the_budget_allows_few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Timed(Clock(monkeypatch), budget=1000.0, pace=4.0, look=30.0)
    outcome = case.run()
    assert (case.looks, outcome.iteration, outcome.score) == ([], 250, None)


def test_a_budget_that_is_over_before_the_first_iteration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"^A budget of 0\.01 minutes is less than one iteration takes with what comes "
    ):
        Timed(Clock(monkeypatch), budget=0.6, pace=1.0).run()


def test_a_resumed_distillation_has_what_is_left_of_the_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock(monkeypatch)
    first = Timed(clock, budget=300.0)
    first.told = Interrupting(at=150)
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path)
    clock.pass_by(10_000.0)  # nobody is at work
    second = Timed(clock, budget=300.0)
    outcome = second.run(tmp_path)
    # The checkpoint is of iteration 100, so that 200 seconds are left.
    assert (outcome.iteration, outcome.seconds, len(second.rates)) == (300, 300.0, 200)
    assert second.rates == pytest.approx([0.1] * 50 + [0.01] * 150)


def test_a_resumed_distillation_leaves_time_for_its_last_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock(monkeypatch)
    first = Timed(clock, budget=1000.0, look=30.0)
    first.told = Interrupting(at=850)  # after both looks on the way
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path)
    second = Timed(clock, budget=1000.0, look=30.0)
    outcome = second.run(tmp_path)
    assert (len(first.looks), len(second.looks), outcome.seconds) == (2, 1, 1000.0)


class Interrupting(list[tuple[int, int]]):
    """Is told of iterations, and interrupts at one of them."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def append(self, told: tuple[int, int]) -> None:
        if told[0] == self._at:
            raise KeyboardInterrupt
        super().append(told)


def test_a_length_by_iterations_knows_nothing_of_time() -> None:
    length = Length(8)
    assert [length.is_over(iteration, 1e9) for iteration in (7, 8)] == [False, True]
    assert length.place(3, 1e9) == (3, 8)
    assert (length.share(2, 0.0), length.expected(2, 0.0)) == (0.25, 8)
