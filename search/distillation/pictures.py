"""The images of a distilled set as people look at them: pixels again, in a grid with a row for each class."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dp_core.data.preprocessing import Preprocessing, Standardisation
from dp_core.distillation import DistilledSet
from dp_core.files import replacing, room_for

# What a grid shows at most: so many classes, and images of each.
_ROWS, _COLUMNS = 100, 10
_GAP = 2


def inverse_of(preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
    """Return the map from the space of a distilled set, float [N, C, H, W], back to pixels, which may leave [0, 1].

    A ZCA's matrix is inverted once, in float32: its eigenvalues lie within a factor of some tens of each other.
    """
    if isinstance(preprocessing, Standardisation):
        return preprocessing.inverse
    matrix, mean = torch.linalg.inv(preprocessing.matrix.float()), preprocessing.mean.float()
    return lambda images: (images.flatten(1) @ matrix + mean).view_as(images)


class Album:
    """Writes pictures of sets that live in one space.

    Args:
        folder: where they go; is made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inverse: tuple[Preprocessing, Callable[[Tensor], Tensor]] | None = None

    def add(self, name: str, distilled: DistilledSet) -> Path:
        """Write `<name>.png` of the first ten images of each of the first hundred classes; return its path.

        Args:
            name: of the file, without its ending.
            distilled: a set whose images are in order of their classes, as distillers make them.

        Raises:
            UserError: the disk is full.
        """
        ipc = distilled.images_per_class
        rows, columns = min(distilled.classes, _ROWS), min(ipc, _COLUMNS)
        shown = distilled.images.unflatten(0, (distilled.classes, ipc))[:rows, :columns]
        pixels = self._inverse_of(distilled.preprocessing)(shown.flatten(0, 1)).clamp(0, 1)
        buffer = io.BytesIO()
        _picture(_tiled(pixels, rows)).save(buffer, "png")
        path = self._folder / f"{name}.png"
        with room_for(path), replacing(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
        return path

    def _inverse_of(self, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
        # All snapshots of a distillation share one object, and inverting a ZCA takes seconds.
        if self._inverse is None or self._inverse[0] is not preprocessing:
            self._inverse = preprocessing, inverse_of(preprocessing)
        return self._inverse[1]


def _tiled(images: Tensor, rows: int) -> Tensor:
    """Return images [N, C, H, W] side by side in so many rows, on white: [C, height, width]."""
    tiles = F.pad(images, (_GAP, 0, _GAP, 0), value=1.0).unflatten(0, (rows, -1))
    joined = tiles.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return F.pad(joined, (0, _GAP, 0, _GAP), value=1.0)


def _picture(pixels: Tensor) -> Image.Image:
    """Return pixels [C, height, width] in [0, 1] as a picture: in colour if C is 3, else the first channel in grey."""
    values = pixels.mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image.fromarray(values.numpy() if values.shape[2] == 3 else values[:, :, 0].contiguous().numpy())
