from __future__ import annotations

import copy
import itertools
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dp_core.kernels import fused, unfused_norms
from dp_core.kernels.block import Pool
from dp_core.kernels.fusing import _FusedBlock, _FusedSequential
from dp_core.models import ModelSpec, build
from tests.dp_core.small import copy_of, same

pytestmark = pytest.mark.usefixtures("kernels")


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape or (4, 3, 8, 8), generator=torch.Generator().manual_seed(seed))


def fused_blocks(model: nn.Module | None) -> list[_FusedBlock]:
    assert model is not None
    return [block for module in model.modules() if isinstance(module, _FusedSequential) for block in module.blocks]


def fused_modules(model: nn.Module | None) -> list[list[str]]:
    """Return the names of the classes that each fused block stands for; none at all if there is no fused model."""
    blocks = [] if model is None else fused_blocks(model)
    return [[type(module).__name__ for module in item._modules] for item in blocks]


def logits_and_gradients(model: nn.Module, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the output for `batch` and the gradients of one number made of it in all parameters."""
    output = model(batch)
    weights = torch.linspace(-1, 2, output.numel()).view_as(output)
    return output.detach(), list(torch.autograd.grad((output * weights).sum(), list(model.parameters())))


def assert_equivalent(model: nn.Module, batch: Tensor, tolerance: float = 1e-4) -> nn.Module:
    """Assert that the fused model gives the output and the gradients of `model`, and return it."""
    network = fused(model, torch.float32)
    assert network is not None
    expected, expected_gradients = logits_and_gradients(copy.deepcopy(model), batch)
    output, gradients = logits_and_gradients(network, batch)
    torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    # A bias before a norm has a gradient of zero, found as a sum of rounding errors: that of the largest counts.
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=0.1 * tolerance * largest)
    return network


def typical(channels: int = 3) -> nn.Sequential:
    """Return a network of two blocks and a linear layer, for images of 8×8, with buffers."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def test_blocks_are_found_and_the_rest_is_left() -> None:
    found = fused_modules(fused(typical(), torch.float32))
    assert found == [["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"], ["Conv2d", "GroupNorm", "LeakyReLU", "AvgPool2d"]]
    assert_equivalent(typical(), images())


def test_parameters_and_buffers_are_shared_and_gradients_land_on_the_originals() -> None:
    model = typical()
    network = fused(model, torch.float32)
    assert network is not None
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        assert dict(itertools.chain(network.named_parameters(), network.named_buffers()))[name] is tensor
    assert list(network.state_dict()) == list(model.state_dict())
    network(images()).square().sum().backward()
    twin = copy.deepcopy(model)
    twin.zero_grad()
    twin(images()).square().sum().backward()
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-4)
    with torch.no_grad():  # a step of an optimiser of the original's reaches the fused one
        for parameter in model.parameters():
            parameter.sub_(0.1 * parameter.grad)  # type: ignore[operator]
    model.eval()
    network.eval()
    torch.testing.assert_close(network(images()), model(images()), rtol=1e-4, atol=1e-4)


def test_the_original_stays_as_it_was() -> None:
    model = typical()
    before, structure = copy_of(model), str(model)
    classes = [type(module) for module in model.modules()]
    network = fused(model, torch.float32)
    assert network is not None
    network.eval()
    assert model.training
    assert [type(module) for module in model.modules()] == classes
    assert str(model) == structure
    assert same(copy_of(model), before)
    loaded = pickle.loads(pickle.dumps(model))
    for other in (loaded, copy.deepcopy(model)):
        assert [type(module) for module in other.modules()] == classes
        assert same(copy_of(other), before)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("affine", [True, False])
