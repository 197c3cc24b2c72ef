from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.kernels import block_library
from dp_core.kernels.block import BlockSettings, Convolution, Norm, Pool, _Call, block

pytestmark = pytest.mark.usefixtures("kernels")

NORMS = ("none", "one group", "groups", "instance", "batch", "layer", "fixed")
ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "identity": (nn.Identity, {}),
    "relu": (nn.ReLU, {"slope": 0.0}),
    "leaky": (lambda: nn.LeakyReLU(0.1), {"slope": 0.1}),
    "sigmoid": (nn.Sigmoid, {"sigmoid": True}),
}
POOLS: dict[str, tuple[Callable[[], nn.Module], Pool]] = {
    "none": (nn.Identity, Pool.WHOLE),
    "max": (lambda: nn.MaxPool2d(2), Pool.MAX),
    "average": (lambda: nn.AvgPool2d(2), Pool.AVERAGE),
}
PLAIN = Convolution((1, 1), (1, 1), (1, 1), 1)
EPS = 1e-3

# One rounding to bfloat16 (8 bits of mantissa) is off by at most half a unit in the last place, 2^-9 of the value. What
# is rounded comes from float32 sums, so that now and then it is the neighbour: 2^-8.
BFLOAT16 = 2.0**-8


@dataclass(frozen=True)
class Case:
    norm: str
    activation: str
    pool: str
    convolution: Convolution | None = None
    dtype: torch.dtype = torch.float32


@dataclass
class Tensors:
    """A block's arguments, and by the same names the gradients in them."""

    images: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    gamma: Tensor | None = None
    beta: Tensor | None = None
    statistics: tuple[Tensor, Tensor] | None = None

    @property
    def differentiable(self) -> dict[str, Tensor]:
        found = {name: vars(self)[name] for name in ("images", "weight", "bias", "gamma", "beta")}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def copy(self, dtype: torch.dtype) -> Tensors:
        """Return leaves of `dtype` with the same values."""
        values = {
            name: tensor.detach().to(dtype, copy=True).requires_grad_() for name, tensor in self.differentiable.items()
        }
        statistics = None if self.statistics is None else (self.statistics[0].to(dtype), self.statistics[1].to(dtype))
        return Tensors(**{"images": None, **values}, statistics=statistics)


def groups_of(case: Case, channels: int) -> int:
    several = next((count for count in (4, 3, 2) if channels % count == 0 and count < channels), 1)
    return {"groups": several, "instance": channels}.get(case.norm, 1)


