from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning import Mask
from dp_core.stability import loss_slice
from dp_core.stability.landscape import filter_normalised_direction
from dp_core.training import evaluate
from tests.dp_core.small import CLASSES, copy_of, random_data, same, small_model


def half_mask(model: nn.Module) -> Mask:
    draw = torch.Generator().manual_seed(3)
    mask = {name: torch.rand(m.shape, generator=draw) < 0.5 for name, m in Mask.ones(model).items()}
    mask["blocks.0.weight"][1] = False  # a filter without weights
    return Mask(mask)


@pytest.mark.parametrize("masked", [True, False])
def test_every_filter_of_a_direction_is_as_long_as_the_networks(masked: bool) -> None:
    model = small_model("batch")
    mask = half_mask(model) if masked else None
    if mask is not None:
        mask.apply_(model)
    direction = filter_normalised_direction(model, 0, 0, mask=mask)
    assert direction.keys() == {"blocks.0.weight", "classifier.weight"}  # neither biases nor norm
    for name, tensor in direction.items():
        ours, theirs = tensor.numpy(), model.state_dict()[name].numpy()
        np.testing.assert_allclose(
            [np.sqrt((row**2).sum()) for row in ours], [np.sqrt((row**2).sum()) for row in theirs], rtol=1e-5
        )
        if mask is not None:
            assert not ours[~mask[name].numpy()].any()


def test_directions_follow_from_seed_and_axis_and_are_nearly_orthogonal() -> None:
    model = nn.Linear(10_000, 1)
    a, b, c, again = (
        filter_normalised_direction(model, seed, axis)["weight"].flatten()
        for seed, axis in ((0, 0), (0, 1), (1, 0), (0, 0))
    )
    assert torch.equal(a, again)
    for one, other in ((a, b), (a, c)):
        assert abs(float(torch.cosine_similarity(one, other, dim=0))) < 0.05  # 5 standard deviations


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_centre_is_the_network_and_the_network_stays_there(norm: str) -> None:
    model, data = small_model(norm).train(), random_data()
    model(data.images)
    before = copy_of(model)
    found = loss_slice(model, data, seed=0, extent=0.5, points=5)
    assert list(found.offsets) == [-0.5, -0.25, 0, 0.25, 0.5]
    centre = evaluate(model, data, precision="float32")
    assert found.losses[2, 2] == centre.loss
    assert found.errors[2, 2] == 1 - centre.accuracy
    assert len(set(found.losses.flatten().tolist())) == 25
    assert same(copy_of(model), before)
    assert model.training


def test_losses_around_a_linear_model_are_those_of_numpy() -> None:
    data = random_data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    found = loss_slice(model, data, seed=4, extent=2, points=3)
    first, second = (filter_normalised_direction(model, 4, axis)["1.weight"].double().numpy() for axis in (0, 1))
    x, labels = data.images.flatten(1).double().numpy(), data.labels.numpy()
    weight, bias = (p.detach().double().numpy() for p in model[1].parameters())
    for i, along_first in enumerate((-2, 0, 2)):
        for j, along_second in enumerate((-2, 0, 2)):
            logits = x @ (weight + along_first * first + along_second * second).T + bias
            loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(20), labels])
            assert float(found.losses[i, j]) == pytest.approx(loss, rel=1e-5)
            assert float(found.errors[i, j]) == pytest.approx(np.mean(logits.argmax(1) != labels))


def test_a_slice_does_not_depend_on_the_scale_of_weights_that_a_norm_takes_out() -> None:
    # Why filters are normalised (Li et al. 2018, §3): the network computes the same when these weights are 8 times
    # as large, and without normalisation it would look flatter.
    data, model = random_data(40), small_model("batch")
    one = loss_slice(model, data, seed=0, points=5, statistics=data)
    with torch.no_grad():
        model.get_parameter("blocks.0.weight").mul_(8)
    other = loss_slice(model, data, seed=0, points=5, statistics=data)
    assert torch.allclose(one.losses, other.losses, rtol=1e-3)
    assert one.losses.max() > 1.1 * one.losses.min()


def test_a_mask_confines_the_slice() -> None:
    model, data = small_model("none"), random_data()
    nothing = Mask({name: torch.zeros_like(kept) for name, kept in Mask.ones(model).items()})
    assert loss_slice(model, data, seed=0, points=3, mask=nothing).losses.unique().numel() == 1
    one_left = dict(nothing) | {"classifier.weight": nothing["classifier.weight"].clone()}
    one_left["classifier.weight"][0, 0] = True
    assert loss_slice(model, data, seed=0, points=3, mask=one_left).losses.unique().numel() > 1


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"points": 1}, "odd number of points, of at least 3, not 1"),
        ({"points": 4}, "not 4"),
        ({"extent": 0.0}, "extent above 0, not 0.0"),
        ({"mask": {"classifer.weight": torch.ones(1)}}, "Did you mean 'classifier.weight'"),
        ({"mask": {"classifier.weight": torch.ones(1)}}, r"is \[3, 36\] in the model and \[1\] in the mask"),
    ],
)
def test_mistakes_are_told(settings: dict, text: str) -> None:
    with pytest.raises(UserError, match=text):
        loss_slice(small_model(), random_data(), seed=0, **settings)
