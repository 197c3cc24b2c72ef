"""What every kind of layer that multiplies costs, against torch's counter or worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dp_core.cost import CostModel
from dp_core.pruning import Mask, prunable_parameters

SHAPE = (3, 6, 4)  # 24 pixels of three channels, or six rows of twelve numbers


class Sequences(nn.Module):
    """A layer on the pixels as a sequence [N, 24, 3], its last output the logits."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        found = self.layer(images.flatten(2).transpose(1, 2))
        outputs: Tensor = found[0] if isinstance(found, tuple) else found
        return outputs[:, -1]


class Attending(nn.Module):
    """Two learned queries look at the pixels, then at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 2, 4))
        self.across = nn.MultiheadAttention(4, 2, kdim=3, vdim=3, batch_first=True)
        self.within = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(2).transpose(1, 2)
        queries = self.queries.expand(len(images), -1, -1)
        found, _ = self.across(queries, pixels, pixels)
        return self.within(found, found, found, need_weights=False)[0].mean(1)


class Homemade(nn.Module):
    """Parameters of its own in a convolution, an einsum, a product and halves; a token and a scale multiply nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.scale = nn.Parameter(torch.randn(1, 1, 4))
        self.heads = nn.Parameter(torch.randn(2, 4, 5))
        self.halves = nn.Parameter(torch.randn(8, 10))

    def forward(self, images: Tensor) -> Tensor:
        pixels = F.conv2d(images, self.kernel, padding=1).flatten(2).transpose(1, 2)
        tokens = self.scale * torch.cat([self.token.expand(len(images), -1, -1), pixels], dim=1)
        features = torch.einsum("ntc,hcd->nthd", tokens, self.heads).flatten(2)
        first, second = self.halves.to(features.dtype).chunk(2)
        return F.linear(features[:, 0], first) + features[:, 1] @ second.T


def counted_by_torch(model: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter:  # which does not see what is inside fused attention on a CPU
        model.eval()(torch.zeros(1, *SHAPE))
    return counter.get_total_flops()


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 7, batch_first=True)
    return nn.Sequential(nn.Conv2d(3, 6, 2, 2), nn.Flatten(2), nn.Linear(6, 4), nn.TransformerEncoder(layer, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.ConvTranspose2d(3, 6, 3, 2, groups=3),
        lambda: nn.Sequential(nn.Flatten(2), nn.ConvTranspose1d(3, 2, 4, stride=3, output_padding=1)),
        lambda: Sequences(nn.GRU(3, 5, num_layers=2, bidirectional=True, batch_first=True)),
        lambda: Sequences(nn.RNN(3, 5, batch_first=True)),
        Attending,
        Homemade,
        transformer,
    ],
)
def test_flops_are_those_that_torch_counts(make: Callable[[], nn.Module]) -> None:
    model = make()
    cost = CostModel(model, SHAPE)()
    assert cost.flops_dense == cost.flops_remaining == counted_by_torch(model) > 0


def test_recurrent_layers_multiply_every_weight_once_a_step() -> None:
    # 24 steps; four gates of five units on 3 inputs and, behind the projection, 2 of their own; 2 × 5 to project.
    projected = CostModel(Sequences(nn.LSTM(3, 5, proj_size=2, batch_first=True)), SHAPE)()
    assert projected.flops_dense == 2 * 24 * (20 * 3 + 20 * 2 + 2 * 5)
    both_ways = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)
    # Of the second layer's two directions each has the ten outputs of the first.
    assert CostModel(Sequences(both_ways), SHAPE)().flops_dense == 2 * 24 * 2 * (20 * (3 + 5) + 20 * (10 + 5))


def test_a_bilinear_layer_multiplies_every_weight_once_for_each_pair() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Bilinear(4, 4, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images[:, 0], images[:, 1]).flatten(1)

    assert CostModel(Pairs(), SHAPE)().flops_dense == 2 * 6 * (5 * 4 * 4)  # six rows of four pixels


def test_parts_of_a_weight_are_priced_by_their_own_use() -> None:
    # In `across` keys and values are of 24 pixels and queries of two; in `within` all three are of two tokens.
    model = Attending()
    price, ones = CostModel(model, SHAPE), Mask.ones(model)
    assert set(ones) == {f"across.{name}_proj_weight" for name in "qkv"} | {
        "within.in_proj_weight",
        "across.out_proj.weight",
        "within.out_proj.weight",
    }
    scores = 2 * 2 * (2 * 24 * 4)  # in `across`: queries by keys and shares by values, width 4 over all heads
    none = {name: torch.zeros_like(kept) for name, kept in ones.items()}
    assert price(Mask(none)).flops_remaining == scores
    one_key = {**none, "across.k_proj_weight": torch.eye(4, 3, dtype=torch.bool)}
    assert price(Mask(one_key)).flops_remaining == scores + 2 * 3 * 24

    class Across(nn.Module):
        """As `across`, but of equal widths, so that one matrix holds queries, keys and values."""

        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            pixels = images.flatten(2).transpose(1, 2)
            return self.attention(pixels[:, :2], pixels, pixels)[0].mean(1)

    across = Across()
    price = CostModel(across, SHAPE)
    assert price().flops_dense == counted_by_torch(across)
    kept = {name: torch.zeros_like(each) for name, each in Mask.ones(across).items()}
    for row, uses in ((0, 2), (3, 24), (6, 24)):  # a query, a key, a value
        one = {name: each.clone() for name, each in kept.items()}
        one["attention.in_proj_weight"][row, 0] = True
        assert price(Mask(one)).flops_remaining - price(Mask(kept)).flops_remaining == 2 * uses


def test_counting_by_observation_leaves_the_network_as_it_was() -> None:
    model = Attending().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    CostModel(model, SHAPE)
    assert model.training
    assert model.within.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()
    assert len(prunable_parameters(model)) == 6