def draw(case: Case, shape: tuple[int, int, int, int], outputs: int = 0, kernel: int = 3, seed: int = 0) -> Tensors:
    """Return random arguments; of a convolution with `outputs` channels, if the case has one."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    tensors = Tensors(normal(*shape).to(case.dtype).contiguous(memory_format=torch.channels_last))
    inner = torch.Size(shape)
    if (how := case.convolution) is not None:
        tensors.weight = 0.3 * normal(outputs, shape[1] // how.groups, kernel, kernel)
        tensors.bias = normal(outputs)
        geometry = how.stride, how.padding, how.dilation, how.groups
        inner = F.conv2d(torch.empty(shape, device="meta"), tensors.weight.to("meta"), None, *geometry).shape
    if case.norm != "none":
        size = inner[1:] if case.norm == "layer" else inner[1:2]
        tensors.gamma, tensors.beta = 1 + 0.5 * normal(*size), 0.5 * normal(*size)  # some gammas are negative
    if case.norm == "fixed":
        tensors.statistics = 0.3 * normal(inner[1]), 0.5 + torch.rand(inner[1], generator=generator)
    return tensors


def settings_of(case: Case, channels: int) -> BlockSettings:
    norms = {"none": Norm.NONE, "batch": Norm.BATCH, "layer": Norm.ELEMENTWISE, "fixed": Norm.FIXED}
    kind, pool = norms.get(case.norm, Norm.GROUPS), POOLS[case.pool][1]
    how = ACTIVATIONS[case.activation][1]
    return BlockSettings(case.convolution, norm=kind, groups=groups_of(case, channels), eps=EPS, pool=pool, **how)


def run_block(case: Case, tensors: Tensors) -> tuple[Tensor, Tensor | None]:
    assert tensors.images is not None
    channels = len(tensors.weight) if tensors.weight is not None else tensors.images.shape[1]
    return block(**vars(tensors), settings=settings_of(case, channels))


def argument(case: Case, tensors: Tensors) -> Tensor:
    """Return what the activation is applied to, by plain torch."""
    inner = tensors.images
    assert inner is not None
    if (how := case.convolution) is not None:
        assert tensors.weight is not None
        weight, bias = tensors.weight, tensors.bias
        if case.dtype == torch.bfloat16:
            assert bias is not None
            weight, bias = rounded(weight), rounded(bias)
        inner = F.conv2d(inner, weight, bias, how.stride, how.padding, how.dilation, how.groups)
        inner = rounded(inner) if case.dtype == torch.bfloat16 else inner
    affine = tensors.gamma, tensors.beta
    if case.norm == "none":
        return inner
    if case.norm == "layer":
        return F.layer_norm(inner, inner.shape[1:], *affine, EPS)
    if case.norm == "batch":
        return F.batch_norm(inner, None, None, *affine, training=True, eps=EPS)
    if case.norm == "fixed":
        assert tensors.statistics is not None
        return F.batch_norm(inner, *tensors.statistics, *affine, training=False, eps=EPS)
    return F.group_norm(inner, groups_of(case, inner.shape[1]), *affine, EPS)


def run_torch(case: Case, tensors: Tensors) -> Tensor:
    output: Tensor = POOLS[case.pool][0]()(ACTIVATIONS[case.activation][0]()(argument(case, tensors)))
    return output


def rounded(values: Tensor) -> Tensor:
    """Round to bfloat16; the gradient passes as it is."""
    return values + (values.detach().bfloat16().to(values.dtype) - values.detach())


def compare(case: Case, tensors: Tensors) -> None:
    """Compare output and gradients with those of torch in float64, from the very same numbers."""
    ours, theirs = tensors.copy(torch.float32), tensors.copy(torch.float64)
    assert tensors.images is not None
    ours.images = tensors.images.detach().requires_grad_()
    output, _ = run_block(case, ours)
    expected = run_torch(case, theirs)
    assert output.dtype == case.dtype
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9)).to(case.dtype)
    output.backward(gradient)
    expected.backward(gradient.double())
    pairs = {"output": (output.detach(), expected.detach())}
    for name, tensor in ours.differentiable.items():
        assert tensor.grad is not None, name
        assert tensor.grad.dtype == tensor.dtype
        pairs[name] = tensor.grad, theirs.differentiable[name].grad  # type: ignore[assignment]
    for name, (found, wanted) in pairs.items():
        assert found.shape == wanted.shape
        error, size = found.double() - wanted, wanted.abs()
        # In float32 everything is exact up to the rounding of sums of a few hundred terms, relative to the largest. A
        # bias before a norm has a gradient of zero, summed from what also makes up the weight's.
        scale = pairs["weight"][1].abs().max() if name == "bias" else size.max()
        allowed = 2e-5 * float(scale) + 2e-6
        if case.dtype == torch.bfloat16 and case.convolution is not None:
            # The output is rounded twice and every gradient passes two bfloat16 tensors (the convolution's output and
            # its gradient): as a whole, and not element by element, it is right to twice one rounding.
            assert float(error.norm()) <= 2 * BFLOAT16 * float(wanted.norm()) + 1e-5, name
        elif case.dtype == torch.bfloat16 and name in ("output", "images"):
            assert (error.abs() <= BFLOAT16 * size + allowed).all(), name
        else:
            assert (error.abs() <= allowed).all(), (name, float(error.abs().max()), allowed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("convolved", [False, True])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_output_and_gradients_are_those_of_torch(
    norm: str, activation: str, pool: str, convolved: bool, dtype: torch.dtype
) -> None:
    case = Case(norm, activation, pool, PLAIN if convolved else None, dtype)
    compare(case, draw(case, (3, 12, 5, 7), outputs=20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [1, 3, 16, 17, 24, 48, 64, 72, 130])
def test_any_number_of_channels_and_any_image_will_do(channels: int, dtype: torch.dtype) -> None:
    for (height, width), norm, pool in itertools.product(
        ((2, 2), (4, 6), (3, 2), (5, 7), (2, 9)), ("none", "groups", "instance", "batch", "layer"), POOLS
    ):
        case = Case(norm, "leaky", pool, None, dtype)
        compare(case, draw(case, (2, channels, height, width), seed=channels))


@pytest.mark.parametrize("norm", ["none", "one group", "batch", "layer", "fixed"])
@pytest.mark.parametrize("channels", [3, 40])
def test_images_of_one_pixel(norm: str, channels: int) -> None:
    for convolution in (None, PLAIN):
        case = Case(norm, "leaky", "none", convolution)
        compare(case, draw(case, (4, channels, 1, 1), outputs=24))


@pytest.mark.parametrize("norm", NORMS)
def test_one_image(norm: str) -> None:
    case = Case(norm, "relu", "max", PLAIN)
    compare(case, draw(case, (1, 3, 6, 6), outputs=18))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("outputs", [1, 6, 33])
def test_grey_images(outputs: int, dtype: torch.dtype) -> None:
    case = Case("instance", "sigmoid", "average", PLAIN, dtype)
    compare(case, draw(case, (3, 1, 7, 6), outputs=outputs))


@pytest.mark.parametrize(
    ("convolution", "kernel", "shape", "outputs"),
    [
        (Convolution((2, 2), (1, 1), (1, 1), 1), 3, (2, 3, 9, 11), 24),
        (Convolution((2, 1), (0, 2), (1, 1), 1), 3, (2, 3, 9, 8), 24),
        (Convolution((1, 1), (2, 2), (2, 2), 1), 3, (2, 3, 8, 8), 24),
        (Convolution((1, 1), (0, 0), (1, 1), 1), 1, (2, 5, 4, 4), 24),
        (Convolution((4, 4), (3, 3), (1, 1), 1), 7, (1, 3, 19, 19), 24),
        (Convolution((1, 1), (1, 1), (1, 1), 4), 3, (2, 8, 6, 6), 24),
        (Convolution((1, 1), (1, 1), (1, 1), 24), 3, (2, 24, 6, 6), 24),  # depthwise
        (Convolution((1, 1), (1, 1), (1, 1), 3), 3, (2, 3, 6, 6), 24),  # depthwise with a multiplier
    ],
)
def test_any_convolution(convolution: Convolution, kernel: int, shape: tuple[int, int, int, int], outputs: int) -> None:
    for norm, dtype in itertools.product(("none", "groups", "batch"), (torch.float32, torch.bfloat16)):
        case = Case(norm, "relu", "max", convolution, dtype)
        compare(case, draw(case, shape, outputs, kernel))


def in_other_memory(images: Tensor) -> Iterator[Tensor]:
    yield images.contiguous()
    yield images.transpose(2, 3).contiguous().transpose(2, 3)
    wide = torch.randn(images.shape[0], images.shape[1] + 3, images.shape[2] + 2, images.shape[3] + 2).to(images.dtype)
    wide[:, 2:-1, 1:-1, 1:-1] = images
    yield wide[:, 2:-1, 1:-1, 1:-1]
    yield images[:1].expand(len(images), -1, -1, -1)


@pytest.mark.parametrize("convolved", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_images_may_lie_in_memory_as_they_like(convolved: bool, dtype: torch.dtype) -> None:
    for channels in (1, 5):
        case = Case("groups", "leaky", "average", PLAIN if convolved else None, dtype)
        tensors = draw(case, (3, channels, 5, 6), outputs=6)
        assert tensors.images is not None
        for images in in_other_memory(tensors.images):
            compare(case, replace(tensors, images=images))


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "fixed"])
def test_parameters_may_lie_in_memory_as_they_like(norm: str) -> None:
    case = Case(norm, "relu", "max")
    tensors = draw(case, (2, 10, 4, 4))
    plain, _ = run_block(case, tensors)
    for name in ("gamma", "beta"):
        value = vars(tensors)[name]
        spread = torch.full((*value.shape[:-1], 3 * value.shape[-1]), torch.nan)
        spread[..., ::3] = value
        changes: dict[str, Any] = {name: spread[..., ::3]}
        other, _ = run_block(case, replace(tensors, **changes))
        assert torch.equal(other, plain)
    flat = torch.tensor(0.75).expand_as(value)  # all of one number in memory
    expanded, _ = run_block(case, replace(tensors, gamma=flat, beta=flat))
    compact, _ = run_block(case, replace(tensors, gamma=flat.clone(), beta=flat.clone()))
    assert torch.equal(expanded, compact)


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "fixed"])
@pytest.mark.parametrize("missing", ["gamma", "beta", "both"])
def test_norms_may_lack_weight_or_bias(norm: str, missing: str) -> None:
    case = Case(norm, "leaky", "average")
    tensors = draw(case, (2, 10, 5, 4))
    compare(case, replace(tensors, **dict.fromkeys(("gamma", "beta") if missing == "both" else (missing,))))


def test_a_convolution_may_lack_a_bias() -> None:
    case = Case("batch", "leaky", "average", PLAIN)
    compare(case, replace(draw(case, (2, 4, 5, 4), outputs=9), bias=None))


def margin(case: Case, tensors: Tensors) -> float:
    """Return how far the activations' arguments are from where a rounding changes a gradient: a kink or a tie."""
    u = argument(case, tensors.copy(torch.float64)).detach()
    margins = [u.abs().flatten()] if case.activation in ("relu", "leaky") else []
    if case.pool == "max":
        best = F.unfold(u.flatten(0, 1)[:, None], 2, stride=2).topk(2, dim=1).values
        margins.append((best[:, 0] - best[:, 1]).flatten())
    return min((float(values.min()) for values in margins if values.numel()), default=1.0)


