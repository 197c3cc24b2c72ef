"""How expert trajectories are made, and what tells one buffer of them from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing, Standardisation
from dp_core.errors import UserError, nearest
from dp_core.files import digest_of_json
from dp_core.models import ModelSpec
from dp_core.seeds import derive_seed
from dp_core.source_code import combined, sources_within
from dp_core.training import Mode, Precision, Recipe, rehearsed

FORMAT = 1
MOST_EPOCHS = 999  # names of tensors number the epochs with three digits

Storage = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ExpertPlan:
    """Experts of trajectory matching, MTT (Cazenavette et al., CVPR 2022, arXiv 2203.11932).

    Each is trained on real data by SGD at a constant rate and keeps its parameters at the end of every epoch.
    """

    experts: int = 100
    """Trajectories, at least 1. A larger number adds to the experts that are there."""
    epochs: int = 50
    """Passes over the real data, from 1 to 999."""
    learning_rate: float = 0.01
    """SGD's constant rate, above 0."""
    batch_size: int = 256
    """Real images a step, at least 1."""
    momentum: float = 0.0
    """SGD's momentum, from 0 to below 1."""
    weight_decay: float = 0.0
    """L2 penalty, 0 or more."""
    augmentation: str = "siamese"
    """`siamese` (DSA), `flip_crop` or `none`."""
    models: tuple[Mapping[str, Any], ...] = field(
        default_factory=lambda: ({"name": "convnet", "depth": 3, "width": 128},)
    )
    """The networks, each `name` and hyperparameters; expert i is of architecture i mod their number."""
    precision: Precision = "auto"
    """Number format of the training, see Recipe; parameters are float32 in any case."""
    mode: Mode = "auto"
    """How the networks are executed, see Recipe."""
    storage: Storage = "float32"
    """How parameters are kept. `float32` is exact. `bfloat16` takes half the room and rounds a weight by up to 1/256 of
    itself: little of the weight, but not of the way that it goes in an epoch or two, which is what is matched. Of a
    ConvNet-3 w64 with 200 steps an epoch, the way of two epochs was off by 2 % of its length at epoch 0, 6 % at 10."""
    seed: int = 0
    """Of initial weights, data orders and augmentations; expert i is the same whatever the number of experts."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(dict(model) for model in self.models))  # from JSON it comes as a list
        if self.experts < 1:
            raise UserError(f"Expert trajectories need at least 1 of experts, not {self.experts}.")
        if not 1 <= self.epochs <= MOST_EPOCHS or self.epochs != int(self.epochs):
            raise UserError(f"Expert trajectories need whole epochs from 1 to {MOST_EPOCHS}, not {self.epochs}.")
        if not self.models:
            raise UserError("Expert trajectories need at least one of models, of which there is none.")
        if self.storage not in get_args(Storage):
            known = get_args(Storage)
            raise UserError(
                f"Expert trajectories cannot be kept with the storage '{self.storage}'."
                f"{nearest(str(self.storage), known)} Known: {', '.join(known)}."
            )
        object.__setattr__(self, "epochs", int(self.epochs))  # 3.0 is 3, and must not be another plan
        self.recipe()

    @property
    def dtype(self) -> torch.dtype:
        """The number format that parameters are kept in."""
        return torch.float32 if self.storage == "float32" else torch.bfloat16

    def recipe(self) -> Recipe:
        """Return how each expert is trained.

        Raises:
            UserError: a setting is out of its range.
        """
        return Recipe(
            optimizer="sgd",
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule="constant",
            epochs=self.epochs,
            batch_size=self.batch_size,
            augmentation=self.augmentation,
            precision=self.precision,
            mode=self.mode,
        )

    def spec(self, expert: int) -> ModelSpec:
        """Return the architecture of an expert, counted from 0."""
        return ModelSpec.from_dict(self.models[expert % len(self.models)])

    @property
    def specs(self) -> list[ModelSpec]:
        """The different architectures among the experts."""
        specs = [self.spec(expert) for expert in range(len(self.models))]
        return list({spec.label(): spec for spec in specs}.values())

    def seed_of(self, expert: int, purpose: str) -> int:
        """Return the seed of an expert's `initial weights` or of its `training`."""
        return derive_seed(self.seed, "expert", expert, purpose)

    def image_gradients(self, images: int) -> int:
        """Return how many images go forward and backward for all experts, on a data set of `images`."""
        recipe = self.recipe()
        return self.experts * recipe.total_steps(images) * recipe.images_per_step(images)

    def check(self, source: ImageDataset) -> None:
        """Raise UserError if a network cannot be built for the images of `source`, or not be trained on such."""
        for spec in self.specs:
            rehearsed(spec, source.image_shape, source.classes, self.recipe())

    def identity(self, source: ImageDataset, space: Preprocessing) -> dict[str, Any]:
        """Return all that makes each trajectory what it is, as plain values: not how many there are.

        Args:
            source: the training images.
            space: maps them, in [0, 1], to what the networks are trained on.
        """
        plan = {**asdict(self), "models": [dict(model) for model in self.models]}
        del plan["experts"]
        code = combined(sources_within(plan["models"]))
        return {
            "format": FORMAT,
            "source": source.digest,
            "classes": source.classes,
            "space": _fingerprint(space),
            **({} if code is None else {"code": code}),  # of a user's own networks, which may be changed
            **plan,
        }

    def digest(self, source: ImageDataset, space: Preprocessing) -> str:
        """Return the SHA-256 of `identity`, 64 hex digits."""
        return digest_of_json(self.identity(source, space))


def _fingerprint(space: Preprocessing) -> str:
    """Return what tells spaces apart but not the last digits of one that was fitted twice.

    A whitening that is fitted again with another number of threads differs in its rounding, and must not ask for hours
    of training. So numbers are taken to four decimals, and of a whitening only the mean and the matrix's diagonal:
    a few thousand numbers that move by far more if the images or eps change.
    """
    if isinstance(space, Standardisation):
        return digest_of_json({"standardisation": [_rounded(torch.tensor(part)) for part in (space.mean, space.std)]})
    return digest_of_json({"zca": [_rounded(part) for part in (space.mean, space.matrix.diagonal())]})


def _rounded(values: Tensor) -> list[int]:
    rounded: list[int] = (values.double().cpu() * 10_000).round().long().tolist()
    return rounded
