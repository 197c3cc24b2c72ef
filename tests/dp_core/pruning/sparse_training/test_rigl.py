from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dp_core.errors import UserError
from dp_core.pruning import ErdosRenyiKernel, Mask, RigL, UpdateWindow, no_examples
from dp_core.training import Recipe, Training
from tests.dp_core.small import random_data, same, small_model, through_a_file

TOTAL = 20
WINDOW = UpdateWindow(0.1, 0.8, 4)  # after steps 2, 6, 10 and 14; the one at 16 moves nothing
RULE = RigL(WINDOW, alpha=0.4)


def start() -> Mask:
    model = small_model()
    return ErdosRenyiKernel()(model, Mask.ones(model), 0.6, torch.Generator().manual_seed(1), no_examples)


def training(rule: RigL | None = RULE, mask: Mask | None = None, **recipe: Any) -> Training:
    settings: dict[str, Any] = {"learning_rate": 0.02, "schedule": "constant", "mode": "eager", **recipe}
    model = small_model()
    recipe_ = Recipe(steps=TOTAL, batch_size=6, **settings)
    return Training(model, random_data(), recipe_, seed=3, mask=mask or start(), rule=rule)


def counts(run: Training) -> list[int]:
    return [int(kept.sum()) for kept in run.mask.values()]


def test_the_share_that_moves_follows_half_a_cosine() -> None:
    for step, share in ((2, 0.4), (9, 0.2), (16, 0.0)):
        assert RULE.share_after(step, TOTAL) == pytest.approx(share)
    assert RULE.share_after(6, TOTAL) == pytest.approx(0.2 * (1 + math.cos(math.pi * 4 / 14)))
    assert [step for step in range(1, TOTAL + 1) if RULE.is_due(step, TOTAL)] == [2, 6, 10, 14]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_drops_small_weights_and_grows_those_of_large_dense_gradients(optimizer: str) -> None:
    run = training(optimizer=optimizer)
    run.run(5)
    before, images = run.mask, run.prepare_step()
    # The dense gradient of the sixth step, of a copy that nothing but autograd has to do with.
    model = copy.deepcopy(run.model).train()
    loss = F.cross_entropy(model(images[0]), images[1])
    gradients = dict(
        zip(before, torch.autograd.grad(loss, [model.get_parameter(name) for name in before]), strict=True)
    )
    plain = training(rule=None, mask=Mask(before), optimizer=optimizer)
    plain.load_state_dict(run.state_dict())
    plain.run(1)  # where the weights are when the rule looks at them
    run.run(1)
    share = 0.2 * (1 + math.cos(math.pi * 4 / 14))
    moved = 0
    for name, kept in before.items():
        weights = plain.model.get_parameter(name).detach().numpy().ravel()
        there = np.flatnonzero(kept.numpy().ravel())
        number = min(round(share * len(there)), kept.numel() - len(there))
        stay = there[np.argsort(np.abs(weights[there]), kind="stable")[number:]]
        others = np.setdiff1d(np.arange(kept.numel()), stay)
        gradient = gradients[name].numpy().ravel()[others]
        grown = others[np.argsort(np.abs(gradient), kind="stable")[len(others) - number :]]
        expected = np.zeros(kept.numel(), bool)
        expected[stay] = expected[grown] = True
        assert np.array_equal(run.mask[name].numpy().ravel(), expected)
        moved += int((expected & ~kept.numpy().ravel()).sum())
        now = run.model.get_parameter(name).detach().numpy().ravel()
        assert not now[expected & ~kept.numpy().ravel()].any()  # what is new begins at zero
        assert np.array_equal(now[stay], weights[stay])
    assert moved > 0


def test_layers_keep_their_number_of_weights_and_removed_ones_are_zero() -> None:
    run = training()
    numbers, masks = counts(run), []
    for _ in range(TOTAL):
        run.run(1)
        assert counts(run) == numbers
        assert all(not run.model.get_parameter(name)[~kept].any() for name, kept in run.mask.items())
        masks.append(run.mask)
    changes = [
        step
        for step in range(1, TOTAL + 1)
        if not same(masks[step - 1], masks[step - 2] if step > 1 else dict(start()))
    ]
    assert changes == [2, 6, 10]  # the one weight a layer that the update at 14 drops is grown again at once


def test_new_weights_have_no_momentum_but_what_is_known_of_their_gradients() -> None:
    run = training(optimizer="adamw")
    run.run(5)
    before = run.mask
    run.run(1)
    for name, kept in run.mask.items():
        state = run.optimizer.state[run.model.get_parameter(name)]
        grown = kept & ~before[name]
        assert not state["exp_avg"][grown].any()
        assert (state["exp_avg_sq"][grown] > 0).all()
        assert state["exp_avg"][kept & before[name]].any()


def test_a_training_goes_on_bit_for_bit_wherever_it_stopped() -> None:
    whole = training()
    whole.run()
    for stop in (1, 2, 3, 6, 13, 14, 19):
        first, second = training(), training()
        first.run(stop)
        second.run(11)
        second.load_state_dict(through_a_file(first.state_dict()))
        second.run()
        assert same(second.state_dict(), whole.state_dict())


def test_a_layer_that_keeps_everything_or_nothing_stays_as_it_is() -> None:
    model = small_model()
    names = list(Mask.ones(model))
    mask = Mask(
        {
            names[0]: torch.ones(model.get_parameter(names[0]).shape, dtype=torch.bool),
            names[1]: torch.zeros(model.get_parameter(names[1]).shape, dtype=torch.bool),
        }
    )
    run = training(mask=mask)
    run.run()
    assert same(run.mask, dict(mask))


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.3])
def test_a_share_that_cannot_be_is_refused(alpha: float) -> None:
    with pytest.raises(UserError, match="alpha of the weights above 0 and below 1"):
        RigL(WINDOW, alpha)
