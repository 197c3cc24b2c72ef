"""The device to compute on when nobody says otherwise."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """Return the first GPU that this process sees, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
