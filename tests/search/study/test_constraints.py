"""What a candidate must keep to, before and after its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from dp_core.cost import DenseCost, dense_cost
from dp_core.errors import UserError
from dp_core.models import ModelSpec
from search.config.models import ConstraintsSection
from search.space import Space
from search.study.constraints import Limits, check_feasible
from tests.search.tiny import a_round
from trainables import Candidate

SHAPE, CLASSES = (3, 8, 8), 3
# A convolution of 3×3×3×4 = 108 weights on 8×8 positions, a linear layer of 4·4·4×3 = 192 weights used once, 4 + 3
# biases: 307 parameters and 2 (108·64 + 192) = 14,208 FLOPs.
TINY = {"name": "convnet", "depth": 1, "width": 4, "norm": "none", "pooling": "max"}


def candidate(sparsity: float, **model: Any) -> Candidate:
    return Candidate.parse({"model": {**TINY, **model}, "sparsity": sparsity, "source": "real"}, CLASSES)


def limits(latency: Callable[[ModelSpec], float] | None = None, **settings: float) -> Limits:
    return Limits(ConstraintsSection.model_validate(settings), SHAPE, CLASSES, latency)


def test_what_can_be_known_before_training() -> None:
    # At 0.5 half of the 300 weights stay: 157 parameters; the cheapest 150 are the linear layer's, with 300 FLOPs.
    known = limits(max_parameters=100, max_flops=400, min_sparsity=0.8)
    found = known.before(candidate(0.5))
    assert found == pytest.approx({"max_parameters": 0.57, "max_flops": -0.25, "min_sparsity": (150 - 60) / 60})
    assert known.sentence(candidate(0.5)) == (
        "157 parameters left, more than search.constraints.max_parameters 100; "
        "a sparsity of 0.5, less than search.constraints.min_sparsity 0.8"
    )
    # At 0.25 the 225 weights that stay are all 192 of the linear layer and 33 of the convolution.
    assert limits(max_flops=4607).sentence(candidate(0.25)) == (
        "at least 4,608 FLOPs remaining, more than search.constraints.max_flops 4,607"
    )


def test_a_limit_that_is_just_met_is_kept() -> None:
    for settings in ({"max_parameters": 157}, {"max_flops": 300}, {"min_sparsity": 0.5}):
        assert list(limits(**settings).before(candidate(0.5)).values()) == [0.0]
        assert limits(**settings).sentence(candidate(0.5)) == ""
    for settings in ({"max_parameters": 156}, {"max_flops": 299}, {"min_sparsity": 0.51}):
        assert min(limits(**settings).before(candidate(0.5)).values()) > 0
    assert limits().before(candidate(0.5)) == {}


def test_rounding_to_whole_weights_breaks_no_sparsity() -> None:
    # 0.8512 × 300 = 255.36: 255 weights go, a sparsity of 0.85, which is below the limit by a part of a weight.
    kept = limits(min_sparsity=0.8512)
    assert kept.before(candidate(0.8512)) == kept.after(candidate(0.8512), a_round(1, 0.5, sparsity=1 - 45 / 300))
    assert kept.before(candidate(0.8512)) == {"min_sparsity": 0.0}
    assert kept.after(candidate(0.8512), a_round(1, 0.5, sparsity=1 - 46 / 300)) == {
        "min_sparsity": pytest.approx(1 / 45)
    }


def test_what_is_known_after_training_is_what_was_measured() -> None:
    known = limits(max_parameters=100, max_flops=400, min_sparsity=0.8, max_latency_ms=2.0)
    last = a_round(1, 0.5, parameters_left=67, flops_remaining=500, sparsity=0.8, latency_ms=1.0)
    expected = {"max_parameters": -0.33, "max_flops": 0.25, "min_sparsity": 0.0, "max_latency_ms": -0.5}
    assert known.after(candidate(0.8), last) == pytest.approx(expected)
    unmeasured = known.after(candidate(0.8), replace(last, latency_ms=None, parameters_left=110))
    assert unmeasured == pytest.approx({"max_parameters": 0.1, "max_flops": 0.25, "min_sparsity": 0.0})


class Clock:
    """Says how long networks take, by their width, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, spec: ModelSpec) -> float:
        self.asked.append(spec.hyperparameters["width"])
        return spec.hyperparameters["width"] / 4


def test_latency_is_measured_once_for_an_architecture_and_only_where_all_else_is_kept() -> None:
    clock = Clock()
    known = limits(clock, max_latency_ms=1.6, min_sparsity=0.5)
    assert known.before(candidate(0.4)) == {"min_sparsity": pytest.approx((180 - 150) / 150)}
    assert clock.asked == []
    assert known.before(candidate(0.5))["max_latency_ms"] == pytest.approx((1 - 1.6) / 1.6)
    assert known.before(candidate(0.9, width=8))["max_latency_ms"] == pytest.approx((2 - 1.6) / 1.6)
    assert known.sentence(candidate(0.8, width=8)) == (
        "2 ms for one image, more than search.constraints.max_latency_ms 1.6"
    )
    assert known.after(candidate(0.8, width=8), a_round(1, 0.5, latency_ms=77.0))["max_latency_ms"] == pytest.approx(
        0.25
    )
    assert (known.latency_ms(candidate(0.5).model), clock.asked) == (1.0, [4, 8])


