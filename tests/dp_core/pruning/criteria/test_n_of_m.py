from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning import GlobalMagnitude, Mask, NOfM
from tests.dp_core.pruning.criteria.calling import draw, linear_net, no_examples, pruned
from tests.dp_core.small import same


def patterned(criterion: NOfM, model: nn.Module, mask: Mask) -> Mask:
    return criterion(model, mask, criterion.sparsity(mask), draw(), no_examples)


def network() -> nn.Sequential:
    """Return a network of 3·8·9 (not divisible by 4), 8·8·9 and 8·12 weights."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 12))


def test_two_of_four_by_hand() -> None:
    model = linear_net([[0.1, -0.4, 0.3, -0.2, 5.0, 6.0, -7.0, 8.0], [1.0, 1.0, 1.0, 1.0, 0.0, 2.0, 0.0, 0.0]])
    found = patterned(NOfM(2, 4), model, Mask.ones(model))
    # Among equals the first go.
    assert found["0.weight"].int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 0, 1]]
    assert found.sparsity == NOfM(2, 4).sparsity(Mask.ones(model)) == 0.5
    assert patterned(NOfM(1, 4), model, Mask.ones(model))["0.weight"].int().tolist() == [
        [0, 1, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0, 1, 0, 0],
    ]


def test_groups_of_a_convolution_are_input_channels_at_one_kernel_position() -> None:
    model = network()
    found = patterned(NOfM(2, 4), model, Mask.ones(model))
    weight, kept = model.get_parameter("1.weight").detach(), found["1.weight"]
    for out in range(8):
        for row in range(3):
            for column in range(3):
                for first in (0, 4):
                    group = weight[out, first : first + 4, row, column].abs().tolist()
                    highest = sorted(range(4), key=lambda i: group[i])[2:]
                    assert kept[out, first : first + 4, row, column].nonzero().view(-1).tolist() == sorted(highest)
    assert bool(found["0.weight"].all()), "three channels are no multiple of four: dense"
    zeros = (8 * 8 * 9 + 8 * 12) // 2
    assert NOfM(2, 4).sparsity(Mask.ones(model)) == zeros / (3 * 8 * 9 + 8 * 8 * 9 + 8 * 12)


def test_it_agrees_with_counting_the_larger_ones_of_a_group() -> None:
    weight = torch.randn(32, 64, generator=draw())
    model = linear_net(weight.tolist())
    ours = patterned(NOfM(2, 4), model, Mask.ones(model))["0.weight"]
    # An independent formula: a weight stays if fewer than two of its group are larger.
    groups = weight.abs().view(32, 16, 4)
    larger = (groups.unsqueeze(-1) < groups.unsqueeze(-2)).sum(-1)
    assert torch.equal(ours, (larger < 2).view(32, 64))


@given(st.integers(1, 3), st.integers(0, 99), st.floats(0, 0.95))
def test_on_a_sparser_mask_it_keeps_at_most_n_of_what_is_left(kept: int, seed: int, sparsity: float) -> None:
    torch.manual_seed(0)
    model = network()
    before = pruned(GlobalMagnitude(), model, Mask.ones(model), sparsity)
    for name, parameter in model.named_parameters():  # the weights move, and removed ones are not zero
        if name in before:
            parameter.data = torch.randn(parameter.shape, generator=draw(seed))
    criterion = NOfM(kept, 4)
    found = patterned(criterion, model, before)
    assert all((before[name] | ~found[name]).all() for name in found)
    assert found.sparsity == pytest.approx(criterion.sparsity(before))
    left, now = before["3.weight"].view(12, 2, 4).sum(-1), found["3.weight"].view(12, 2, 4).sum(-1)
    assert torch.equal(now, left.clamp(max=kept))
    assert same(dict(patterned(criterion, model, found)), dict(found))


def test_a_removed_weight_does_not_take_the_place_of_a_smaller_one_that_is_left() -> None:
    model = linear_net([[9.0, 8.0, 0.1, 0.0]])
    mask = Mask({"0.weight": torch.tensor([[False, False, True, True]])})
    assert patterned(NOfM(1, 4), model, mask)["0.weight"].tolist() == [[False, False, True, False]]
    assert patterned(NOfM(2, 4), model, mask)["0.weight"].tolist() == [[False, False, True, True]]


def test_another_sparsity_is_refused_with_the_one_that_can_be_had() -> None:
    model = linear_net(torch.ones(2, 8).tolist(), torch.ones(3, 2).tolist())  # 16 weights in groups and 6 others
    with pytest.raises(UserError, match=r"The pattern 2:4 makes this network 0\.3636363636363636\d* sparse, not 0\.5"):
        NOfM(2, 4)(model, Mask.ones(model), 0.5, draw(), no_examples)
    assert NOfM(2, 4)(model, Mask.ones(model), 0.3636, draw(), no_examples).kept == 14  # 8 of 22, to the weight


def test_vectors_and_other_scopes_are_left_as_they_are() -> None:
    model = network()
    vector: Tensor = torch.ones(8, dtype=torch.bool)
    mask = Mask({"1.bias": vector, "3.weight": torch.ones(12, 8, dtype=torch.bool)})
    found = patterned(NOfM(2, 4), model, mask)
    assert list(found) == ["1.bias", "3.weight"]
    assert (bool(found["1.bias"].all()), int(found["3.weight"].sum())) == (True, 48)
