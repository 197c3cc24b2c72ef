"""RDED, realistic, diverse and efficient distillation (Sun et al., CVPR 2024, arXiv 2312.03526)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation.base import HERE, Workspace, check_images_per_class, pixels, provenance, standardisation_of
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.teacher import teacher_gradients, train_teacher, untrained
from dp_core.errors import UserError
from dp_core.seeds import generator

_BATCH = 100  # images that the teacher sees at once
_LARGE = 64  # pixels a side from which on a quarter of an image still shows something


@dataclass(frozen=True)
class RDED:
    """Stitch images together from the crops of real ones that a teacher finds most realistic, with its soft labels.

    Of each class, random images are drawn, and random crops of each. A crop is as realistic as the teacher's
    cross-entropy of its class is low; the best crop of each image competes with those of the others, and `factor` ×
    `factor` winners make one image. A label is the teacher's probabilities for the stitched image, as it stands: one
    for each image, where the authors ask their teacher again for every augmented view in training. Images have 8 bits.
    """

    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "convnet", "depth": 3, "width": 64})
    """The teacher: `name` and hyperparameters."""
    steps: int = 1000
    """Steps of 128 images that the teacher is trained for, at least 1."""
    factor: int | None = None
    """Crops to a side of an image, at least 1, a divisor of its height and width; None is 2 for images of 64 pixels a
    side and larger, if it divides them, and else 1."""
    candidates: int = 300
    """Images of each class that crops are taken from, at least ipc × factor²; all of them where a class has fewer."""
    crops: int = 5
    """Random crops of each candidate, at least 1."""
    smallest_crop: float = 0.08
    """Share of the image's area that a crop has at least, above 0 and at most 1; shares are drawn uniformly."""

    def __post_init__(self) -> None:
        for key, fine, wanted in (
            ("steps", self.steps >= 1, "of at least 1"),
            ("factor", self.factor is None or self.factor >= 1, "of at least 1"),
            ("candidates", self.candidates >= 1, "of at least 1"),
            ("crops", self.crops >= 1, "of at least 1"),
            ("smallest_crop", 0 < self.smallest_crop <= 1, "above 0 and at most 1"),
        ):
            if not fine:
                raise UserError(f"RDED needs {key} {wanted}, not {getattr(self, key)}.")

    def settings(self) -> dict[str, Any]:
        """See Distiller."""
        return {"method": "rded", **asdict(self), "model": dict(self.model)}

    def check(self, source: ImageDataset, images_per_class: int) -> None:
        """See Distiller."""
        check_images_per_class(source, images_per_class)
        factor, (_, height, width) = self._factor(source), source.image_shape
        if height % factor or width % factor:
            raise UserError(f"RDED cannot stitch images of {height}×{width} from {factor}×{factor} crops.")
        needed = images_per_class * factor**2
        smallest = min(len(source.class_indices(label)) for label in range(source.classes))
        if needed > min(self.candidates, smallest):
            raise UserError(
                f"RDED needs {needed} candidates a class for {images_per_class} images of {factor}×{factor} crops, "
                f"but its setting 'candidates' is {self.candidates} and the smallest class has {smallest} images."
            )
        untrained(source, self.model, seed=0)

    def distill(
        self, source: ImageDataset, images_per_class: int, seed: int, workspace: Workspace = HERE
    ) -> DistilledSet:
        """See Distiller."""
        self.check(source, images_per_class)
        started = time.perf_counter()
        space, total = standardisation_of(source), self.steps + source.classes
        workspace.say(f"Training the teacher of RDED for {self.steps} steps.")
        teacher = train_teacher(
            source, space, self.model, self.steps, seed, lambda done, _, loss: workspace.progress(done, total, loss)
        )
        stitched = []
        for label in range(source.classes):
            stitched.append(self._images_of(label, teacher, source, space, images_per_class, seed))
            workspace.progress(self.steps + label + 1, total, 0.0)
        images = space(torch.cat(stitched).float().div_(255))
        gradients = teacher_gradients(source, self.steps)
        return DistilledSet(
            images=images,
            labels=_logits(teacher, images).softmax(1),
            preprocessing=space,
            class_names=source.class_names,
            images_per_class=images_per_class,
            learning_rate=None,
            provenance=provenance(
                self.settings(), source, seed, seconds=time.perf_counter() - started, image_gradients=gradients
            ),
        )

    def _factor(self, source: ImageDataset) -> int:
        _, height, width = source.image_shape
        if self.factor is not None:
            return self.factor
        return 2 if min(height, width) >= _LARGE and not (height % 2 or width % 2) else 1

    def _images_of(
        self, label: int, teacher: nn.Module, source: ImageDataset, space: Preprocessing, count: int, seed: int
    ) -> Tensor:
        """Return `count` stitched images of a class, uint8 [count, C, H, W]."""
        factor, (_, height, width) = self._factor(source), source.image_shape
        tile = height // factor, width // factor
        members = source.class_indices(label)
        drawn = torch.randperm(len(members), generator=generator(seed, "candidates", label))[: self.candidates]
        candidates = pixels(source, members[drawn])
        boxes = draw_boxes(
            (self.crops, len(candidates)), (height, width), self.smallest_crop, generator(seed, "crops", label)
        )
        losses = []
        for each in boxes:  # the teacher sees what a tile keeps of a crop, at the size of the images it was trained on
            seen = F.interpolate(crop_out(candidates, each, tile), (height, width), mode="bilinear")
            losses.append(-_logits(teacher, space(seen)).log_softmax(1)[:, label])
        images, crops = most_realistic(torch.stack(losses), count * factor**2)
        stitched = stitch(crop_out(candidates[images], boxes[crops, images], tile), factor)
        return stitched.mul_(255).round_().to(torch.uint8)


