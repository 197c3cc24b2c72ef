"""Image data sets: reading, caching, splitting, and preparing them for a network."""

from dp_core.data.dataset import ChannelStatistics, ImageDataset, channel_statistics
from dp_core.data.open import open_splits, open_train_test
from dp_core.data.reading import Reading
from dp_core.data.registry import FORMATS
from dp_core.data.splits import Splits, hold_back, split_indices

__all__ = [
    "FORMATS",
    "ChannelStatistics",
    "ImageDataset",
    "Reading",
    "Splits",
    "channel_statistics",
    "hold_back",
    "open_splits",
    "open_train_test",
    "split_indices",
]
