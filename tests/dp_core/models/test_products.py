from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from dp_core.cost.cost import CostModel
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build, check_forward, observe, recorded_products
from dp_core.models.products import record_products
from dp_core.pruning import CRITERIA, Mask, Scope, prunable_parameters

HERE = "tests.dp_core.models.test_products"
SHAPE = (2, 4, 4)


class Recurrence(nn.Module):
    """A recurrent network by hand, on the four rows; its state begins with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Parameter(torch.randn(8, 5))
        self.onward = nn.Parameter(torch.randn(5, 5))
        self.positions = nn.Parameter(torch.randn(4, 8))
        self.gain = nn.Parameter(torch.randn(5, 1))

    def forward(self, images: Tensor) -> Tensor:
        rows = images.transpose(1, 2).flatten(2) + self.positions
        state = torch.zeros(len(images), 5, device=images.device)
        for row in rows.unbind(1):
            state = torch.tanh(state @ self.onward + row @ self.inward)
        return self.gain.T * state


def recurrence(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Recurrence()


class Tied(nn.Module):
    """Words are looked up and scored with the same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 32)
        self.other = nn.Embedding(7, 32)

    def forward(self, images: Tensor) -> Tensor:
        looked_up = self.other(torch.zeros(len(images), dtype=torch.long, device=images.device))
        return F.linear(images.flatten(1) + looked_up, self.words.weight)


def tied(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Tied()


def test_a_users_own_weights_are_prunable_and_what_is_only_added_or_scaled_is_not() -> None:
    model = build(ModelSpec(f"{HERE}:recurrence"), SHAPE, 5, seed=0)
    assert list(prunable_parameters(model)) == ["inward", "onward"]
    assert list(prunable_parameters(model, Scope(("on*",)))) == ["onward"]
    products = recorded_products(model)
    assert products is not None
    assert products.uses == {"inward": 4, "onward": 4}
    assert products.other_flops == 0
    assert Mask.ones(model).total == 8 * 5 + 5 * 5
    assert list(prunable_parameters(build(ModelSpec(f"{HERE}:tied"), SHAPE, 5, seed=0))) == ["words.weight"]


def test_a_network_of_one_kind_is_seen_alike_with_and_without_memory() -> None:
    with torch.device("meta"):
        without = build(ModelSpec("vit", {"depth": 1, "width": 16}), (3, 8, 8), 4, seed=0)
    within = build(ModelSpec("vit", {"depth": 1, "width": 16}), (3, 8, 8), 4, seed=0)
    assert recorded_products(within) == recorded_products(without) == observe(within, (3, 8, 8))
    assert "class_token" not in prunable_parameters(within)


def convolution() -> nn.Conv2d:
    return nn.Conv2d(2, 3, 3)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: parametrizations.weight_norm(convolution()), "weight"),
        (lambda: parametrizations.spectral_norm(convolution()), "weight"),
        (lambda: nn.utils.spectral_norm(convolution()), "weight"),
        (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), "weight"),
        (lambda: prune.random_unstructured(convolution(), "weight", 0.5), "weight"),
        (lambda: parametrizations.weight_norm(nn.MultiheadAttention(4, 1), "in_proj_weight"), "in_proj_weight"),
        (lambda: parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0"), "weight_hh_l0"),
    ],
)
def test_layers_whose_weight_is_computed_are_refused_by_name(layer: Callable[[], nn.Module], name: str) -> None:
    model = nn.Sequential(nn.ReLU(), layer())
    with pytest.raises(UserError, match=rf"^'1\.{name}' \(\w+\) is no parameter but computed from others, .*\.$"):
        prunable_parameters(model)


class Standardised(nn.Conv2d):
    """Weight standardisation (Qiao et al. 2019)."""

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(images, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Parameter(torch.randn(5, 32))
        self.connected: Tensor
        self.register_buffer("connected", torch.ones(5, 32).tril())

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), self.inward * self.connected)


class LowRank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(32, 2)), nn.Parameter(torch.randn(2, 5))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ (self.left @ self.right)


class Filled(nn.Module):
    """Puts a weight together by writing into a tensor of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = nn.Parameter(torch.randn(16, 5)), nn.Parameter(torch.randn(16, 5))

    def forward(self, images: Tensor) -> Tensor:
        whole = images.new_zeros(32, 5)
        whole[:16], whole[16:] = self.upper, self.lower
        return images.flatten(1) @ whole


class Token(nn.Module):
    """Writes a learned token and the images' own into a tensor of zeros, in either order."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first, self.token, self.layer = first, nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(1).unflatten(1, (4, 8))
        whole = images.new_zeros(len(images), 5, 8)
        if self.first:
            whole[:, :1] = self.token
        whole[:, 1:] = tokens
        if not self.first:
            whole[:, :1] = self.token
        answers: Tensor = self.layer(whole)
        return answers.mean(1)


