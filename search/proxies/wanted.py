"""What a proxy evaluation is to score and to train."""

from __future__ import annotations

from dataclasses import dataclass

from search.proxies.architecture import Architecture
from search.runs.images import ImageFacts


@dataclass(frozen=True)
class WantedEvaluation:
    """The architectures that are ranked, and facts of the images that they are trained on."""

    architectures: tuple[Architecture, ...]
    images: ImageFacts
