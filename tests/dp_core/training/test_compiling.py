"""The policy, with compilers and clocks that are made up; what really compiles is in test_warmup.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dp_core.kernels import block_library
from dp_core.training import Mode, Network, Recipe, Training, compiling, measurements
from dp_core.training.compiling import FEW_IMAGES, FEW_STEPS, choose_network, is_short, might_pay, pays
from dp_core.training.measurements import Measurement
from dp_core.training.warmup import Candidate, NotCompiled, Work
from tests.dp_core.small import random_data, small_model

LONG = 10**6
steps = st.integers(1, 10**7)
seconds = st.floats(1e-6, 100)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block_library()  # from the usual cache, once a process
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path))
    monkeypatch.delenv("WINNOW_COMPILE", raising=False)


class Machine:
    """One on which passes and warm-ups take what is said; it keeps an account of what it was asked to do."""

    def __init__(
        self, *, plain: float = 0.01, compiled: float = 0.005, warm_up: float = 20.0, fails: Exception | None = None
    ) -> None:
        self.plain, self.compiled, self.warm_up, self.fails = plain, compiled, warm_up, fails
        self.network: Network | None = None
        self.done: list[str] = []

    def compile(self, work: Work) -> tuple[Network, float]:
        self.done.append("compile")
        if self.fails is not None:
            raise NotCompiled(self.fails)
        self.network = Network(work.model, mode="eager")
        return self.network, self.warm_up

    def measure(self, candidates: Sequence[Candidate], work: Work) -> list[float] | None:
        self.done.append(f"measure {len(candidates)}")
        return [self.compiled if each.network is self.network else self.plain for each in candidates]

    def chosen(self, wanted: Mode = "auto", steps: int = LONG) -> str:
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
        network = Network(model, precision="float32")
        work = Work(model, random_data().images, lambda network: torch.zeros(()), steps, "float32")
        chosen = choose_network(network, wanted, work, compile=self.compile, measure=self.measure)
        assert chosen is network or chosen is self.network
        return "plain" if chosen is network else "compiled"


def test_compiling_pays_exactly_when_the_steps_save_more_than_the_margin() -> None:
    # From the cache 20 s become 8; with half as much again for safety, 12 s are to be saved, 10 ms a step.
    measured = Measurement(uncompiled=0.03, compiled=0.02, warm_up=20)
    assert not pays(1199, measured)
    assert pays(1201, measured)
    # Nobody knows yet: 30 s, 45 with the margin; two thirds of 30 ms may be saved, or, of fused blocks, 3 of 13 parts.
    assert not might_pay(2249, 0.03, "eager")
    assert might_pay(2251, 0.03, "eager")
    assert not might_pay(6499, 0.03, "fused")
    assert might_pay(6501, 0.03, "fused")


@given(steps, seconds, seconds, seconds)
def test_paying_is_monotone_and_saves_more_than_the_warm_up_costs(
    count: int, plain: float, compiled: float, warm_up: float
) -> None:
    measured = Measurement(plain, compiled, warm_up)
    if pays(count, measured):
        assert compiled < plain
        assert count * (plain - compiled) > compiling.CACHED_SHARE * warm_up
        assert pays(count + 1, measured)
        assert pays(count, Measurement(plain, compiled / 2, warm_up / 2))
    assert not pays(count, Measurement(plain, None, warm_up))
    assert not pays(0, measured)


@given(steps, seconds)
def test_what_may_pay_is_compiled_for_no_more_than_half_of_its_time(count: int, plain: float) -> None:
    for mode in ("eager", "fused"):
        if might_pay(count, plain, mode):
            assert count * plain / 2 > compiling.TYPICAL_WARM_UP
            assert might_pay(2 * count, plain, mode)


def test_a_short_training_is_neither_measured_nor_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(measurements, "key_of", refuse)
    monkeypatch.setattr(measurements, "load", refuse)
    machine = Machine()
    assert machine.chosen(steps=FEW_STEPS - 1) == "plain"
    assert machine.done == []
    assert is_short(100, FEW_IMAGES // 100 - 1)
    assert not is_short(100, FEW_IMAGES // 100)
    assert not is_short(FEW_STEPS, 1)


def test_one_that_cannot_pay_is_measured_but_not_compiled() -> None:
    machine = Machine(plain=0.001)
    assert machine.chosen(steps=5000) == "plain"
    assert machine.done == ["measure 1"]
    machine.done.clear()
    assert machine.chosen(steps=5000) == "plain"
    assert machine.done == []  # it is remembered, so that the same training always decides the same
    machine.chosen(steps=10**6)  # for which it may pay: nothing is measured alone again
    assert machine.done == ["compile", "measure 2"]


def test_the_first_long_training_probes_and_the_next_ones_only_read() -> None:
    machine = Machine()
    assert machine.chosen() == "compiled"
    assert machine.done == ["measure 1", "compile", "measure 2"]
    machine.done.clear()
    assert machine.chosen() == "compiled"
    assert machine.done == ["compile"]
    machine.done.clear()
    # 12 s at 5 ms a step
    assert [machine.chosen(steps=2399), machine.chosen(steps=2401)] == ["plain", "compiled"]
    assert machine.done == ["compile"]


def test_a_compiled_network_that_is_slower_is_dropped_for_good() -> None:
    machine = Machine(compiled=0.02)
    assert machine.chosen() == "plain"
    machine.done.clear()
    assert machine.chosen() == "plain"
    assert machine.done == []


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        (RuntimeError("cannot be compiled"), False),
        (torch.OutOfMemoryError("no memory"), True),
        (OSError("the disk is full"), True),
    ],
)
def test_a_failure_is_tried_again_only_if_it_may_pass(failure: Exception, again: bool) -> None:
    machine = Machine(fails=failure)
    assert machine.chosen() == "plain"
    assert machine.done == ["measure 1", "compile"]
    machine.done.clear()
    assert machine.chosen() == "plain"
    assert machine.done == (["measure 1", "compile"] if again else [])


def test_what_cannot_be_measured_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    monkeypatch.setattr(machine, "measure", lambda candidates, work: None)
    assert machine.chosen() == "plain"
    assert machine.done == []
    monkeypatch.setattr(machine, "measure", lambda candidates, work: [1.0] if len(candidates) == 1 else None)
    assert machine.chosen() == "plain"
    assert machine.done == ["compile"]


@pytest.mark.parametrize("wanted", ["eager", "fused"])
def test_a_mode_that_is_named_is_used(wanted: Mode) -> None:
    machine = Machine()
    assert machine.chosen(wanted) == "plain"
    assert machine.done == []


def test_compiled_is_compiled_without_asking_whether_it_pays() -> None:
    machine = Machine()
    assert machine.chosen("compiled", steps=1) == "compiled"
    assert machine.done == ["compile"]
    assert Machine(fails=RuntimeError()).chosen("compiled", steps=1) == "plain"


@pytest.mark.parametrize("wanted", ["auto", "compiled"])
def test_compiling_can_be_turned_off(wanted: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_COMPILE", "0")
    machine = Machine()
    assert machine.chosen(wanted) == "plain"
    assert machine.done == []


def test_a_training_decides_with_its_first_step_and_keeps_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def choose(network: Network, wanted: Mode, work: Work) -> Network:
        asked.append((wanted, work.steps))
        return Network(work.model, mode="eager")

    monkeypatch.setattr("dp_core.training.loop.choose_network", choose)
    training = Training(small_model(), random_data(), Recipe(steps=7), seed=0, mask=None)
    training.run(0)
    undecided = training.state_dict()
    assert (undecided["mode"], asked) == ("auto", [])
    training.run(2)
    training.run(2)
    assert asked == [("auto", 7)]
    decided = training.state_dict()
    assert decided["mode"] == training.network.mode == "eager"

    training.load_state_dict(undecided)  # to rewind is not to decide anew
    training.run(1)
    resumed = Training(small_model(), random_data(), Recipe(steps=7), seed=0, mask=None)
    resumed.load_state_dict(decided)
    resumed.run(1)
    assert resumed.network.mode == "eager"
    assert all(wanted == "eager" for wanted, _ in asked[1:])  # nothing is left to be decided
    asked.clear()
    again = Training(small_model(), random_data(), Recipe(steps=7), seed=0, mask=None)
    again.load_state_dict(undecided)
    again.run(1)
    assert asked == [("auto", 7)]