@settings(max_examples=80)
@given(st.data())
def test_whatever_the_shape_output_and_gradients_are_those_of_torch(data: st.DataObject) -> None:
    pick = data.draw
    norm, activation, pool = (pick(st.sampled_from(list(names))) for names in (NORMS, ACTIVATIONS, POOLS))
    convolution, groups = None, 1
    if pick(st.booleans()):
        groups = pick(st.sampled_from([1, 1, 2, 3]))
        sides = [(pick(st.integers(1, 2)), pick(st.integers(1, 2))) for _ in range(2)]
        convolution = Convolution(sides[0], (pick(st.integers(1, 2)), pick(st.integers(1, 2))), sides[1], groups)
    count, channels, outputs = (
        pick(st.integers(1, 4)),
        groups * pick(st.integers(1, 24)),
        groups * pick(st.integers(1, 24)),
    )
    height, width = pick(st.integers(4, 9)), pick(st.integers(4, 9))
    case = Case(norm, activation, pool, convolution)
    tensors = draw(case, (count, channels, height, width), outputs, kernel=2, seed=pick(st.integers(0, 999)))
    assume(margin(case, tensors) > 1e-5)
    compare(case, tensors)


@given(st.integers(0, 10_000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_first_of_equal_maxima_takes_the_gradient_as_in_torch(seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-2, 3, (2, 19, 6, 7), generator=generator).to(dtype)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    gradient = torch.randint(1, 9, (2, 19, 3, 3), generator=generator).to(dtype)
    for activation in ("identity", "relu"):
        case = Case("none", activation, "max", None, dtype)
        output, _ = run_block(case, Tensors(ours))
        expected = run_torch(case, Tensors(theirs))
        assert torch.equal(output, expected)
        (found,) = torch.autograd.grad(output, ours, gradient)
        (wanted,) = torch.autograd.grad(expected, theirs, gradient)
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_infinity_go_where_they_go_in_torch(activation: str, pool: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    special = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 3e38, -3e38, 1e-40])
    values = special[torch.randint(0, len(special), (3, 18, 6, 6), generator=generator)]
    quiet = torch.rand(values.shape, generator=generator) < 0.7
    images = torch.where(quiet, torch.randn(values.shape, generator=generator), values).to(dtype)
    case = Case("none", activation, pool, None, dtype)
    output, _ = run_block(case, Tensors(images))
    expected = run_torch(case, Tensors(images.float())).to(dtype)
    rtol = BFLOAT16 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(output, expected, rtol=rtol, atol=1e-37, equal_nan=True)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_where_the_activation_is_flat_an_infinite_argument_has_no_gradient(activation: str) -> None:
    images = torch.full((1, 4, 2, 2), -torch.inf, requires_grad=True)
    output, _ = run_block(Case("none", activation, "average"), Tensors(images))
    output.sum().backward()
    assert (output.abs() < 1e-37).all()
    assert images.grad is not None
    assert (images.grad.abs() < 1e-37).all()


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("norm", NORMS[1:])
def test_a_norm_that_meets_nan_says_so(norm: str, poison: float) -> None:
    for activation, pool in itertools.product(ACTIVATIONS, POOLS):
        case = Case(norm, activation, pool)
        tensors = draw(case, (3, 12, 4, 4))
        assert tensors.images is not None
        tensors.images[1, 7, 2, 1] = poison
        output, _ = run_block(case, tensors)
        assert torch.equal(output.isfinite(), run_torch(case, tensors).isfinite())
        assert output.isnan().any() or norm == "fixed"


def test_every_bfloat16_is_read_and_written_as_it_is() -> None:
    values = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).view(1, 256, 16, 16)
    output, _ = run_block(Case("none", "identity", "none", None, torch.bfloat16), Tensors(values))
    assert_rounded(output.flatten(), values.flatten(), values.flatten().float())