def draw_boxes(count: tuple[int, int], image: tuple[int, int], smallest: float, draw: torch.Generator) -> Tensor:
    """Draw boxes in the image's own proportions, of whole pixels, anywhere in it.

    Args:
        count: crops and images.
        image: height, width.
        smallest: the least share of the area, in (0, 1]; shares are uniform from there to 1.
        draw: a CPU generator.

    Returns:
        int64 [crops, images, 4]: left, top, right, bottom, the last two exclusive.
    """
    share, across, down = torch.rand(3, *count, dtype=torch.float64, generator=draw)
    side = (smallest + (1 - smallest) * share).sqrt()
    height, width = ((length * side).round().clamp(min=1) for length in image)
    top = (down * (image[0] - height + 1)).floor()
    left = (across * (image[1] - width + 1)).floor()
    return torch.stack([left, top, left + width, top + height], dim=-1).long()


def crop_out(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut one box, int64 [n, 4] as from `draw_boxes`, out of each image, float [n, C, H, W], and resize it to `size`.

    Bilinear where a crop grows; where it shrinks, a pixel is the mean over its share of the crop. A box of `size` is
    copied as it is.
    """
    numbered = torch.cat([torch.arange(len(images))[:, None], boxes], dim=1).to(images)
    resized: Tensor = roi_align(images, numbered, size, sampling_ratio=-1, aligned=True)
    return resized


def most_realistic(losses: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Take the best crop of each image, then the `count` best images.

    Args:
        losses: float [crops, images], lower is more realistic.
        count: from 1 to the number of images.

    Returns:
        The images, int64 [count], the most realistic first, and which crop of each, int64 [count]. Of equals, the
        first.
    """
    best, crops = losses.min(dim=0)
    images = best.argsort(stable=True)[:count]
    return images, crops[images]


def stitch(tiles: Tensor, factor: int) -> Tensor:
    """Put tiles together, `factor` × `factor` to an image.

    Image i of n has in its k-th place, row by row, the tile k·n + i: with the best tiles first, as in the authors'
    code, every image gets its share of them.

    Args:
        tiles: [n · factor², C, h, w].
        factor: tiles to a side.

    Returns:
        [n, C, factor · h, factor · w].
    """
    places, (channels, height, width) = tiles.view(factor, factor, -1, *tiles.shape[1:]), tiles.shape[1:]
    in_order = places.permute(2, 3, 0, 4, 1, 5)  # from row, column, image, C, h, w to image, C, row, h, column, w
    return in_order.reshape(-1, channels, factor * height, factor * width)


def _logits(teacher: nn.Module, images: Tensor) -> Tensor:
    """Return the teacher's logits, float [n, classes] on the CPU, for images in its space, batch by batch."""
    device = next(teacher.parameters()).device
    with torch.no_grad():
        logits: list[Tensor] = [teacher(part.to(device)).float().cpu() for part in images.split(_BATCH)]
    return torch.cat(logits)
