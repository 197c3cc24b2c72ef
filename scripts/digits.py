"""The 1,797 handwritten digits of scikit-learn as images of one channel, 8×8 pixels: small data that nobody tuned for.

pip install scikit-learn
winnow prune configs/prune/own_data.yaml data.format=scripts.digits:load    # see there
"""

from __future__ import annotations

import numpy as np
import torch

from dp_core.data import ImageDataset
from dp_core.errors import UserError

_TESTED = 5  # every fifth image


def load() -> tuple[ImageDataset, ImageDataset]:
    """Return training and test images.

    Raises:
        UserError: scikit-learn, which brings the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("The digits come with scikit-learn: pip install scikit-learn.") from error
    found = load_digits()
    images = torch.from_numpy(np.round(found.images * 255 / 16).astype(np.uint8))[:, None]
    labels = torch.from_numpy(found.target.astype(np.int64))
    tested = torch.arange(len(labels)) % _TESTED == 0
    names = tuple(map(str, found.target_names))
    return ImageDataset(images[~tested], labels[~tested], names), ImageDataset(images[tested], labels[tested], names)
