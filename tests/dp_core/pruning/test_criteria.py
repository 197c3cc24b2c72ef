"""What holds for every criterion, and magnitude pruning against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from dp_core.pruning import CRITERIA, Mask, keep_highest, shuffle_within_layers
from tests.dp_core.small import same, small_model

EVERY = pytest.mark.parametrize("name", CRITERIA)
sparsities = st.lists(st.floats(0, 0.99), min_size=1, max_size=4).map(sorted)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pruned(name: str, model: nn.Module, mask: Mask, sparsity: float, seed: int = 0) -> Mask:
    return CRITERIA[name](model, mask, sparsity, draw(seed))


@EVERY
@given(sparsities, st.integers(0, 99))
def test_masks_nest_and_have_exactly_the_zeros_asked_for(name: str, rising: list[float], seed: int) -> None:
    model = small_model(seed=seed)
    mask = Mask.ones(model)
    for sparsity in rising:
        before = mask
        mask = pruned(name, model, before, sparsity, seed)
        mask.check(model)
        assert mask.total - mask.kept == round(sparsity * 144)
        assert all((before[key] | ~mask[key]).all() for key in mask), "a removed weight came back"
        model = small_model(seed=seed + 1)  # the weights move between the rounds, and the removed ones are not zero


@EVERY
@given(st.floats(0, 0.99), st.integers(0, 99))
def test_pruning_again_to_the_same_sparsity_changes_nothing(name: str, sparsity: float, seed: int) -> None:
    model = small_model(seed=seed)
    mask = pruned(name, model, Mask.ones(model), sparsity)
    assert same(dict(pruned(name, model, mask, sparsity, seed + 1)), dict(mask))
    assert same(dict(pruned(name, model, mask, mask.sparsity, seed + 1)), dict(mask))


@EVERY
def test_a_criterion_is_deterministic_and_leaves_its_arguments_alone(name: str) -> None:
    model = small_model()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    mask, global_state = Mask.ones(model), torch.get_rng_state()
    assert same(dict(pruned(name, model, mask, 0.5)), dict(pruned(name, model, mask, 0.5)))
    assert same(weights, dict(model.state_dict()))
    assert mask.kept == 144
    assert torch.equal(torch.get_rng_state(), global_state)


@EVERY
def test_a_mask_does_not_become_denser_or_empty(name: str) -> None:
    model = small_model()
    mask = pruned(name, model, Mask.ones(model), 0.5)
    for sparsity in (0.25, 1.0):
        with pytest.raises(ValueError, match="cannot be pruned"):
            pruned(name, model, mask, sparsity)


def test_magnitude_agrees_with_torch_over_rounds_of_iterative_pruning() -> None:
    ours, theirs = small_model(), small_model()
    layers = [(name, m) for name, m in theirs.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    mask = Mask.ones(ours)
    for round_, sparsity in enumerate((0.2, 0.36, 0.488, 0.5904, 0.9, 0.97)):
        trained = draw(round_)
        for name, layer in layers:
            values = torch.randn(layer.weight.shape, generator=trained)  # what training made of the weights
            pruned_before = hasattr(layer, "weight_orig")
            with torch.no_grad():
                ours.get_parameter(f"{name}.weight").copy_(values)
                layer.get_parameter("weight_orig" if pruned_before else "weight").copy_(values)
                if pruned_before:
                    layer.weight.copy_(values * layer.get_buffer("weight_mask"))
        amount = round(sparsity * 144) - (mask.total - mask.kept)
        mask = pruned("magnitude", ours, mask, sparsity)
        prune.global_unstructured([(layer, "weight") for _, layer in layers], prune.L1Unstructured, amount=amount)
        for name, layer in layers:
            assert torch.equal(mask[f"{name}.weight"], layer.get_buffer("weight_mask").bool())


def test_magnitude_compares_over_layers_and_ignores_the_sign() -> None:
    first, second = nn.Linear(3, 1, bias=False), nn.Linear(1, 3, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[-0.5, 0.1, 3.0]]))
        second.weight.copy_(torch.tensor([[-4.0], [0.2], [-0.3]]))
    model = nn.Sequential(first, second)
    found = pruned("magnitude", model, Mask.ones(model), 0.5)
    assert found["0.weight"].tolist() == [[True, False, True]]
    assert found["1.weight"].tolist() == [[True], [False], [False]]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.floats(0, 0.99))
def test_among_equal_scores_the_first_weights_of_the_model_go_first(scores: list[int], sparsity: float) -> None:
    split = len(scores) // 2
    parts = {"a": torch.tensor(scores[:split]), "b": torch.tensor(scores[split:])}
    count = round(sparsity * len(scores))
    assume(count < len(scores))
    mask = keep_highest(parts, Mask({k: torch.ones(len(v), dtype=torch.bool) for k, v in parts.items()}), sparsity)
    removed = sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count]
    assert torch.cat([mask["a"], mask["b"]]).tolist() == [i not in removed for i in range(len(scores))]


def test_random_pruning_is_uniform_over_weights() -> None:
    model = nn.Sequential(nn.Linear(100, 10), nn.Linear(10, 300))
    mask = pruned("random", model, Mask.ones(model), 0.8)
    # 1000 and 3000 weights, 800 kept: 200 ± 11 (one deviation of the hypergeometric) of them in the first layer.
    assert abs(int(mask["0.weight"].sum()) - 200) < 45
    assert not same(dict(mask), dict(pruned("random", model, Mask.ones(model), 0.8, seed=1)))


@given(st.floats(0.05, 0.95), st.integers(0, 99))
def test_shuffling_keeps_the_number_of_weights_in_every_layer(sparsity: float, seed: int) -> None:
    model = small_model(seed=seed)
    mask = pruned("magnitude", model, Mask.ones(model), sparsity)
    shuffled = shuffle_within_layers(mask, draw(seed))
    shuffled.check(model)
    assert {k: int(v.sum()) for k, v in shuffled.items()} == {k: int(v.sum()) for k, v in mask.items()}
    assert same(dict(shuffled), dict(shuffle_within_layers(mask, draw(seed))))


def test_shuffling_moves_the_weights() -> None:
    model = small_model()
    mask = pruned("magnitude", model, Mask.ones(model), 0.5)
    one, other = shuffle_within_layers(mask, draw(1)), shuffle_within_layers(mask, draw(2))
    assert not same(dict(one), dict(mask))
    assert not same(dict(one), dict(other))


def test_a_removed_weight_never_comes_back_whatever_the_scores_of_those_left() -> None:
    mask = Mask({"w": torch.tensor([True, False, True, True])})
    kept = keep_highest({"w": torch.tensor([-torch.inf, 5.0, -torch.inf, 1.0])}, mask, 0.5)
    assert kept["w"].tolist() == [False, False, True, True]


def test_scores_in_double_precision_are_told_apart() -> None:
    scores = torch.tensor([1.0 + 1e-12, 1.0, 1.0 + 2e-12], dtype=torch.float64)
    kept = keep_highest({"w": scores}, Mask({"w": torch.ones(3, dtype=torch.bool)}), 1 / 3)
    assert kept["w"].tolist() == [True, False, True]
