from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dp_core.pruning import ErdosRenyiKernel, GlobalMagnitude, Mask, UniformRandom, shuffle_within_layers
from tests.dp_core.pruning.criteria.calling import draw, kept_counts, pruned
from tests.dp_core.small import same, small_model


def test_random_pruning_is_uniform_over_weights() -> None:
    model = nn.Sequential(nn.Linear(100, 10), nn.Linear(10, 300))
    mask = pruned(UniformRandom(), model, Mask.ones(model), 0.8)
    # 1000 and 3000 weights, 800 kept: 200 ± 11 (one deviation of the hypergeometric) of them in the first layer.
    assert abs(int(mask["0.weight"].sum()) - 200) < 45
    assert not same(dict(mask), dict(pruned(UniformRandom(), model, Mask.ones(model), 0.8, seed=1)))


def test_erdos_renyi_densities_worked_out_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32, 10))
    # Sizes 432, 4608, 320 (5360 in all); sums of shapes 3+16+3+3 = 25, 16+32+3+3 = 54, 32+10 = 42, together 121.
    # Sparsity 0.9 keeps 536, so ε = 536 / 121 = 4.43: 110.7, 239.2, 186.0.
    mask = pruned(ErdosRenyiKernel(), model, Mask.ones(model), 0.9)
    assert kept_counts(mask) == [111, 239, 186]
    # Sparsity 0.8 keeps 1072, ε = 8.86: 221.5, 478.4, 372.1 > 320. The last layer is dense, and of the
    # 752 left the others get 752 · 25/79 = 237.97 and 752 · 54/79 = 514.03.
    assert kept_counts(pruned(ErdosRenyiKernel(), model, Mask.ones(model), 0.8)) == [238, 514, 320]
    # Sparsity 0.5 keeps 2680: last layer dense, then 2360 · 25/79 = 746.8 > 432, so the first is dense as well.
    assert kept_counts(pruned(ErdosRenyiKernel(), model, Mask.ones(model), 0.5)) == [432, 1928, 320]


def test_pruning_in_rounds_comes_to_the_same_densities() -> None:
    model = nn.Sequential(nn.Linear(50, 40), nn.Linear(40, 10))
    mask = Mask.ones(model)
    for sparsity in (0.3, 0.6, 0.9):
        mask = pruned(ErdosRenyiKernel(), model, mask, sparsity)
    assert kept_counts(mask) == kept_counts(pruned(ErdosRenyiKernel(), model, Mask.ones(model), 0.9)) == [154, 86]


def test_within_a_layer_every_weight_is_as_likely_to_stay() -> None:
    model = nn.Sequential(nn.Linear(4, 5))
    times = sum(pruned(ErdosRenyiKernel(), model, Mask.ones(model), 0.5, seed)["0.weight"].int() for seed in range(400))
    assert isinstance(times, torch.Tensor)
    assert int(times.sum()) == 4000
    assert (times - 200).abs().max() < 50  # one deviation is √(400 / 4) = 10


@given(st.floats(0.05, 0.95), st.integers(0, 99))
def test_shuffling_keeps_the_number_of_weights_in_every_layer(sparsity: float, seed: int) -> None:
    model = small_model(seed=seed)
    mask = pruned(GlobalMagnitude(), model, Mask.ones(model), sparsity)
    shuffled = shuffle_within_layers(mask, draw(seed))
    shuffled.check(model)
    assert kept_counts(shuffled) == kept_counts(mask)
    assert same(dict(shuffled), dict(shuffle_within_layers(mask, draw(seed))))


def test_shuffling_moves_the_weights() -> None:
    model = small_model()
    mask = pruned(GlobalMagnitude(), model, Mask.ones(model), 0.5)
    one, other = shuffle_within_layers(mask, draw(1)), shuffle_within_layers(mask, draw(2))
    assert not same(dict(one), dict(mask))
    assert not same(dict(one), dict(other))


@pytest.mark.parametrize("criterion", [UniformRandom(), ErdosRenyiKernel()])
def test_the_weights_do_not_matter(criterion: UniformRandom | ErdosRenyiKernel) -> None:
    mask = Mask.ones(small_model())
    found = [pruned(criterion, small_model(seed=seed), mask, 0.7, seed=5) for seed in (0, 1)]
    assert same(dict(found[0]), dict(found[1]))