def test_running_statistics_are_those_of_torch(momentum: float | None, affine: bool) -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(nn.BatchNorm2d(3, momentum=momentum, affine=affine), nn.ReLU(), nn.AvgPool2d(2))

    plain, model = network(), network()
    replacement = fused(model, torch.float32)
    assert replacement is not None
    for step in range(4):
        batch = 2 + 3 * images(5, 3, 5, 4, seed=step)
        torch.testing.assert_close(replacement(batch), plain(batch), rtol=1e-5, atol=1e-5)
    assert int(model[0].num_batches_tracked) == 4  # type: ignore[arg-type]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        replacement(batch)  # torch counts such a batch, too
    assert int(model[0].num_batches_tracked) == 5  # type: ignore[arg-type]
    plain(batch)
    plain.eval()
    replacement.eval()
    before = copy_of(model)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(replacement(batch), plain(batch), rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(replacement(batch), plain(batch), rtol=1e-5, atol=1e-5)
    assert same(copy_of(model), before)
    replacement.train()
    replacement(batch)
    assert int(model[0].num_batches_tracked) == 6  # type: ignore[arg-type]


def test_a_batch_norm_without_running_statistics_takes_the_batchs_in_either_mode() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU())
    network = fused(model, torch.float32)
    assert network is not None
    expected = torch.relu(F.batch_norm(images(), None, None, training=True))
    for training in (True, False):
        torch.testing.assert_close(network.train(training)(images()), expected, rtol=1e-5, atol=1e-5)


def test_gradients_in_evaluation_mode_are_those_of_fixed_statistics() -> None:
    model = typical()
    for step in range(3):
        model(images(seed=step))
    assert_equivalent(model.eval(), images())


def test_a_user_who_keeps_norms_frozen_keeps_them_frozen() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = typical()

        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self.body[1].eval()
            return self

        def forward(self, batch: Tensor) -> Tensor:
            return self.body(batch)

    model = Frozen().train()
    network = assert_equivalent(model, images())
    network.train()
    before = copy_of(model)
    network(images())
    assert same(copy_of(model), before)


