from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning import Mask
from dp_core.stability import Connectivity, interpolate
from dp_core.training import TrainingData, evaluate
from tests.dp_core.small import CLASSES, copy_of, random_data, same, small_model

values = st.floats(0, 10)


def linear(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))


def test_losses_on_the_way_between_two_linear_models_are_those_of_numpy() -> None:
    data, one, other = random_data(), linear(0), linear(1)
    found = interpolate(linear(2), one.state_dict(), other.state_dict(), data, points=5, batch_size=7)
    assert list(found.positions) == [0, 0.25, 0.5, 0.75, 1]
    x, labels = data.images.flatten(1).double().numpy(), data.labels.numpy()
    for position, loss, error in zip(found.positions, found.losses, found.errors, strict=True):
        weight, bias = (
            (1 - position) * a.detach().double().numpy() + position * b.detach().double().numpy()
            for a, b in zip(one.parameters(), other.parameters(), strict=True)
        )
        logits = x @ weight.T + bias
        assert loss == pytest.approx(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(20), labels]), rel=1e-5)
        assert error == pytest.approx(np.mean(logits.argmax(1) != labels))
    # Cross-entropy is convex in the weights of a linear model: nowhere higher than at the worse end.
    assert found.loss_barrier == pytest.approx(abs(found.losses[0] - found.losses[-1]) / 2)


def test_swapping_two_hidden_units_gives_the_same_network_behind_a_barrier() -> None:
    # relu(x) - relu(-x) = x, so the logits are (0, ±4). Half way both units have weight 0: the logits are (0, 0) and
    # class 0 is predicted, which half of the labels are.
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    one = {"1.weight": torch.tensor([[1.0], [-1.0]]), "3.weight": torch.tensor([[0.0, 0.0], [4.0, -4.0]])}
    other = {"1.weight": one["1.weight"].flip(0), "3.weight": one["3.weight"].flip(1)}
    data = TrainingData(torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1), torch.tensor([1, 0, 1, 0]))
    found = interpolate(model, one, other, data, points=3)
    assert list(found.errors) == [0, 0.5, 0]
    assert found.error_barrier == 0.5
    assert found.losses[0] == found.losses[2] == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)
    assert found.loss_barrier == pytest.approx(math.log(2) - math.log1p(math.exp(-4)), rel=1e-5)


@pytest.mark.parametrize("reestimated", [True, False])
def test_a_network_is_connected_with_itself(reestimated: bool) -> None:
    model, data = small_model("batch"), random_data()
    own = model.state_dict()
    found = interpolate(model, own, own, data, points=4, statistics=data if reestimated else None)
    assert len(set(found.losses)) == len(set(found.errors)) == 1
    assert (found.loss_barrier, found.error_barrier) == (0, 0)


@given(st.lists(values, min_size=2, max_size=6))
def test_a_barrier_is_never_below_half_the_difference_of_the_ends(losses: list[float]) -> None:
    found = Connectivity(tuple(range(len(losses))), tuple(losses), tuple(losses))
    assert found.loss_barrier >= abs(losses[0] - losses[-1]) / 2 - 1e-12
    assert found.loss_barrier == pytest.approx(max(losses) - np.mean([losses[0], losses[-1]]), abs=1e-12)


def test_a_loss_that_is_not_a_number_is_not_overlooked() -> None:
    assert math.isnan(Connectivity((0, 0.5, 1), (1, math.nan, 2), (0, 0, 0)).loss_barrier)


@settings(max_examples=15, deadline=None)
@given(density=st.floats(0, 1), seed=st.integers(0, 5))
def test_the_line_keeps_the_mask_of_its_ends(density: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    mask = Mask({n: torch.rand(m.shape, generator=draw) < density for n, m in Mask.ones(small_model()).items()})
    one, other = small_model("none", seed=1), small_model("none", seed=2)
    for model in (one, other):
        mask.apply_(model)
    seen: list[dict[str, Tensor]] = []
    watched = small_model("none", seed=3)
    watched.register_forward_hook(lambda module, inputs, output: seen.append(copy_of(module)))
    interpolate(watched, one.state_dict(), other.state_dict(), random_data(), points=4)
    assert len(seen) == 4
    assert all(not state[name][~kept].any() for state in seen for name, kept in mask.items())
    assert same(seen[0], copy_of(one))
    assert same(seen[-1], copy_of(other))


def test_without_images_for_them_running_statistics_are_interpolated_and_counters_the_first_states() -> None:
    one, other, data = small_model("batch", seed=1), small_model("batch", seed=2), random_data()
    for model, passes in ((one, 1), (other, 3)):
        for _ in range(passes):
            model.train()(data.images)
    seen: list[dict[str, Tensor]] = []
    watched = small_model("batch", seed=3)
    watched.register_forward_hook(lambda module, inputs, output: seen.append(copy_of(module)))
    interpolate(watched, one.state_dict(), other.state_dict(), data, points=5)
    for name, value in seen[1].items():
        first, second = one.state_dict()[name], other.state_dict()[name]
        assert torch.allclose(value, 0.75 * first + 0.25 * second) if value.is_floating_point() else value == 1


def test_ends_with_statistics_of_the_data_equal_a_network_that_normalises_by_batch() -> None:
    # All images in one batch: the network in training mode normalises by the same mean, but by the biased variance.
    one, other, data = small_model("batch", seed=1), small_model("batch", seed=2), random_data(40)
    found = interpolate(one, one.state_dict(), other.state_dict(), data, points=2, statistics=data)
    for loss, model in zip(found.losses, (one, other), strict=True):
        with torch.no_grad():
            in_training = float(nn.functional.cross_entropy(model.train()(data.images), data.labels))
        assert loss == pytest.approx(in_training, rel=2e-3)  # n / (n - 1) with n = 40 · 36
        assert abs(evaluate(model, data, precision="float32").loss - in_training) > 0.01


@pytest.mark.parametrize("reestimated", [True, False])
def test_the_model_may_be_an_end_itself_and_stays_what_it_was(reestimated: bool) -> None:
    model, other, data = small_model("batch").train(), small_model("batch", seed=1), random_data()
    before, end = copy_of(model), evaluate(model, data, precision="float32").loss
    found = interpolate(
        model, other.state_dict(), model.state_dict(), data, points=3, statistics=data if reestimated else None
    )
    assert same(copy_of(model), before)
    assert model.training
    assert (found.losses[-1] == end) is not reestimated


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("classifier.bias"), "The second state is of another model: it has no 'classifier.b"),
        (lambda state: state.update(classifier_bias=torch.zeros(3)), "has no 'classifier_bias'. Did you mean 'classi"),
        (lambda state: state.update({"classifier.bias": torch.zeros(4)}), r"is \[4\] and in the model \[3\]"),
    ],
)
def test_a_state_of_another_model_is_a_mistake(change: Callable[[dict[str, Tensor]], object], text: str) -> None:
    model, state = small_model(), copy_of(small_model())
    change(state)
    with pytest.raises(UserError, match=text):
        interpolate(model, model.state_dict(), state, random_data())


def test_other_mistakes_are_told() -> None:
    model = small_model()
    with pytest.raises(UserError, match="at least 2 points, not 1"):
        interpolate(model, model.state_dict(), model.state_dict(), random_data(), points=1)
    with pytest.raises(UserError, match="as many labels as images"):
        interpolate(model, model.state_dict(), model.state_dict(), random_data(0))
