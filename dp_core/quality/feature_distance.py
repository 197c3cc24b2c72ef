"""How far the images of a distilled set are from real ones of their classes, as a trained network sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Standardisation
from dp_core.distillation import DistilledSet
from dp_core.distillation.embedding import embed, embed_images
from dp_core.errors import UserError

_BATCH = 250  # images embedded at once


@dataclass(frozen=True)
class FeatureDistance:
    """Distances of class-conditional feature distributions, means over the classes, each divided by the features.

    Attributes:
        mean_distance: ‖mean of the set's − mean of real features‖², which is the squared maximum mean discrepancy with
            a linear kernel, and what distribution matching minimises (Zhao & Bilen 2023, arXiv 2110.04181).
        random_mean_distance: what `mean_distance` would be, in expectation, of as many real images drawn at random
            without replacement: tr Σ · (1/n − 1/N) for n of N images with sample covariance Σ.
        frechet_distance: Fréchet distance of Gaussians, ‖Δmean‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½) (Dowson & Landau 1982;
            FID, Heusel et al. 2017, but by class).
    """

    mean_distance: float
    random_mean_distance: float
    frechet_distance: float


def feature_distance(distilled: DistilledSet, real: ImageDataset, network: nn.Module) -> FeatureDistance:
    """Measure how far a set's images are from real ones of the same class in the embedding of a network.

    The embedding is the input of the last linear layer. Images with soft labels belong to their most probable class;
    classes that no image belongs to are left out. Distances are comparable among sets in one space and network only.

    Args:
        distilled: the set.
        real: real images of every class, those of the training split for instance.
        network: trained on real images *in the set's own space* (`train_teacher(real, distilled.preprocessing, …)`),
            in evaluation mode.

    Raises:
        UserError: the set is not for such images, a class has no real image, or the network has no embedding.
    """
    distilled.check_fits(real.image_shape, real.class_names)
    images, labels = distilled.training_data()
    classes = labels if labels.dim() == 1 else labels.argmax(1)
    embedded = _embed(network, images)
    distances = []
    for label in classes.unique().tolist():
        members = real.class_indices(label)
        if not len(members):
            raise UserError(f"The class '{real.class_names[label]}' has no real image to compare with.")
        others = embed_images(network, real, distilled.preprocessing, members)
        distances.append(_distances(embedded[classes == label], others))
    mean, random, frechet = torch.tensor(distances, dtype=torch.float64).mean(0).tolist()
    return FeatureDistance(mean, random, frechet)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Return the Fréchet distance of the Gaussians with the means and sample covariances of two clouds of features.

    Covariances are not regularised, nor need they be: nothing is inverted, and (Σ₁ Σ₂)^½ has the trace
    ‖X₁ X₂ᵀ‖_* / √((n₁ − 1)(n₂ − 1)), the sum of singular values, with X the centred features; that holds for singular
    covariances and costs a decomposition of n₁ × n₂ numbers, not of features². The covariance of a single image is 0.
    Few images span few directions, so even real images drawn at random are at a distance, the larger the fewer they
    are: read it beside that of equally many random ones, see `in_space_of`.

    Args:
        one: float [n₁, features], n₁ at least 1.
        other: float [n₂, features], n₂ at least 1.
    """
    (mean_one, spread_one), (mean_other, spread_other) = (_moments(cloud) for cloud in (one, other))
    root = torch.linalg.svdvals(spread_one @ spread_other.T).sum()
    covariances = spread_one.square().sum() + spread_other.square().sum() - 2 * root
    return max(0.0, float((mean_one - mean_other).square().sum() + covariances))


def in_space_of(control: DistilledSet, distilled: DistilledSet) -> DistilledSet:
    """Return a standardised set of real images in the space of another set, where their distances can be compared.

    Raises:
        UserError: the control is not standardised, so its pixels are not known.
    """
    if not isinstance(control.preprocessing, Standardisation):
        raise UserError("Only a standardised set can be brought to the space of another.")
    pixels = control.preprocessing.inverse(control.images)
    return replace(control, images=distilled.preprocess(pixels), preprocessing=distilled.preprocessing)


def _moments(cloud: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, float64 [features], and X [n, features] with the sample covariance Xᵀ X."""
    cloud = cloud.double()
    mean = cloud.mean(0)
    return mean, (cloud - mean) / max(len(cloud) - 1, 1) ** 0.5


def _distances(made: Tensor, real: Tensor) -> tuple[float, float, float]:
    (mean, _), (real_mean, real_spread) = _moments(made), _moments(real)
    shift = float((mean - real_mean).square().sum())
    random = float(real_spread.square().sum()) * max(0.0, 1 / len(made) - 1 / len(real))
    features = made.shape[1]
    return shift / features, random / features, frechet_distance(made, real) / features


def _embed(network: nn.Module, images: Tensor) -> Tensor:
    device = next(network.parameters()).device
    with torch.no_grad():
        return torch.cat([embed(network, part.to(device)).float().cpu() for part in images.split(_BATCH)])
