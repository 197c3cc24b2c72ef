"""Training on distilled images as published code does it: plain PyTorch, augmentation that is drawn image by image.

What `distilled_epochs.py` compares the engine with; nothing here imports the engine. Everything that such loops share
is in it, because it is part of what they cost: a DataLoader over tensors, one of six operations a step with every
image's own parameters (affine matrices put together in Python lists, crops and holes by indices on a grid), SGD as
torch chooses it, loss and accuracy fetched at every step. The strengths are those of DSA (Zhao & Bilen, ICML 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT, FLIP = 0.125, 0.5, 0.5
SCALE, ROTATE = 1.2, 15.0


def train(
    model: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, learning_rate: float, batch_size: int
) -> list[tuple[float, float]]:
    """Train `model`, in place and on its device, and return each epoch's mean loss and accuracy in [0, 1].

    Args:
        model: any classifier.
        images: float32 [N, C, H, W] in the network's space.
        labels: int64 [N].
        epochs: passes over the images; after half of them the rate falls to a tenth.
        learning_rate: of SGD with momentum 0.9 and weight decay 5e-4.
        batch_size: images a step.
    """
    device = next(model.parameters()).device
    loader = DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True, num_workers=0)
    optimizer = _sgd(model, learning_rate)
    criterion = nn.CrossEntropyLoss().to(device)
    history = []
    for epoch in range(epochs):
        if epoch == math.ceil(epochs / 2):
            optimizer = _sgd(model, learning_rate * 0.1)
        history.append(_epoch(model, loader, optimizer, criterion, device))
    return history


def _epoch(
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, ...]],
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    device: torch.device,
) -> tuple[float, float]:
    model.train()
    loss_sum, hits, seen = 0.0, 0, 0
    for batch, targets in loader:
        inputs = augment(batch.float().to(device))
        targets = targets.long().to(device)
        logits = model(inputs)
        loss = criterion(logits, targets)
        predicted = np.argmax(logits.cpu().data.numpy(), axis=-1)
        hits += int(np.sum(np.equal(predicted, targets.cpu().data.numpy())))
        loss_sum += loss.item() * len(targets)
        seen += len(targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss_sum / seen, hits / seen


def _sgd(model: nn.Module, learning_rate: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4)


def augment(images: Tensor) -> Tensor:
    """Do one of the six operations, drawn from torch's global generator as are its parameters for each image."""
    names = list(OPERATIONS)
    for function in OPERATIONS[names[int(torch.randint(len(names), (1,)).item())]]:
        images = function(images)
    return images


def brightness(images: Tensor) -> Tensor:
    """Add a number from [-0.5, 0.5) to each image."""
    return images + (_uniform(images) - 0.5) * BRIGHTNESS


def saturation(images: Tensor) -> Tensor:
    """Multiply each image's distance from grey by a number from [0, 2)."""
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey) * (_uniform(images) * SATURATION) + grey


def contrast(images: Tensor) -> Tensor:
    """Multiply each image's distance from its mean by a number from [0.5, 1.5)."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (_uniform(images) + CONTRAST) + mean


def crop(images: Tensor) -> Tensor:
    """Shift each image by up to an eighth of its sides, zeros coming in."""
    count, _, height, width = images.shape
    reach = int(height * CROP + 0.5), int(width * CROP + 0.5)
    image, row, column = _grid(images, height, width)
    row = row + torch.randint(0, 2 * reach[0] + 1, (count, 1, 1), device=images.device)
    column = column + torch.randint(0, 2 * reach[1] + 1, (count, 1, 1), device=images.device)
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
    return padded.permute(0, 2, 3, 1).contiguous()[image, row, column].permute(0, 3, 1, 2)


def cutout(images: Tensor) -> Tensor:
    """Set a square of half the sides to zero in each image; its centre may be anywhere, edges included."""
    count, _, height, width = images.shape
    size = int(height * CUTOUT + 0.5), int(width * CUTOUT + 0.5)
    image, row, column = _grid(images, *size)
    row = row + torch.randint(0, height + 1 - size[0] % 2, (count, 1, 1), device=images.device) - size[0] // 2
    column = column + torch.randint(0, width + 1 - size[1] % 2, (count, 1, 1), device=images.device) - size[1] // 2
    keep = torch.ones(count, height, width, dtype=images.dtype, device=images.device)
    keep[image, row.clamp(0, height - 1), column.clamp(0, width - 1)] = 0
    return images * keep.unsqueeze(1)


def flip(images: Tensor) -> Tensor:
    """Mirror each image with probability one half."""
    return torch.where(_uniform(images) < FLIP, images.flip(3), images)


def scale(images: Tensor) -> Tensor:
    """Stretch each image by numbers from [1/1.2, 1.2), one a direction."""
    return _transformed(images, scaling_matrices(len(images)))


def rotate(images: Tensor) -> Tensor:
    """Turn each image by an angle from [-15°, 15°)."""
    return _transformed(images, rotation_matrices(len(images)))


def scaling_matrices(count: int) -> Tensor:
    """Return `count` random affine matrices [count, 2, 3], put together image by image."""
    across = torch.rand(count) * (SCALE - 1 / SCALE) + 1 / SCALE
    down = torch.rand(count) * (SCALE - 1 / SCALE) + 1 / SCALE
    rows = [[[across[i], 0.0, 0.0], [0.0, down[i], 0.0]] for i in range(count)]
    return torch.tensor(rows, dtype=torch.float)


def rotation_matrices(count: int) -> Tensor:
    """Return `count` random affine matrices [count, 2, 3], put together image by image."""
    angle = (torch.rand(count) - 0.5) * 2 * ROTATE * math.pi / 180
    rows = [
        [[torch.cos(angle[i]), torch.sin(-angle[i]), 0.0], [torch.sin(angle[i]), torch.cos(angle[i]), 0.0]]
        for i in range(count)
    ]
    return torch.tensor(rows, dtype=torch.float)


def _transformed(images: Tensor, matrices: Tensor) -> Tensor:
    grid = F.affine_grid(matrices, list(images.shape), align_corners=True).to(images.device)
    return F.grid_sample(images, grid, align_corners=True)


def _grid(images: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the index of image, row and column at every place of [N, height, width]."""
    sides = [torch.arange(side, device=images.device) for side in (len(images), height, width)]
    image, row, column = torch.meshgrid(*sides, indexing="ij")
    return image, row, column


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)


OPERATIONS: Mapping[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "colour": (brightness, saturation, contrast),
    "crop": (crop,),
    "cutout": (cutout,),
    "flip": (flip,),
    "scale": (scale,),
    "rotate": (rotate,),
}