def fails_forward(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7, classes))


def test_a_network_that_cannot_be_run_is_left_to_fail_by_itself() -> None:
    known = limits(Clock(), max_parameters=1, min_sparsity=0.9, max_latency_ms=0.1)
    for name in ("tests.search.study.test_constraints:fails_forward", "tests.search.study.test_constraints:missing"):
        broken = Candidate(ModelSpec(name), 0.5, "real", None, candidate(0.5).recipe)
        assert (known.before(broken), known.sentence(broken)) == ({}, "")
        assert known.after(broken, a_round(1, 0.5, parameters_left=2)) == {"max_parameters": 1.0}


def test_an_architecture_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counting(spec: ModelSpec, *others: Any) -> DenseCost:
        built.append(spec.hyperparameters["width"])
        return dense_cost(spec, *others)

    monkeypatch.setattr("search.study.constraints.dense_cost", counting)
    known = limits(max_parameters=1000)
    for width, sparsity in ((2, 0.5), (2, 0.6), (3, 0.5), (2, 0.7), (3, 0.9)):
        known.before(candidate(sparsity, width=width))
    assert built == [2, 3]


def space(**changes: Any) -> Space:
    return Space.parse({"model": {**TINY, "width": {"int": [4, 8]}}, "sparsity": {"float": [0.5, 0.8]}, **changes})


def refusal(known: Limits, searched: Space, draws: int = 100) -> str:
    with pytest.raises(UserError) as caught:
        check_feasible(searched, known, CLASSES, seed=0, draws=draws)
    return str(caught.value)


def test_a_space_with_a_candidate_that_keeps_everything_is_fine() -> None:
    check_feasible(space(), limits(), CLASSES, seed=0)
    # A fifth of the 300 weights of width 4 is 60, with 7 biases.
    check_feasible(space(), limits(max_parameters=90, min_sparsity=0.75, max_flops=200), CLASSES, seed=0)
    check_feasible(space(), limits(Clock(), max_latency_ms=1.0), CLASSES, seed=0)


def test_the_constraint_that_nobody_keeps_is_named_with_the_nearest_value() -> None:
    fixed = {"model": {**TINY, "width": {"choice": [4, 8]}}, "sparsity": 0.5}
    assert refusal(limits(max_parameters=150, max_flops=301), space(**fixed)) == (
        "no candidate of 100 drawn keeps search.constraints.max_parameters 150: the smallest has 157."
    )
    assert refusal(limits(max_parameters=1, min_sparsity=0.9, max_flops=299), space(**fixed), draws=20) == (
        "no candidate of 20 drawn keeps search.constraints.max_flops 299: the cheapest has at least 300; "
        "and none keeps search.constraints.max_parameters 1: the smallest has 157; "
        "and none keeps search.constraints.min_sparsity 0.9: the sparsest has 0.5."
    )


def test_constraints_that_nobody_keeps_together_are_named() -> None:
    # At 0.5 there are 157 parameters. At 0.9 the width is the default, 128: 128·27 + 128·16·3 = 9,600 weights, of which
    # 960 stay, and 128 + 3 biases.
    width = {"choice": [4], "when": {"sparsity": 0.5}}
    searched = Space.parse({"model": {**TINY, "width": width}, "sparsity": {"choice": [0.5, 0.9]}})
    check_feasible(searched, limits(max_parameters=157), CLASSES, seed=0)
    check_feasible(searched, limits(min_sparsity=0.9), CLASSES, seed=0)
    check_feasible(searched, limits(max_parameters=1091, min_sparsity=0.9), CLASSES, seed=0)
    assert refusal(limits(max_parameters=1090, min_sparsity=0.8, max_flops=10_000), searched) == (
        "no candidate of 100 drawn keeps search.constraints.max_parameters 1,090 and search.constraints.min_sparsity "
        "0.8 together: the smallest of those that keep the other has 1,091."
    )


def test_latency_is_measured_of_ten_architectures_at_most_the_smallest_first() -> None:
    clock = Clock()
    many = space(model={**TINY, "width": {"int": [4, 40]}})
    found = refusal(limits(clock, max_latency_ms=0.5), many)
    assert found == (
        "no candidate of 100 drawn keeps search.constraints.max_latency_ms 0.5: "
        "the fastest of the 10 architectures with the fewest FLOPs takes 1 ms."
    )
    assert len(clock.asked) == 10
    assert clock.asked == sorted(clock.asked)
    clock = Clock()
    check_feasible(many, limits(clock, max_latency_ms=1.2), CLASSES, seed=0)
    assert clock.asked == [4]


def test_latency_may_be_too_long_only_where_the_rest_is_kept() -> None:
    # Sparse enough are only the wide ones, which are too slow.
    groups = {
        "model": {**TINY, "width": {"choice": [4, 8]}},
        "sparsity": {"choice": [0.5, 0.9]},
    }
    known = limits(Clock(), max_latency_ms=0.9, min_sparsity=0.9)
    assert refusal(known, Space.parse(groups)) == (
        "no candidate of 100 drawn keeps search.constraints.max_latency_ms 0.9 and search.constraints.min_sparsity "
        "0.9 together: the fastest takes 1 ms."
    )
