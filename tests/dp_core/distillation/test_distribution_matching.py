from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.distillation import DistilledSet, DistributionMatching, distribution_matching
from dp_core.distillation.base import Workspace
from dp_core.distillation.embedding import embed
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.training import Network
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
    told = Workspace(progress=lambda _done, _total, loss: losses.append(loss))
    return DistributionMatching(**settings).distill(source, ipc, seed, told), losses


def initial_images(source: ImageDataset, ipc: int, seed: int = 0) -> Tensor:
    """What distilling starts from: the real images that are there after a step that is too small to count."""
    made, _ = distil(source, ipc, seed=seed, iterations=1, image_rate=1e-20, architectures=LINEAR)
    real = made.preprocess(source.images / 255)
    # A set holds float16 values, in which all of these images are still different.
    return torch.cat([real[(real.half().float() == image).all(dim=(1, 2, 3))] for image in made.images])


def test_it_starts_from_real_images_in_the_space_of_its_preprocessing() -> None:
    source = random_dataset()
    found, _ = distil(source, 2, iterations=1, image_rate=1e-20, architectures=CONVNET)
    real = found.preprocess(source.images / 255).half().float()
    origins = []
    for image, label in zip(found.images, [0, 0, 1, 1, 2, 2], strict=True):
        (origin,) = (real == image).all(dim=(1, 2, 3)).nonzero().flatten().tolist()
        assert source.labels[origin] == label
        origins.append(origin)
    assert len(set(origins)) == 6


@pytest.mark.parametrize(("ipc", "momentum"), [(1, 0.0), (2, 0.0), (3, 0.5)])
def test_steps_follow_equation_4_worked_out_by_hand(ipc: int, momentum: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution_matching, "Network", partial(Network, precision="float32"))
    # With ψ(x) = A·x and all real images of a class in every batch, Eq. 4 of the paper is
    # Σ_c |A·(mean real - mean synthetic)|², and its gradient for a synthetic image -2/ipc · Aᵀ·A·(the difference).
    source, rate = random_dataset(), 0.05
    settings: dict[str, Any] = {"architectures": LINEAR, "augmentation": "none", "real_images": 8}
    found, losses = distil(source, ipc, iterations=4, image_rate=rate, momentum=momentum, **settings)

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
    # In the precision of float16, in which a set is kept.
    np.testing.assert_allclose(found.images.numpy().reshape(x.shape), x, rtol=2**-11, atol=1e-5)
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
    found, _ = distil(
        source, ipc, iterations=60, real_images=20, image_rate=0.3, augmentation="none", architectures=CONVNET
    )
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
    _, losses = distil(source, 8, iterations=30, real_images=8, image_rate=1e-20, architectures=CONVNET)
    assert len(losses) == 30
    assert max(losses) < 1e-8
    _, apart = distil(source, 8, iterations=3, real_images=7, image_rate=1e-20, architectures=CONVNET)
    assert min(apart) > 1e-4


def test_every_iteration_draws_another_network_and_other_real_images() -> None:
    source = random_dataset()
    # All real images: only the network differs. The same network: only the real images differ.
    for model, real_images in ((CONVNET, 8), (LINEAR, 2)):
        settings: dict[str, Any] = {"architectures": model, "real_images": real_images, "augmentation": "none"}
        _, losses = distil(source, 1, iterations=4, image_rate=1e-20, **settings)
        assert len(set(losses)) == 4


def test_a_class_with_fewer_images_than_a_batch_wants_is_taken_whole() -> None:
    source = random_dataset()
    few, many = (
        distil(source, 1, iterations=3, real_images=count, augmentation="none", architectures=LINEAR)[1]
        for count in (8, 64)
    )
    np.testing.assert_allclose(few, many, rtol=1e-4)


def test_image_gradients_are_those_of_the_synthetic_images() -> None:
    found, losses = distil(random_dataset(), 2, iterations=3, architectures=CONVNET)
    assert found.provenance["cost"]["image_gradients"] == 3 * 2 * CLASSES
    assert len(losses) == 3


def test_divergence_is_said() -> None:
    with pytest.raises(UserError, match=r"diverged again at iteration 1, .*: the images .* Take a smaller image_rate"):
        distil(random_dataset(), 1, iterations=9, image_rate=1e30, architectures=LINEAR)


def test_images_that_are_hardly_images_any_more_are_said() -> None:
    said: list[str] = []
    for rate, expected in ((0.1, 0), (1e4, 1)):
        maker = DistributionMatching(architectures=LINEAR, iterations=1, image_rate=rate)
        made = maker.distill(random_dataset(8), 1, 0, Workspace(say=said.append))
        assert (made.images.abs().max() > 100) == bool(expected)
        assert sum("hardly images any more" in sentence for sentence in said) == expected


def test_a_rate_that_is_too_large_is_halved() -> None:
    # With all real images Eq. 4 is a fixed bowl. Beyond 2/curvature steps grow: those at 7.6 and 3.8 do, at 1.9 not.
    source = random_dataset()
    curvature = 2 * float(torch.linalg.matrix_norm(fixed_matrix(), 2) ** 2)
    settings: dict[str, Any] = {"architectures": LINEAR, "augmentation": "none", "real_images": 8, "momentum": 0.0}
    found, losses = distil(source, 1, iterations=200, image_rate=7.6 / curvature, **settings)
    assert found.provenance["divergences"] == 2
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "distribution_matching needs iterations at least 1, not 0"),
        ({"real_images": 0}, "distribution_matching needs real_images at least 1, not 0"),
        ({"image_rate": 0.0}, "image_rate above 0"),
        ({"image_rate": float("nan")}, "image_rate above 0"),
        ({"momentum": 1.0}, "momentum from 0 to below 1"),
        ({"augmentation": "siames"}, "no augmentation 'siames'. Did you mean 'siamese'"),
        ({"labels": "learned"}, "has no use for learned labels: labels is hard"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DistributionMatching(**settings)


def test_a_network_that_cannot_embed_is_refused() -> None:
    with pytest.raises(UserError, match="no linear layer whose input could serve as embedding"):
        distil(random_dataset(), 1, iterations=1, architectures={"name": f"{__name__}:no_linear_layer"})
    with pytest.raises(UserError, match=r"no architecture 'convnt'\. Did you mean 'convnet'"):
        distil(random_dataset(), 1, iterations=1, architectures={"name": "convnt"})


def test_an_embedding_is_what_the_last_linear_layer_sees() -> None:
    model = build(ModelSpec("convnet", {"depth": 2, "width": 4}), (1, 8, 8), 3, seed=0)
    images = torch.randn(5, 1, 8, 8)
    embedded = embed(model, images)
    assert embedded.shape == (5, 4 * 2 * 2)
    classifier = model.get_submodule("classifier")
    torch.testing.assert_close(classifier(embedded), model(images))
    assert not classifier._forward_pre_hooks
