"""Seeds that follow from one seed and a purpose, so that every random choice can be repeated on its own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2**63) that depends on `seed` and every word and number of `purpose`, and on nothing else.

    The same arguments give the same seed on every machine and in every process (Python's own `hash` does not).
    """
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator seeded with `derive_seed(seed, *purpose)`."""
    import torch  # takes seconds, and seeds are derived without it

    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
