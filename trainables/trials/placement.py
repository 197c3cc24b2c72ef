"""Where a trial's real images are: all of them on its device, or streamed to it."""

from __future__ import annotations

import torch

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import Preprocessing
from dp_core.data.reading import Stream
from dp_core.data.streaming import MappedBlocks
from dp_core.training import DataSource, StreamedData, TrainingData

_BLOCK_BYTES = 2**20  # runs long enough that a disk is not asked for every image by itself
_WINDOW_BYTES = 64 * 2**20  # two of them are little beside what a worker takes anyway


def training_data(dataset: ImageDataset, space: Preprocessing, device: torch.device, stream: Stream) -> DataSource:
    """Return `dataset` for a training on `device`: all of it there, or streamed.

    With `auto` it is streamed if its images take more than half of the device's free memory; on a CPU they are in
    memory, or mapped into it, already. The order of the images differs between the two.
    """
    if stream == "always" or (stream == "auto" and not _fits(dataset, device)):
        image = dataset.images[0].numel()
        reader = MappedBlocks(dataset, block_size=max(1, _BLOCK_BYTES // image))
        return StreamedData(reader, space, window=max(1, _WINDOW_BYTES // image))
    return TrainingData(dataset.images, dataset.labels, space).to(device)


def _fits(dataset: ImageDataset, device: torch.device) -> bool:
    return device.type != "cuda" or 2 * dataset.images.numel() <= _free_bytes(device)


def _free_bytes(device: torch.device) -> int:
    """Return what the device has free, with what this process keeps of it for later use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
