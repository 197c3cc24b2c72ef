"""What candidates are screened on, as a space or a journal has it: of any proposal, sound or not."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Literal

# Nothing here imports PyTorch: see trainables.screening.simulated.

Source = Literal["distilled", "subset", "real"]


def default_source(space: Container[str]) -> Source:
    """Return what a space without `source` is about: distilled sets if it has an `ipc`, else real images."""
    return "distilled" if "ipc" in space else "real"


def screened_on(proposal: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the source of a proposal, see `Candidate.parse`, and its images per class, None for all real images."""
    source = proposal.get("source", default_source(proposal))
    return source, None if source == "real" else proposal.get("ipc")


def data_key(source: str, images_per_class: int | None) -> str:
    """Return the name of the set to train on, such as `distilled-10`, or `real`."""
    return source if images_per_class is None else f"{source}-{images_per_class}"