class LearnedKeys(nn.Module):
    """Looks tokens up in a learned memory, by torch's attention, which scales the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Parameter(torch.randn(1, 3, 8)), nn.Parameter(torch.randn(1, 3, 5))

    def forward(self, images: Tensor) -> Tensor:
        keys, values = (memory.expand(len(images), -1, -1) for memory in (self.keys, self.values))
        tokens = images.flatten(1).unflatten(1, (4, 8))
        return F.scaled_dot_product_attention(tokens, keys, values).mean(1)


class InPairs(nn.Module):
    """Takes no single image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        if len(images) < 2:
            raise ValueError("one image is no batch")
        answers: Tensor = self.layer(images.flatten(1))
        return answers


def filled(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Filled()


def learned_keys(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return LearnedKeys()


def in_pairs(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return InPairs()


@pytest.mark.parametrize("first", [True, False])
def test_a_learned_token_that_is_written_beside_images_is_no_weight(first: bool) -> None:
    assert observe(Token(first=first), SHAPE).uses == {"layer.weight": 5}


def test_learned_keys_and_values_of_torchs_attention_are_weights() -> None:
    model = build(ModelSpec(f"{HERE}:learned_keys"), SHAPE, 5, seed=0)
    assert observe(model, SHAPE).uses == {"keys": 4, "values": 4}
    assert list(prunable_parameters(model)) == ["keys", "values"]


def test_a_network_that_takes_no_single_image_is_counted_by_two() -> None:
    model = build(ModelSpec(f"{HERE}:in_pairs"), SHAPE, 5, seed=0)
    assert recorded_products(model) == observe(model, SHAPE)
    assert observe(model, SHAPE).uses == {"layer.weight": 1}
    assert CostModel(model, SHAPE)().flops_dense == 2 * 32 * 5


def standardised(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(Standardised(2, 5, 4), nn.Flatten())


def masked(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Masked()


def low_rank(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return LowRank()


@pytest.mark.parametrize(
    ("function", "name"),
    [("standardised", r"0\.weight"), ("masked", "inward"), ("low_rank", "left"), ("filled", "upper")],
)
def test_weights_that_the_model_changes_before_it_multiplies_are_refused_by_name(function: str, name: str) -> None:
    model = build(ModelSpec(f"{HERE}:{function}"), SHAPE, 5, seed=0)  # to be trained, as a proxy of its kind is
    for network in (model, copy.deepcopy(model)):
        told = rf"'{HERE}:{function}' cannot be pruned: The parameter '{name}' is changed"
        with pytest.raises(UserError, match=told):
            prunable_parameters(network)


def test_low_rank_factors_that_images_pass_one_by_one_are_weights() -> None:
    class OneByOne(LowRank):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) @ self.left @ self.right

    assert observe(OneByOne(), SHAPE).uses == {"left": 1, "right": 1}


def fails(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Linear(7, classes)


def test_a_network_that_fails_on_its_images_is_built_and_told_by_who_looks_at_it() -> None:
    spec = ModelSpec(f"{HERE}:fails")
    model = build(spec, SHAPE, 5, seed=0)
    assert recorded_products(model) is None
    with pytest.raises(UserError, match=r"fails on images of 2×4×4: mat1 and mat2 shapes cannot be multiplied"):
        check_forward(model, spec.label(), SHAPE, 5)


class Spectral(nn.Module):
    """Mixes channels frequency by frequency, with complex weights that come before all others."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(3, 4, 2, 2, dtype=torch.complex64))
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        low = torch.fft.rfft2(images)[:, :, :2, :2]
        mixed = torch.fft.irfft2(torch.einsum("nixy,ioxy->noxy", low, self.mixing), s=images.shape[-2:])
        return self.head(mixed.square().mean((2, 3)))


def test_networks_with_complex_weights_take_real_images() -> None:
    model, images = Spectral(), torch.randn(4, 3, 8, 8)
    check_forward(model, "spectral", (3, 8, 8), 5)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 8, 8))
    record_products(model, (3, 8, 8), "spectral")
    assert CostModel(model, (3, 8, 8))().flops_dense == counter.get_total_flops()
    mask, labels = Mask.ones(model), torch.arange(4)
    assert set(mask) == {"mixing", "head.weight"}
    for name in ("magnitude", "snip", "grasp"):
        pruned = CRITERIA[name](model, mask, 0.5, torch.Generator(), lambda count: (images[:count], labels[:count]))
        assert pruned.kept == mask.total // 2
    with pytest.raises(UserError, match="synflow has no score for networks with complex parameters, such as 'mixing'"):
        CRITERIA["synflow"](model, mask, 0.5, torch.Generator(), lambda count: (images[:count], labels[:count]))
