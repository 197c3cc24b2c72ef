"""Whether a distilled set and real data find the same weights: the overlap of two masks, read against chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dp_core.data import ImageDataset
from dp_core.device import default_device
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from dp_core.pruning import GlobalMagnitude, Mask, check_sparsity, no_examples
from dp_core.seeds import derive_seed
from dp_core.training import Diverged, Recipe, Training, TrainingData


@dataclass(frozen=True)
class MaskAgreement:
    """How much two masks of one network have in common.

    Attributes:
        intersection_over_union: weights that both keep over weights that at least one keeps (Jaccard index), from 0 to
            1, counted over the whole network.
        chance: the same of two independent random masks with the same number of weights in every layer: expected
            intersection over expected union. With k of a layer's n weights in one and l in the other, the intersection
            is hypergeometric with mean k·l / n. The expectation of the ratio itself is larger, by O(1 / weights).
    """

    intersection_over_union: float
    chance: float

    @property
    def above_chance(self) -> float:
        """The share of what can be gained over chance: 0 at chance, 1 for equal masks, below 0 for masks that avoid.

        Layer-wise densities alone, in which masks of one criterion resemble each other, count for nothing in it.
        """
        return (self.intersection_over_union - self.chance) / (1 - self.chance) if self.chance < 1 else 1.0


def mask_overlap(one: Mask, other: Mask) -> MaskAgreement:
    """Return how much two masks have in common.

    Raises:
        UserError: the masks are of different networks, or neither keeps a weight.
    """
    if {name: kept.shape for name, kept in one.items()} != {name: kept.shape for name, kept in other.items()}:
        raise UserError("Only masks of the same network can be compared, and these are of different ones.")
    kept = one.kept + other.kept
    if not kept:
        raise UserError("Masks without a weight have nothing to be compared.")
    common = sum(int((one[name] & other[name]).sum()) for name in one)
    expected = sum(int(one[name].sum()) * int(other[name].sum()) / one[name].numel() for name in one)
    return MaskAgreement(common / (kept - common), expected / (kept - expected))


def mask_agreement(
    distilled: DistilledSet,
    train: ImageDataset,
    spec: ModelSpec,
    *,
    sparsity: float,
    recipe_set: Recipe,
    recipe_real: Recipe,
    seed: int,
) -> MaskAgreement:
    """Compare the magnitude masks of a network trained on a set and of the same network trained on real data.

    Both start from the same initial weights. Real images go through the set's preprocessing, so that it is the images
    that make the difference and not the space. Each is trained once and pruned in one go, by magnitude over the whole
    network.

    Args:
        distilled: the set.
        train: the real images.
        spec: the network.
        sparsity: of the masks, above 0 and below 1.
        recipe_set: of the training on the set.
        recipe_real: of the training on real data.
        seed: of initial weights, and of data order and augmentation, which are different for the two.

    Raises:
        UserError: the set is not for such images, the sparsity is out of range, or a training diverges.
    """
    distilled.check_fits(train.image_shape, train.class_names)
    if not sparsity > 0:
        raise UserError(f"Masks are compared at a sparsity above 0, not {sparsity}.")
    made = TrainingData(*distilled.training_data())
    real = TrainingData(train.images, train.labels, distilled.preprocessing)
    masks = [
        _magnitude_mask(data, recipe, spec, distilled, sparsity, seed, name)
        for name, data, recipe in (("set", made, recipe_set), ("real", real, recipe_real))
    ]
    return mask_overlap(*masks)


def _magnitude_mask(
    data: TrainingData, recipe: Recipe, spec: ModelSpec, like: DistilledSet, sparsity: float, seed: int, name: str
) -> Mask:
    model = build(spec, like.image_shape, like.classes, seed=derive_seed(seed, "initial weights"))
    dense = Mask.ones(model)
    check_sparsity(sparsity, {name: kept.numel() for name, kept in dense.items()})
    model = model.to(default_device())
    training = Training(model, data.to(default_device()), recipe, seed=derive_seed(seed, name), mask=None)
    try:
        training.run()
    except Diverged as error:
        raise UserError(f"The masks of '{spec.label()}' cannot be compared: {error}.") from error
    return GlobalMagnitude()(model, dense, sparsity, torch.Generator(), no_examples)