def assert_rounded(output: Tensor, expected: Tensor, exact: Tensor) -> None:
    """Equal to the last bit, but that AVX-512's own conversion takes denormal numbers for zeros."""
    denormal = exact.abs() < 2.0**-126
    assert ((output == expected) | (output == 0))[denormal].all()
    torch.testing.assert_close(output[~denormal], expected[~denormal], rtol=0, atol=0, equal_nan=True)


@given(st.integers(0, 2**32 - 1))
def test_float32_is_rounded_to_bfloat16_as_torch_does_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**31), 2**31, (4096,), generator=generator).to(torch.int32)
    bits[:1024] = (bits[:1024] & ~0xFFFF) | 0x8000  # half way between two
    bits[1024:2048] &= 0x807F_FFFF - 2**32  # denormal
    bits[2048:2100] |= 0x7F80_0000  # NaN, and infinity once
    bits[2048:2050] = torch.tensor([0x7F80_0000, 0x7F80_0000 - 2**31])
    values = bits.view(torch.float32)
    # A fixed norm of mean -v and variance 1 turns zeros into v, in float32.
    case = replace(settings_of(Case("fixed", "identity", "none"), 4096), eps=0.0)
    zeros = torch.zeros(1, 4096, 1, 1, dtype=torch.bfloat16)
    output, _ = block(zeros, None, None, None, None, (-values, torch.ones(4096)), case)
    assert_rounded(output.flatten(), values.bfloat16(), values)