class Own(nn.Module):
    """A user's module around one Sequential."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*modules)

    def forward(self, batch: Tensor) -> Tensor:
        return self.features(batch)


class OwnConvolution(nn.Conv2d):
    def forward(self, batch: Tensor) -> Tensor:
        return super().forward(batch) * 3


class OwnNorm(nn.BatchNorm2d):
    def forward(self, batch: Tensor) -> Tensor:
        return super().forward(batch) + 1


class OwnReLU(nn.ReLU):
    def forward(self, batch: Tensor) -> Tensor:
        return super().forward(batch) - 1


class OwnPool(nn.MaxPool2d):
    def forward(self, batch: Tensor) -> Tensor:
        return -super().forward(batch)


class First(nn.Module):
    """Takes the values of a pooling that also returns indices."""

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]


def hooked(module: nn.Module, kind: str) -> nn.Module:
    """Return `module` with a hook that changes what it computes, or counts its gradients."""
    if kind == "forward":
        module.register_forward_hook(lambda _module, _inputs, output: output + 1)
    elif kind == "before":
        module.register_forward_pre_hook(lambda _module, inputs: (2 * inputs[0],))
    else:
        module.register_full_backward_hook(twice)
    return module


def twice(_module: nn.Module, inputs: Any, _outputs: Any) -> Any:
    return tuple(2 * gradient for gradient in inputs)


def monkeypatched(module: nn.Module) -> nn.Module:
    plain = type(module).forward
    module.forward = lambda batch: 2 * plain(module, batch)
    return module


def conv(**how: Any) -> nn.Conv2d:
    return nn.Conv2d(3, 4, 3, **{"padding": 1, **how})


NOT_ONE_BLOCK: dict[str, Callable[[], tuple[list[nn.Module], list[list[str]]]]] = {
    # what is in the way, by name: the modules, and the blocks that may be made of them all the same
    "reflecting padding": lambda: ([conv(padding_mode="reflect"), nn.ReLU()], []),
    "same padding": lambda: ([conv(padding="same"), nn.ReLU()], []),
    "an own convolution": lambda: ([OwnConvolution(3, 4, 3), nn.ReLU()], []),
    "an own norm": lambda: ([conv(), OwnNorm(4), nn.ReLU()], []),
    "an own activation": lambda: ([conv(), OwnReLU()], []),
    "an own pooling": lambda: ([conv(), OwnPool(2)], []),
    "a transposed convolution": lambda: ([nn.ConvTranspose2d(3, 4, 3), nn.ReLU()], []),
    "an instance norm": lambda: ([conv(), nn.InstanceNorm2d(4), nn.ReLU()], []),
    "a layer norm over channels last": lambda: ([conv(), nn.LayerNorm(8), nn.ReLU()], []),
    "a layer norm without weight": lambda: ([conv(), nn.LayerNorm([4, 8, 8], elementwise_affine=False)], []),
    "another activation": lambda: ([conv(), nn.GELU()], []),
    "a slope above 1": lambda: ([conv(), nn.LeakyReLU(1.5)], []),
    "a negative slope": lambda: ([conv(), nn.LeakyReLU(-0.5)], []),
    "a trained slope": lambda: ([conv(), nn.PReLU()], []),
    "rounding up": lambda: ([conv(padding=2), nn.MaxPool2d(2, ceil_mode=True)], []),
    "indices": lambda: ([conv(), nn.MaxPool2d(2, return_indices=True), First()], []),
    "overlapping pooling": lambda: ([conv(), nn.MaxPool2d(3, 2)], []),
    "a padded pooling": lambda: ([conv(), nn.AvgPool2d(2, padding=1)], []),
    "an oblong pooling": lambda: ([conv(), nn.MaxPool2d((2, 1))], []),
    "an oblong stride": lambda: ([conv(), nn.MaxPool2d(2, (2, 1))], []),
    "a dilated pooling": lambda: ([conv(), nn.MaxPool2d(2, dilation=2)], []),
    "a divisor": lambda: ([conv(), nn.AvgPool2d(2, divisor_override=3)], []),
    "an adaptive pooling": lambda: ([conv(), nn.AdaptiveAvgPool2d(2)], []),
    "dropout": lambda: ([conv(), nn.Dropout2d(0.0), nn.ReLU()], []),
    "the activation before the norm": lambda: ([conv(), nn.ReLU(), nn.BatchNorm2d(4)], [["Conv2d", "ReLU"]]),
    "pooling before the activation": lambda: ([conv(), nn.MaxPool2d(2), nn.Sigmoid()], [["Conv2d", "MaxPool2d"]]),
    "two activations": lambda: ([conv(), nn.LeakyReLU(0.5), nn.Sigmoid()], [["Conv2d", "LeakyReLU"]]),
    "two norms": lambda: (
        [conv(), nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.ReLU()],
        [["Conv2d", "GroupNorm"], ["BatchNorm2d", "ReLU"]],
    ),
    "two poolings": lambda: ([conv(), nn.MaxPool2d(2), nn.AvgPool2d(2)], [["Conv2d", "MaxPool2d"]]),
    "two convolutions": lambda: ([conv(), nn.Conv2d(4, 5, 1), nn.ReLU()], [["Conv2d", "ReLU"]]),
    "a module alone": lambda: ([conv(), nn.Tanh(), nn.ReLU()], []),
    "a hook": lambda: ([conv(), hooked(nn.ReLU(), "forward")], []),
    "a hook before": lambda: ([hooked(conv(), "before"), nn.ReLU()], []),
    "a hook on the way back": lambda: ([hooked(conv(), "backward"), hooked(nn.ReLU(), "backward")], []),
    "a changed forward": lambda: ([conv(), monkeypatched(nn.ReLU())], []),
    "weight norm": lambda: ([nn.utils.parametrizations.weight_norm(conv()), nn.ReLU()], []),
    "spectral norm": lambda: ([nn.utils.parametrizations.spectral_norm(conv()).eval(), nn.ReLU()], []),
}


@pytest.mark.parametrize("obstacle", NOT_ONE_BLOCK)
def test_what_the_kernels_do_not_know_is_left_to_torch(obstacle: str) -> None:
    modules, blocks = NOT_ONE_BLOCK[obstacle]()
    # The block in front makes sure that there is a fused model.
    front: list[nn.Module] = [nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Tanh()]
    torch.manual_seed(0)
    model = Own(*front, *modules)
    assert fused_modules(fused(model, torch.float32)) == [["Conv2d", "ReLU"], *blocks]
    assert_equivalent(model, images())
    if not blocks:
        assert fused(nn.Sequential(*modules), torch.float32) is None


def test_old_weight_norm_is_left_to_torch() -> None:
    with pytest.warns(FutureWarning):
        convolution = nn.utils.weight_norm(conv())
    # Its weight is made by a hook and no leaf, which torch does not let be copied.
    assert fused(nn.Sequential(convolution, nn.ReLU(), *typical(4)), torch.float32) is None


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [
        (nn.MaxPool2d(2), Pool.MAX),
        (nn.MaxPool2d((2, 2)), Pool.MAX),
        (nn.MaxPool2d([2, 2], stride=[2, 2]), Pool.MAX),  # type: ignore[arg-type]
        (nn.MaxPool2d(2, stride=(2, 2), padding=(0, 0), dilation=(1, 1)), Pool.MAX),
        (nn.AvgPool2d(2), Pool.AVERAGE),
        (nn.AvgPool2d((2, 2), 2, (0, 0)), Pool.AVERAGE),
        (nn.AvgPool2d(2, count_include_pad=False), Pool.AVERAGE),
    ],
)
def test_all_ways_to_write_a_pooling_by_two_are_known(pooling: nn.Module, kind: Pool) -> None:
    model = nn.Sequential(conv(), pooling)
    (only,) = fused_blocks(fused(model, torch.float32))
    assert only._settings.pool is kind
    assert_equivalent(model, images(2, 3, 9, 7))


def test_identities_in_between_do_not_matter() -> None:
    model = nn.Sequential(
        nn.Identity(),
        conv(),
        nn.Identity(),
        nn.BatchNorm2d(4),
        nn.Identity(),
        nn.ReLU(),
        nn.Identity(),
        nn.MaxPool2d(2),
    )
    assert len(fused_modules(fused(model, torch.float32))) == 1
    assert_equivalent(model, images())
    assert fused(nn.Sequential(conv(), nn.Identity(), nn.Identity()), torch.float32) is None


def test_an_activation_in_place_that_comes_first_still_changes_its_input() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.body = nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True))

        def forward(self, batch: Tensor) -> Tensor:
            before = self.first(batch)
            after = self.body(before)
            return torch.cat([before.flatten(1), after.flatten(1)], 1)

    model = Residual()
    assert fused_modules(fused(model, torch.float32)) == [["Conv2d", "ReLU"]]
    network = assert_equivalent(model, images())
    assert float(network(images()).detach().min()) == 0.0


def test_nested_sequentials_are_fused_each_by_itself() -> None:
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.ReLU())
    model = nn.Sequential(
        nn.Sequential(conv(), nn.ReLU()), inner, nn.Sequential(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)))
    )
    assert fused_modules(fused(model, torch.float32)) == [
        ["Conv2d", "ReLU"],
        ["Conv2d", "GroupNorm", "ReLU"],
        ["ReLU", "MaxPool2d"],
    ]
    assert_equivalent(model, images())


@pytest.mark.parametrize("way", ["index", "iterate", "slice", "children", "pop"])
def test_a_forward_that_takes_a_sequential_apart_stays_right(way: str) -> None:
    class Apart(Own):
        def forward(self, batch: Tensor) -> Tensor:
            if way == "index":
                return self.features[3](self.features[2](self.features[1](self.features[0](batch))))
            if way == "slice":
                return self.features[2:](self.features[:2](batch))
            if way == "pop":
                return self.features[-1](nn.Sequential(*list(self.features)[:-1])(batch))
            for layer in self.features if way == "iterate" else self.features.children():
                batch = layer(batch)
            return batch

    model = Apart(conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    assert_equivalent(model, images())


def test_children_may_have_any_names() -> None:
    names = ("items", "norm", "blocks", "forward_items")
    modules: list[nn.Module] = [conv(), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2)]
    assert_equivalent(nn.Sequential(OrderedDict(zip(names, modules, strict=True))), images())


def test_modules_and_parameters_used_twice_are_trained_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shared, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
            self.body = nn.Sequential(shared, norm, nn.ReLU(), shared, norm, nn.ReLU())
            self.head = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
            self.head[0].weight = shared.weight

        def forward(self, batch: Tensor) -> Tensor:
            return self.head(self.body(self.body(batch)))

    model = Tied()
    twin = copy.deepcopy(model)
    network = assert_equivalent(model, images())
    assert len(list(network.parameters())) == 5
    network(images())  # after the one in assert_equivalent
    for _ in range(2):
        twin(images())
    assert int(model.body[1].num_batches_tracked) == 8  # type: ignore[arg-type]
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_modules_in_plain_lists_are_still_the_same_as_those_in_the_tree() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU())
            self.layers = list(self.body)
            self.whole = [self.body]
            self.also: dict[str, Any] = {"act": torch.relu, "call": self.activate}

        def activate(self, batch: Tensor) -> Tensor:
            convolution: Any = self.layers[0]
            return self.also["act"](batch) * convolution.bias.mean()

        def forward(self, batch: Tensor) -> Tensor:
            for layer in self.layers:
                batch = layer(batch)
            return self.also["call"](batch) + self.whole[0](batch[:, :3])

    model = Listed()
    network: Any = assert_equivalent(model, images())
    assert network.layers[1] is network.body[1]
    assert network.layers[1].running_mean is model.layers[1].running_mean


def test_what_cannot_be_copied_around_its_parameters_is_not_fused() -> None:
    class Unwilling(Own):
        def __deepcopy__(self, memo: dict[int, Any]) -> Unwilling:
            raise TypeError("not me")

    class Forgetful(Own):
        def __deepcopy__(self, memo: dict[int, Any]) -> Forgetful:
            return Forgetful(conv(), nn.ReLU())

    class Single(Own):
        def __deepcopy__(self, memo: dict[int, Any]) -> Single:
            return self

    class WithNonLeaf(Own):
        def __init__(self, *modules: nn.Module) -> None:
            super().__init__(*modules)
            self.kept = torch.ones(3, requires_grad=True) * 2

    class WithGenerator(Own):
        def __init__(self, *modules: nn.Module) -> None:
            super().__init__(*modules)
            self.lines = (line for line in "abc")

    for kind in (Unwilling, Forgetful, Single, WithNonLeaf, WithGenerator):
        model = kind(conv(), nn.ReLU())
        assert fused(model, torch.float32) is None
        assert fused(nn.Sequential(conv(), nn.ReLU(), nn.Conv2d(4, 3, 1), model), torch.float32) is None
        assert type(model.features) is nn.Sequential


def test_networks_in_other_formats_or_without_blocks_are_not_fused() -> None:
    assert fused(typical().double(), torch.float32) is None
    assert fused(typical().bfloat16(), torch.bfloat16) is None
    mixed = typical()
    mixed[9].double()
    assert fused(mixed, torch.float32) is None
    assert fused(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU()), torch.float32) is None
    assert fused(conv(), torch.float32) is None


class Flat(nn.Sequential):
    """A subclass, which may run its children as it likes."""


def test_only_plain_sequentials_are_fused() -> None:
    assert fused(Flat(conv(), nn.ReLU()), torch.float32) is None
    assert fused(nn.ModuleList([conv(), nn.ReLU()]), torch.float32) is None


def test_single_images_without_a_batch_dimension_go_the_plain_way() -> None:
    model = nn.Sequential(conv(), nn.GroupNorm(1, 4), nn.ReLU(), nn.MaxPool2d(2)).eval()
    network = fused(nn.Sequential(model[0], model[2], model[3]), torch.float32)
    assert network is not None
    single = network(images()[0])
    assert single.shape == (4, 4, 4)
    torch.testing.assert_close(single, network(images())[0], rtol=1e-5, atol=1e-5)


def test_norms_without_weight_or_bias() -> None:
    bare, biased = nn.GroupNorm(2, 4), nn.BatchNorm2d(4)
    bare.register_parameter("weight", None)
    biased.register_parameter("weight", None)
    with torch.no_grad():
        bare.bias.copy_(torch.arange(4.0))
        biased.bias.copy_(torch.arange(4.0))
    for norm in (
        nn.LayerNorm([4, 8, 8], bias=False),
        nn.GroupNorm(2, 4, affine=False),
        nn.BatchNorm2d(4, affine=False),
        bare,
        biased,
    ):
        model = nn.Sequential(conv(), norm, nn.LeakyReLU(0.1), nn.AvgPool2d(2))
        assert len(fused_modules(fused(model, torch.float32))[0]) == 4
        assert_equivalent(model, images())


def test_a_norm_of_another_size_is_an_error_and_not_a_wrong_result() -> None:
    for norm in (nn.GroupNorm(1, 5), nn.BatchNorm2d(5), nn.LayerNorm([4, 8, 7])):
        model = nn.Sequential(conv(), norm, nn.ReLU())
        network = fused(model, torch.float32)
        assert network is not None
        with pytest.raises(RuntimeError):
            model(images())
        with pytest.raises(ValueError, match="do not fit"):
            network(images())
    model = nn.Sequential(conv(), nn.BatchNorm2d(5, affine=False), nn.ReLU()).eval()
    network = fused(model, torch.float32)
    assert network is not None
    with pytest.raises(ValueError, match="do not fit"), torch.no_grad():
        network(images())


def test_norms_that_are_not_in_a_block_are_counted() -> None:
    model = nn.Sequential(typical()[:8], nn.GroupNorm(1, 4), nn.Tanh(), nn.BatchNorm2d(4), nn.LayerNorm(2))
    assert unfused_norms(model) == 3  # batch norms are fast in bfloat16 anyway
    network = fused(model, torch.float32)
    assert network is not None
    assert unfused_norms(network) == 2


def test_bfloat16_blocks_are_as_near_as_bfloat16_gets() -> None:
    torch.manual_seed(0)
    model = typical()
    network = fused(model, torch.bfloat16)
    assert network is not None
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images())
    expected = copy.deepcopy(model)(images()).detach()
    assert output.dtype == torch.bfloat16
    # Two blocks of two roundings each and a linear layer with three, each off by 2^-9 at most and by chance in sign.
    assert float((output.detach().float() - expected).norm()) < 7 * 2.0**-9 * float(expected.norm())


def margin(model: nn.Module, batch: Tensor) -> float:
    """Return how far `model` is from where a rounding changes gradients: a kink, or a tie between two maxima."""
    margins = []

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        if isinstance(module, nn.ReLU | nn.LeakyReLU):
            margins.append(float(inputs[0].abs().min()))
        if isinstance(module, nn.MaxPool2d):
            best = F.unfold(inputs[0].flatten(0, 1)[:, None], 2, stride=2).topk(2, dim=1).values
            gaps = (best[:, 0] - best[:, 1])[best[:, 0] != 0]  # behind a ReLU all may be zero
            margins.append(float(gaps.min()))

    watched = copy.deepcopy(model)
    for module in watched.modules():
        module.register_forward_pre_hook(look)
    with torch.no_grad():
        watched(batch)
    return min(margins, default=1.0)


def batch_for(model: nn.Module, *shape: int) -> Tensor:
    """Return images for which the gradients of `model` do not hang on a single rounding."""
    batches = (images(*shape, seed=seed) for seed in range(50))
    return next(batch for batch in batches if margin(model, batch) > 2e-6)


# All that a ConvNet can be at two depths: with five norms, three activations, three poolings. The 720 of the literature
# have these 45 at four depths and four widths, of which nothing here depends on width.
SPACE = list(
    itertools.product(
        ("none", "batch", "layer", "instance", "group"),
        ("sigmoid", "relu", "leaky_relu"),
        ("none", "max", "average"),
    )
)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_every_convnet_of_the_space_keeps_its_logits_and_gradients(depth: int) -> None:
    for norm, activation, pooling in SPACE:
        choice = {"norm": norm, "activation": activation, "pooling": pooling, "depth": depth, "width": 8}
        model = build(ModelSpec("convnet", choice), (3, 17, 16), 10, seed=depth)
        network = assert_equivalent(model, batch_for(model, 3, 3, 17, 16))
        assert len(fused_blocks(network)) == depth
        assert unfused_norms(network) == 0


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_alexnet_keeps_its_logits_and_gradients(shape: tuple[int, int, int]) -> None:
    model = build(ModelSpec("alexnet"), shape, 10, seed=0)
    network = assert_equivalent(model, batch_for(model, 1, *shape))
    assert len(fused_blocks(network)) == 5
