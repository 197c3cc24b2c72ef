"""What all jobs of a comparison share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dp_core.data.preprocessing import Preprocessing, Standardisation
from dp_core.data.reading import Stream
from dp_core.distillation import DistilledSet
from dp_core.distillation.base import draw_images
from dp_core.judging import calibration_images
from dp_core.models import ModelSpec, build
from dp_core.pruning import Scope
from dp_core.seeds import derive_seed, generator
from dp_core.training import DataSource, Recipe, TrainingData
from trainables.laboratory.files import Cell, ComparisonFiles
from trainables.laboratory.method import Method
from trainables.trials.placement import training_data
from trainables.trials.shared_dataset import SharedDataset


@dataclass(frozen=True)
class Stability:
    """What is measured of a trained ticket beside its accuracy.

    Attributes:
        barrier_at: sparsities whose tickets are trained a second time in another data order, for the error barrier
            between the two (instability analysis, Frankle et al. 2020); 0 is the dense network.
        points: of the path between the two.
        eigenvalue_at: sparsities at which the top eigenvalue of the Hessian is found.
        images: training images for the eigenvalue and for the re-estimation of BatchNorm statistics.
    """

    barrier_at: tuple[float, ...]
    points: int
    eigenvalue_at: tuple[float, ...]
    images: int


@dataclass(frozen=True, eq=False)
class Laboratory:
    """What all jobs of a comparison share.

    Attributes:
        train: the real images that `real` and `subset` methods and every final training use.
        validation: held-back images that learning rates are chosen on and paths are evaluated on.
        test: used once for each trained ticket.
        space: preprocessing of real images.
        sets: distilled sets by `Method.set_key`.
        networks: architectures by name.
        methods: by network and by name.
        scope: what is prunable.
        recipe: of the final training, with the first of `learning_rates`.
        learning_rates: of the final training; of several the best on validation images is taken for each network.
        rate_of_each: whether each method has its own of them, or all that of the dense network.
        masks_count: whether final trainings are as much shorter as their masks have cost image-gradients.
        stability: what else is measured.
        seed: the comparison's; that of a cell follows from it and from its number, and is the same for all methods.
        folder: of the comparison.
        threads: CPU threads of a job.
        stream: when real images are streamed, see `training_data`.
        round_images: how many validation images each round, and each quarter of a final training, is scored on.
    """

    train: SharedDataset
    validation: SharedDataset
    test: SharedDataset
    space: Standardisation
    sets: Mapping[str, DistilledSet]
    networks: Mapping[str, ModelSpec]
    methods: Mapping[str, Mapping[str, Method]]
    scope: Scope
    recipe: Recipe
    learning_rates: tuple[float, ...]
    stability: Stability
    seed: int
    folder: Path
    threads: int
    stream: Stream
    round_images: int
    rate_of_each: bool = False
    masks_count: bool = False

    @property
    def files(self) -> ComparisonFiles:
        """Return where results are."""
        return ComparisonFiles(self.folder)

    def method(self, cell: Cell) -> Method:
        """Return the method of a cell."""
        return self.methods[cell.network][cell.method]

    def cell_seed(self, network: str, seed: int) -> int:
        """Return the seed of everything that methods share: initial weights, data orders, the random subset."""
        return derive_seed(self.seed, "cell", network, seed)

    def network(self, network: str, seed: int, device: torch.device, *, fresh: bool = False) -> nn.Module:
        """Return the untrained network: the same weights for every method, or `fresh` ones."""
        shape, classes = self.train.open().image_shape, len(self.train.class_names)
        drawn = derive_seed(self.cell_seed(network, seed), "fresh weights" if fresh else "weights")
        spec = self.networks[network]
        return build(spec.architecture if fresh else spec, shape, classes, seed=drawn).to(device)

    def data(self, method: Method, seed: int, device: torch.device) -> tuple[DataSource, Preprocessing]:
        """Return what a method's rounds train on, and the preprocessing that real images need to meet it."""
        if method.set_key is not None:
            chosen = self.sets[method.set_key]
            return TrainingData(*chosen.training_data()).to(device), chosen.preprocessing
        space = self.space if method.space is None else self.sets[method.space].preprocessing
        if method.source == "subset":
            assert method.images_per_class is not None
            train = self.train.open()
            drawn = draw_images(train, method.images_per_class, generator(seed, "subset"))
            return TrainingData(train.images[drawn], train.labels[drawn], space).to(device), space
        return self.real_data(device, space), space

    def real_data(self, device: torch.device, space: Preprocessing | None = None) -> DataSource:
        """Return the real training images, by default in the space of the final training."""
        return training_data(self.train.open(), space or self.space, device, self.stream)

    def scoring_data(self, split: SharedDataset, space: Preprocessing, images: int | None = None) -> TrainingData:
        """Return `images` of a split (None: all), drawn at random but always the same, in `space`, on the CPU."""
        opened = split.open()
        if images is not None and images < len(opened):
            order = torch.randperm(len(opened), generator=generator(self.seed, "scored images"))
            opened = opened.select(torch.sort(order[:images]).values)
        return TrainingData(opened.images, opened.labels, space)

    def calibration(self, space: Preprocessing) -> TrainingData:
        """Return the real training images that networks are judged with (see `judge`), in `space`."""
        return calibration_images(self.train.open(), space)