@pytest.mark.parametrize("norm", ["one group", "instance", "batch", "layer"])
def test_a_small_variance_around_a_large_mean_stays_accurate(norm: str) -> None:
    # The numbers 100 ± 0.1 themselves are exact in float32, their mean is to be found within 1e-5 or so, which is 1e-4
    # of the standard deviation. Summing 32 × 32 of them one after the other would be some 1e-3 off.
    case = Case(norm, "identity", "none")
    tensors = draw(case, (4, 8, 32, 32))
    assert tensors.images is not None
    tensors.images = 100 + 0.1 * tensors.images
    tensors.gamma, tensors.beta = torch.ones_like(tensors.gamma), torch.zeros_like(tensors.beta)  # type: ignore[arg-type]
    output, statistics = run_block(case, tensors)
    error = (output - run_torch(case, tensors.copy(torch.float64)).detach()).abs().max()
    assert float(error) < 3e-4
    if statistics is not None:
        images = tensors.images.double()
        torch.testing.assert_close(statistics[0].double(), images.mean((0, 2, 3)), rtol=1e-7, atol=0)
        torch.testing.assert_close(statistics[1].double(), images.var((0, 2, 3)), rtol=3e-5, atol=0)


def test_sigmoids_are_right_to_the_last_bits() -> None:
    images = torch.linspace(-87, 87, 2**16).view(1, 16, 64, 64)
    output, _ = run_block(Case("none", "sigmoid", "none"), Tensors(images))
    # The exponential is right to 3e-7, by its comment; then come an addition and a division of 6e-8 each.
    torch.testing.assert_close(output.double(), images.double().sigmoid(), rtol=4.2e-7, atol=0)
    beyond, _ = run_block(Case("none", "sigmoid", "none"), Tensors(torch.tensor([-200.0, 200.0]).view(1, 2, 1, 1)))
    torch.testing.assert_close(beyond.flatten(), torch.tensor([0.0, 1.0]), rtol=0, atol=1e-37)


