from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledSet, DistributionMatching
from dp_core.distillation.distribution_matching import embed
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from tests.dp_core.small import CLASSES, random_dataset

PIXELS, FEATURES = 36, 5


def linear_embedding(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network whose last linear layer sees A·x for a fixed A, whatever the seed."""
    first = nn.Linear(PIXELS, FEATURES, bias=False)
    with torch.no_grad():
        first.weight.copy_(fixed_matrix())
    return nn.Sequential(nn.Flatten(), first, nn.Linear(FEATURES, classes))


def fixed_matrix() -> Tensor:
    return torch.randn(FEATURES, PIXELS, generator=torch.Generator().manual_seed(4)) / PIXELS**0.5


def no_linear_layer(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, classes, 6), nn.Flatten())


LINEAR = {"name": f"{__name__}:linear_embedding"}
CONVNET = {"name": "convnet", "depth": 1, "width": 8}


def distil(source: ImageDataset, ipc: int, *, seed: int = 0, **settings: Any) -> tuple[DistilledSet, list[float]]:
    losses: list[float] = []
    made = DistributionMatching(**settings).distill(source, ipc, seed, lambda _done, _total, loss: losses.append(loss))
    return made, losses


def initial_images(source: ImageDataset, ipc: int, seed: int = 0) -> Tensor:
    """What distilling starts from: the result of a step that is too small to count."""
    return distil(source, ipc, seed=seed, iterations=1, learning_rate=1e-20, model=LINEAR)[0].images


def test_it_starts_from_real_images_in_the_space_of_its_preprocessing() -> None:
    source = random_dataset()
    real = distil(source, 2, iterations=1, learning_rate=1e-20, model=CONVNET)[0].preprocess(source.images / 255)
    for image, label in zip(initial_images(source, 2), [0, 0, 1, 1, 2, 2], strict=True):
        (origin,) = (real == image).all(dim=(1, 2, 3)).nonzero().flatten().tolist()
        assert source.labels[origin] == label


@pytest.mark.parametrize(("ipc", "momentum"), [(1, 0.0), (2, 0.0), (3, 0.5)])
def test_steps_follow_equation_4_worked_out_by_hand(ipc: int, momentum: float) -> None:
    # With ψ(x) = A·x and all real images of a class in every batch, Eq. 4 of the paper is
    # Σ_c |A·(mean real - mean synthetic)|², and its gradient for a synthetic image -2/ipc · Aᵀ·A·(the difference).
    source, rate = random_dataset(), 0.05
    settings: dict[str, Any] = {"model": LINEAR, "augmentation": "none", "real_images": 8}
    found, losses = distil(source, ipc, iterations=4, learning_rate=rate, momentum=momentum, **settings)

    a = fixed_matrix().double().numpy()
    pixels = source.images.numpy().reshape(24, PIXELS) / 255
    real = (pixels - pixels.mean()) / pixels.std()
    means = np.stack([real[source.labels.numpy() == c].mean(0) for c in range(CLASSES)])
    x = initial_images(source, ipc).double().numpy().reshape(CLASSES, ipc, PIXELS)
    velocity = np.zeros_like(x)
    expected_losses = []
    for _ in range(4):
        difference = means - x.mean(1)
        expected_losses.append(float(((difference @ a.T) ** 2).sum()))
        gradient = -2 / ipc * (difference @ a.T @ a)[:, None, :]
        velocity = momentum * velocity + gradient
        x = x - rate * ipc * velocity  # the rate is for one image a class
    np.testing.assert_allclose(found.images.numpy().reshape(x.shape), x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)


def matching_loss(images: Tensor, ipc: int, real: Tensor, labels: Tensor, seed: int) -> float:
    """Eq. 4 under a random network that the distiller has not seen, written without its code."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(8, 8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())
    with torch.no_grad():
        synthetic, embedded = network(images), network(real)
    return sum(
        float((embedded[labels == c].mean(0) - synthetic[c * ipc : (c + 1) * ipc].mean(0)).square().sum())
        for c in range(CLASSES)
    )


def test_it_lowers_the_matching_loss_under_networks_it_has_not_seen() -> None:
    source, ipc = random_dataset(per_class=20), 2
    found, _ = distil(source, ipc, iterations=60, real_images=20, learning_rate=0.3, augmentation="none", model=CONVNET)
    start, real = initial_images(source, ipc), found.preprocess(source.images / 255)
    with torch.random.fork_rng(devices=[]):
        before, after = (
            sum(matching_loss(images, ipc, real, source.labels, seed) for seed in range(5))
            for images in (start, found.images)
        )
    assert after < 0.5 * before


def test_real_and_synthetic_images_are_augmented_alike() -> None:
    # All images of a class on both sides: the loss is zero, unless the augmentations differ.
    source = random_dataset()
    _, losses = distil(source, 8, iterations=30, real_images=8, learning_rate=1e-20, model=CONVNET)
    assert len(losses) == 30
    assert max(losses) < 1e-8
    _, apart = distil(source, 8, iterations=3, real_images=7, learning_rate=1e-20, model=CONVNET)
    assert min(apart) > 1e-4


def test_every_iteration_draws_another_network_and_other_real_images() -> None:
    source = random_dataset()
    # All real images: only the network differs. The same network: only the real images differ.
    for model, real_images in ((CONVNET, 8), (LINEAR, 2)):
        settings: dict[str, Any] = {"model": model, "real_images": real_images, "augmentation": "none"}
        _, losses = distil(source, 1, iterations=4, learning_rate=1e-20, **settings)
        assert len(set(losses)) == 4


def test_a_class_with_fewer_images_than_a_batch_wants_is_taken_whole() -> None:
    source = random_dataset()
    few, many = (
        distil(source, 1, iterations=3, real_images=count, augmentation="none", model=LINEAR)[1] for count in (8, 64)
    )
    np.testing.assert_allclose(few, many, rtol=1e-4)


def test_image_gradients_are_those_of_the_synthetic_images() -> None:
    found, losses = distil(random_dataset(), 2, iterations=3, model=CONVNET)
    assert found.provenance["cost"]["image_gradients"] == 3 * 2 * CLASSES
    assert len(losses) == 3


def test_divergence_is_said() -> None:
    with pytest.raises(UserError, match=r"diverged at iteration \d: lower its learning_rate, now 1e\+30"):
        distil(random_dataset(), 1, iterations=9, learning_rate=1e30, model=LINEAR)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "iterations and real_images of at least 1"),
        ({"real_images": 0}, "iterations and real_images of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"learning_rate": float("nan")}, "learning_rate above 0"),
        ({"momentum": 1.0}, "momentum from 0 to below 1"),
        ({"augmentation": "siames"}, "no augmentation 'siames'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DistributionMatching(**settings)


def test_a_network_that_cannot_embed_is_refused() -> None:
    with pytest.raises(UserError, match="no linear layer whose input could serve as embedding"):
        distil(random_dataset(), 1, iterations=1, model={"name": f"{__name__}:no_linear_layer"})
    with pytest.raises(UserError, match=r"no architecture 'convnt'\. Did you mean 'convnet'"):
        distil(random_dataset(), 1, iterations=1, model={"name": "convnt"})


def test_an_embedding_is_what_the_last_linear_layer_sees() -> None:
    model = build(ModelSpec("convnet", {"depth": 2, "width": 4}), (1, 8, 8), 3, seed=0)
    images = torch.randn(5, 1, 8, 8)
    embedded = embed(model, images)
    assert embedded.shape == (5, 4 * 2 * 2)
    classifier = model.get_submodule("classifier")
    torch.testing.assert_close(classifier(embedded), model(images))
    assert not classifier._forward_pre_hooks
