from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils import prune

from dp_core.errors import UserError
from dp_core.pruning import (
    SNIP,
    Criterion,
    GlobalMagnitude,
    GradualPruning,
    LayerwiseMagnitude,
    Mask,
    NOfM,
    UpdateWindow,
    one_shot,
)
from dp_core.training import Recipe, Training
from tests.dp_core.small import random_data, same, small_model, through_a_file

TOTAL = 20
RECIPE = Recipe(steps=TOTAL, batch_size=6, learning_rate=0.02, schedule="constant", mode="eager")
WINDOW = UpdateWindow(0.1, 0.7, 3)  # after steps 2, 5, 8, 11 and 14


def training(rule: GradualPruning | None, mask: Mask | None = None, norm: str = "batch") -> Training:
    model = small_model(norm)
    return Training(model, random_data(), RECIPE, seed=3, mask=mask or Mask.ones(model), rule=rule)


def zeros(run: Training) -> int:
    return sum(int((~kept).sum()) for kept in run.mask.values())


def test_the_sparsity_follows_the_cubic_schedule() -> None:
    # Zhu & Gupta 2017, equation 1, by hand: after 0, 1/4, 2/4, 3/4 and 4/4 of the window, from 0 to 0.8.
    rule = GradualPruning(0.8, GlobalMagnitude(), WINDOW)
    expected = [0.8 * (1 - left**3) for left in (1, 0.75, 0.5, 0.25, 0)]
    assert [rule.sparsity_after(step, TOTAL) for step in (2, 5, 8, 11, 14)] == pytest.approx(expected)
    assert expected == pytest.approx([0, 0.4625, 0.7, 0.7875, 0.8])
    assert rule.sparsity_after(1, TOTAL) == 0
    assert rule.sparsity_after(20, TOTAL) == pytest.approx(0.8)
    started = GradualPruning(0.9, GlobalMagnitude(), WINDOW, initial=0.5)
    assert started.sparsity_after(8, TOTAL) == pytest.approx(0.9 - 0.4 / 8)


@pytest.mark.parametrize("criterion", [GlobalMagnitude(), LayerwiseMagnitude(), SNIP(images=5)])
def test_after_every_update_as_many_weights_are_gone_and_none_comes_back(criterion: Criterion) -> None:
    run = training(GradualPruning(0.8, criterion, WINDOW))
    expected, before = 0, run.mask
    for step in range(1, TOTAL + 1):
        run.run(1)
        if step in (5, 8, 11, 14):
            left = {5: 0.75, 8: 0.5, 11: 0.25, 14: 0.0}[step]
            expected = round(0.8 * (1 - left**3) * 144)
        assert zeros(run) == expected
        for name, kept in run.mask.items():
            assert not (kept & ~before[name]).any()
            assert not run.model.get_parameter(name)[~kept].any()
        before = run.mask


def test_what_goes_is_what_torchs_own_pruning_takes() -> None:
    pruned, plain = training(one_shot(0.7, GlobalMagnitude(), at=0.4)), training(None)
    pruned.run(8)
    plain.run(8)
    layers = [
        (module, "weight") for module in plain.model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=round(0.7 * 144))
    names = {id(module): name for name, module in plain.model.named_modules()}
    expected = {f"{names[id(module)]}.weight": module.get_buffer("weight_mask").bool() for module, _ in layers}
    assert same(pruned.mask, expected)
    before = pruned.mask
    pruned.run()
    assert same(pruned.mask, before)  # once and no more


def test_a_pattern_is_reached_over_looser_ones() -> None:
    criterion = NOfM(1, 4)
    model = small_model()
    goal = criterion.sparsity(Mask.ones(model))
    assert goal > 0
    run = training(GradualPruning(goal, criterion, WINDOW))
    # The first layer has one input channel, which no group of four divides; the second has 36 inputs.
    per_group = []
    for _ in range(TOTAL):
        run.run(1)
        linear = run.mask["classifier.weight"]
        assert run.mask[next(iter(run.mask))].all()
        per_group.append(int(linear.view(3, 9, 4).sum(-1).max()))
    assert per_group[-1] == 1
    assert [count for count in (4, 3, 2, 1) if count in per_group] == [4, 3, 2, 1]
    assert zeros(run) == round(goal * 144) == 3 * 9 * 3


def test_a_training_goes_on_bit_for_bit_wherever_it_stopped() -> None:
    whole = training(GradualPruning(0.8, SNIP(images=5), WINDOW))
    whole.run()
    for stop in (1, 2, 5, 7, 14, 19):
        first, second = (training(GradualPruning(0.8, SNIP(images=5), WINDOW)) for _ in range(2))
        first.run(stop)
        second.run(16)  # what it did before does not count, not even where weights were already gone
        second.load_state_dict(through_a_file(first.state_dict()))
        second.run()
        assert same(second.state_dict(), whole.state_dict())
        assert same(second.mask, whole.mask)


def test_images_that_a_criterion_looks_at_are_counted() -> None:
    run = training(GradualPruning(0.8, SNIP(images=5), WINDOW))
    run.run(7)
    assert run.image_gradients == 7 * 6 + 2 * 5
    run.run()
    assert run.image_gradients == 20 * 6 + 5 * 5
    free = training(GradualPruning(0.8, GlobalMagnitude(), WINDOW))
    free.run()
    assert free.image_gradients == 20 * 6


def test_it_goes_on_from_a_mask() -> None:
    model = small_model()
    mask = GlobalMagnitude()(model, Mask.ones(model), 0.5, torch.Generator(), lambda count: pytest.fail("no images"))
    run = training(GradualPruning(0.9, GlobalMagnitude(), WINDOW, initial=mask.sparsity), mask)
    assert zeros(run) == 72
    run.run(5)
    assert zeros(run) == round((0.9 - 0.4 * 0.75**3) * 144)
    run.run()
    assert zeros(run) == round(0.9 * 144)
    assert all(not (kept & ~mask[name]).any() for name, kept in run.mask.items())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sparsity": 0.5, "initial": 0.5}, "goes up in sparsity, not from 0.5 to 0.5"),
        ({"sparsity": 0.5, "initial": 0.8}, "goes up in sparsity, not from 0.8 to 0.5"),
        ({"sparsity": 1.0}, "above 0 and below 1, not 0 or 1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        GradualPruning(criterion=GlobalMagnitude(), window=WINDOW, **settings)


@pytest.mark.parametrize("at", [0.0, 1.0, -1.0, 2.0])
def test_one_shot_pruning_has_training_before_and_after_it(at: float) -> None:
    with pytest.raises(UserError, match="above 0 and below 1"):
        one_shot(0.5, GlobalMagnitude(), at=at)