def test_batch_statistics_are_mean_and_unbiased_variance() -> None:
    case = Case("batch", "relu", "max", None, torch.bfloat16)
    tensors = draw(case, (3, 5, 3, 3))
    assert tensors.images is not None
    _, statistics = run_block(case, tensors)
    assert statistics is not None
    assert not statistics.requires_grad
    images = tensors.images.double()
    expected = torch.stack([images.mean((0, 2, 3)), images.var((0, 2, 3), correction=1)])
    torch.testing.assert_close(statistics.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_one_and_two_threads_give_the_same_bits(norm: str) -> None:
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            for dtype, pool in itertools.product((torch.float32, torch.bfloat16), ("max", "average")):
                case = Case(norm, "leaky", pool, None, dtype)
                tensors = draw(case, (5, 21, 6, 5))
                leaves = list(tensors.copy(torch.float32).differentiable.values())
                named: dict[str, Any] = dict(zip(tensors.differentiable, leaves, strict=True))
                output, _ = run_block(case, replace(tensors, **{**named, "images": leaves[0].to(dtype)}))
                gradients = torch.autograd.grad(output.float().square().sum(), leaves)
                results.append([output, *gradients])
        finally:
            torch.set_num_threads(1)
    for one, two in zip(results[:4], results[4:], strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
        for gradient, other in zip(one[2:], two[2:], strict=True):
            if norm == "layer":  # summed thread by thread
                torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)
            else:
                assert torch.equal(gradient, other)


def test_two_threads_that_sum_over_many_images_lose_nothing() -> None:
    case = Case("layer", "leaky", "average")
    tensors = draw(case, (64, 16, 24, 24))
    gradients = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            leaves = tensors.copy(torch.float32)
            output, _ = run_block(case, leaves)
            affine = [leaves.differentiable[name] for name in ("gamma", "beta")]
            gradients.append(torch.autograd.grad(output.square().sum(), affine))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("convolved", [False, True])
def test_the_backward_pass_runs_once(convolved: bool) -> None:
    case = Case("instance", "relu", "max", PLAIN if convolved else None)
    leaves = draw(case, (2, 3, 4, 4), outputs=5).copy(torch.float32)
    output, _ = run_block(case, leaves)
    output.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="only once"):
        output.sum().backward()


