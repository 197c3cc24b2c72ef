from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from dp_core.errors import UserError
from dp_core.pruning import Mask
from dp_core.stability import top_eigenvalue
from dp_core.training import TrainingData
from tests.dp_core.small import CLASSES, SHAPE, copy_of, random_data, same, small_model


def exact_hessian(
    model: nn.Module, data: TrainingData, mask: Mapping[str, Tensor], names: list[str] | None = None
) -> Tensor:
    """Return torch's dense Hessian, float64 [kept, kept], of the model in evaluation mode."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if names is None or name in names}
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat: Tensor) -> Tensor:
        pieces = zip(parameters.items(), flat.split(sizes), strict=True)
        weights = {name: piece.view(p.shape) for (name, p), piece in pieces}
        return F.cross_entropy(functional_call(model, weights, (data.images,)), data.labels)

    model.eval()
    flat = torch.cat([p.flatten() for p in parameters.values()])
    with sdpa_kernel(SDPBackend.MATH):
        whole = torch.autograd.functional.hessian(loss, flat)
    kept = torch.cat([mask.get(name, torch.ones_like(p)).flatten().bool() for name, p in parameters.items()])
    assert isinstance(whole, Tensor)
    return whole[kept][:, kept]


def double_data(images: int = 12) -> TrainingData:
    data = random_data(images)
    return TrainingData(data.images.double(), data.labels)


def mlp(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.Tanh(), nn.Linear(2, CLASSES)).double()


def random_mask(model: nn.Module, density: float, seed: int = 0) -> Mask:
    draw = torch.Generator().manual_seed(seed)
    return Mask({name: torch.rand(m.shape, generator=draw) < density for name, m in Mask.ones(model).items()})


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch", "instance", "layer"])
def test_it_is_the_largest_eigenvalue_of_torchs_dense_hessian(norm: str, masked: bool) -> None:
    model, data = small_model(norm).double(), double_data()
    model.train()(data.images)  # so that the running statistics are not those of a fresh network
    mask = random_mask(model, 0.3) if masked else None
    if mask is not None:
        mask.apply_(model)
    found = top_eigenvalue(model, data, mask=mask, tolerance=1e-6)
    exact = torch.linalg.eigvalsh(exact_hessian(model, data, mask or {}))
    assert found.converged
    assert found.residual <= 1e-6 * found.value
    assert found.value == pytest.approx(float(exact[-1]), rel=1e-9)  # the error is of the residual's second order


def test_float32_and_the_default_tolerance_are_good_for_three_digits() -> None:
    model, data = small_model("instance"), random_data()
    found = top_eigenvalue(model, data)
    exact = torch.linalg.eigvalsh(exact_hessian(model, data, {}))
    assert found.converged
    assert found.iterations < 40
    assert found.value == pytest.approx(float(exact[-1]), rel=1e-3)


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_logistic_regression_at_zero_is_known_in_closed_form(batch_size: int) -> None:
    # At W = 0 every class has p = 1 / K, and H = (I - 11ᵀ / K) / K ⊗ XᵀX / N, with x = (pixels, 1).
    model, data = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)).double(), double_data()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    x = np.concatenate([data.images.flatten(1).numpy(), np.ones((12, 1))], axis=1)
    found = top_eigenvalue(model, data, tolerance=1e-8, batch_size=batch_size)
    assert found.value == pytest.approx(np.linalg.eigvalsh(x.T @ x / 12)[-1] / CLASSES, rel=1e-9)
    kept = torch.zeros(CLASSES, 36, dtype=torch.bool)
    kept[:, :5] = True
    found = top_eigenvalue(model, data, mask={"1.weight": kept}, parameters=["1.weight"], tolerance=1e-8)
    x = x[:, :5]
    assert found.value == pytest.approx(np.linalg.eigvalsh(x.T @ x / 12)[-1] / CLASSES, rel=1e-9)
    assert found.iterations <= 15


class Saddle(nn.Module):
    """Logits (0, v - 10 w²): for label 0 at v = w = 0 the Hessian is diag(1/4, -10), and 0 for the idle ones."""

    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.zeros(1))
        self.w = nn.Parameter(torch.zeros(1))
        self.idle = nn.Parameter(torch.zeros(5))

    def forward(self, images: Tensor) -> Tensor:
        logit = (self.v - 10 * self.w**2).expand(len(images))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


@pytest.mark.parametrize("seed", range(4))
def test_a_more_negative_eigenvalue_does_not_pass_for_the_largest(seed: int) -> None:
    data = TrainingData(torch.zeros(3, *SHAPE), torch.zeros(3, dtype=torch.int64))
    found = top_eigenvalue(Saddle(), data, parameters=["v", "w"], seed=seed)
    assert found.value == pytest.approx(0.25, rel=1e-5)
    assert (found.iterations, found.converged) == (2, True)
    only = top_eigenvalue(Saddle(), data, parameters=["w"])
    assert only.value == pytest.approx(-10)
    assert only.iterations == 1
    flat = top_eigenvalue(Saddle(), data, parameters=["w", "idle"], seed=seed)
    assert flat.value == pytest.approx(0, abs=1e-5)
    assert (flat.iterations, flat.converged) == (2, True)  # what is left of the residual is rounding beside -10


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(6, 12)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        query, key, value = self.tokens(images).chunk(3, dim=-1)
        return self.head(F.scaled_dot_product_attention(query, key, value).mean((1, 2)))


def test_attention_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    model, data = Attentive().double(), double_data()
    found = top_eigenvalue(model, data, tolerance=1e-6)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(exact_hessian(model, data, {}))[-1]), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(density=st.floats(0.1, 1), seed=st.integers(0, 3))
def test_fewer_weights_have_no_larger_eigenvalue(density: float, seed: int) -> None:
    # Cauchy's interlacing theorem: a principal submatrix's largest eigenvalue is not above the matrix's.
    model, data = mlp(seed), double_data()
    larger = random_mask(model, density, seed)
    smaller = Mask({name: kept & random_mask(model, 0.5, seed + 10)[name] for name, kept in larger.items()})
    least, some, all_of_it = (
        top_eigenvalue(model, data, mask=mask, tolerance=1e-7).value for mask in (smaller, larger, None)
    )
    assert least <= some + 1e-9
    assert some <= all_of_it + 1e-9


def test_frozen_parameters_are_constants_unless_they_are_named() -> None:
    model, data = mlp(0), double_data()
    model.get_submodule("3").requires_grad_(False)
    for names, of in ((None, ["1.weight", "1.bias"]), (["3.weight"], ["3.weight"])):
        exact = float(torch.linalg.eigvalsh(exact_hessian(model, data, {}, of))[-1])
        assert top_eigenvalue(model, data, parameters=names, tolerance=1e-7).value == pytest.approx(exact, rel=1e-9)


def test_a_network_that_heeds_no_weights_is_flat() -> None:
    model = small_model("none")
    nn.init.zeros_(model.get_parameter("classifier.weight"))
    found = top_eigenvalue(model, random_data(), parameters=["blocks.0.weight"])
    assert (found.value, found.residual, found.converged) == (0, 0, True)


def test_too_few_iterations_are_admitted() -> None:
    model, data = mlp(0), double_data()
    found = top_eigenvalue(model, data, iterations=2, tolerance=1e-6)
    values = torch.linalg.eigvalsh(exact_hessian(model, data, {}))
    assert (found.converged, found.iterations) == (False, 2)
    assert found.value < float(values[-1])  # Ritz values come from below
    assert float((values - found.value).abs().min()) <= found.residual


@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_its_gradients_are_left_alone(training: bool) -> None:
    model, data = small_model("batch").train(training), random_data()
    F.cross_entropy(model(data.images), data.labels).backward()
    before = copy_of(model)
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    with torch.no_grad():
        one = top_eigenvalue(model, data, batch_size=7)
    assert same(copy_of(model), before)
    assert same([p.grad for p in model.parameters()], gradients)
    assert all(module.training is training for module in model.modules())
    assert top_eigenvalue(model, data, batch_size=7) == one
    assert top_eigenvalue(model, data, batch_size=7, seed=1).value == pytest.approx(one.value, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"parameters": ["classifier.wieght"]}, "Did you mean 'classifier.weight'"),
        ({"parameters": []}, "no parameter to differentiate"),
        ({"mask": {"classifier.weight": torch.ones(2, 2)}}, "another model"),
        ({"mask": {"classifier.bias": torch.zeros(3)}, "parameters": ["classifier.bias"]}, "keeps none"),
        ({"iterations": 0}, "at least 1 iteration"),
        ({"tolerance": 0.0}, "tolerance above 0"),
    ],
)
def test_mistakes_are_told(settings: dict, text: str) -> None:
    with pytest.raises(UserError, match=text):
        top_eigenvalue(small_model(), random_data(), **settings)


def test_weights_that_are_not_finite_and_soft_labels_are_told() -> None:
    model = small_model()
    soft = TrainingData(torch.zeros(4, *SHAPE), torch.full((4, CLASSES), 1 / CLASSES))
    with pytest.raises(UserError, match="soft labels"):
        top_eigenvalue(model, soft)
    nn.init.constant_(model.get_parameter("classifier.bias"), torch.nan)
    with pytest.raises(UserError, match="no finite Hessian"):
        top_eigenvalue(model, random_data())