def test_gradients_of_gradients_are_refused() -> None:
    case = Case("instance", "sigmoid", "none", PLAIN)
    leaves = draw(case, (2, 3, 4, 4), outputs=5).copy(torch.float32)
    assert leaves.images is not None
    output, _ = run_block(case, leaves)
    (gradient,) = torch.autograd.grad(output.square().sum(), leaves.images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("frozen", ["images", "weight", "bias", "gamma", "beta"])
def test_what_needs_no_gradient_gets_none_and_the_rest_is_the_same(frozen: str) -> None:
    case = Case("batch", "relu", "average", PLAIN)
    tensors = draw(case, (2, 3, 4, 4), outputs=5)
    gradients = []
    for without in (None, frozen):
        leaves = tensors.copy(torch.float32)
        if without is not None:
            leaves.differentiable[without].requires_grad_(False)
        output, _ = run_block(case, leaves)
        output.square().sum().backward()
        gradients.append({name: tensor.grad for name, tensor in leaves.differentiable.items()})
    assert gradients[1].pop(frozen) is None
    for name, gradient in gradients[1].items():
        assert torch.equal(gradient, gradients[0][name])  # type: ignore[arg-type]


@pytest.mark.parametrize("convolved", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_arguments_are_not_modified(norm: str, convolved: bool) -> None:
    case = Case(norm, "relu", "max", PLAIN if convolved else None)
    leaves = draw(case, (2, 12, 5, 4), outputs=20).copy(torch.float32)
    before = {name: tensor.detach().clone() for name, tensor in leaves.differentiable.items()}
    statistics = [tensor.clone() for tensor in leaves.statistics or ()]
    output, _ = run_block(case, leaves)
    gradient = torch.randn(output.shape)
    kept, shown = gradient.clone(), output.detach().clone()
    output.backward(gradient)
    assert all(torch.equal(tensor, before[name]) for name, tensor in leaves.differentiable.items())
    assert all(map(torch.equal, statistics, leaves.statistics or ()))
    assert torch.equal(gradient, kept)
    assert torch.equal(output, shown)


def test_no_images_are_fine() -> None:
    images = torch.empty(0, 6, 4, 4, requires_grad=True)
    gamma = torch.ones(6, requires_grad=True)
    output, _ = run_block(Case("groups", "relu", "max"), Tensors(images, gamma=gamma))
    assert output.shape == (0, 6, 2, 2)
    output.sum().backward()
    assert images.grad is not None
    assert torch.equal(gamma.grad, torch.zeros(6))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("norm", "changes"),
    [
        ("instance", {"gamma": torch.ones(7)}),
        ("instance", {"gamma": torch.ones(9)}),
        ("instance", {"gamma": torch.ones(1)}),
        ("instance", {"gamma": torch.ones(8, dtype=torch.float64)}),
        ("instance", {"beta": torch.ones(4)}),
        ("instance", {"beta": torch.ones(8, dtype=torch.bfloat16)}),
        ("instance", {"gamma": torch.ones(8, 4, 4), "beta": torch.ones(8, 4, 4)}),
        ("batch", {"gamma": None, "beta": torch.ones(7)}),
        ("layer", {"gamma": torch.ones(8)}),
        ("layer", {"beta": torch.ones(8, 4, 5)}),
        ("layer", {"gamma": torch.ones(4, 4, 8), "beta": torch.ones(4, 4, 8)}),
        ("fixed", {"statistics": (torch.zeros(7), torch.ones(8))}),
        ("fixed", {"statistics": (torch.zeros(8), torch.ones(4))}),
        ("fixed", {"statistics": (torch.zeros(8).double(), torch.ones(8).double())}),
        ("fixed", {"statistics": None}),
        ("none", {"gamma": torch.ones(8)}),
        ("none", {"images": torch.zeros(2, 8, 4, 4, dtype=torch.float16)}),
        ("none", {"images": torch.zeros(2, 8, 4, 4, dtype=torch.float64)}),
    ],
)
def test_what_does_not_fit_is_refused(norm: str, changes: dict[str, Any]) -> None:
    case = Case(norm, "relu", "max")
    with pytest.raises(ValueError, match="do not fit"):
        run_block(case, replace(draw(case, (2, 8, 4, 4)), **changes))


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"GROUPS, groups: 3.*do not fit \(2, 8, 4, 4\)"):
        block(torch.zeros(2, 8, 4, 4), None, None, None, None, None, BlockSettings(None, Norm.GROUPS, groups=3))


@pytest.mark.parametrize("shape", [(2, 3, 1, 5), (2, 3, 5, 1)])
@pytest.mark.parametrize("pool", ["max", "average"])
def test_images_too_small_for_pooling_are_refused_as_by_torch(shape: tuple[int, ...], pool: str) -> None:
    case = Case("none", "relu", pool)
    with pytest.raises(RuntimeError):
        run_torch(case, Tensors(torch.zeros(shape)))
    with pytest.raises(ValueError, match="too small for 2×2 pooling"):
        run_block(case, Tensors(torch.zeros(shape)))


def test_a_batch_norm_of_single_values_is_refused_as_by_torch() -> None:
    case = Case("batch", "relu", "none")
    for run in (run_torch, run_block):
        with pytest.raises(ValueError, match=r"more than (one|1) value"):
            run(case, Tensors(torch.zeros(1, 5, 1, 1)))


def test_python_and_cpp_agree_on_the_call() -> None:
    library = block_library()
    assert library is not None
    assert library.winnow_call_size() == ctypes.sizeof(_Call)
