"""The config of a distillation: every key, its type, its default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from search.config.distillers import DistillerSection
from search.config.meaning import FREE, PLACE
from search.config.sections import DataSection, NamedRunSection, RunConfig, Section

ImagesPerClass = Annotated[int, Field(ge=1)]


class DistillationSection(DistillerSection):
    """What is made, and how."""

    ipc: ImagesPerClass | tuple[ImagesPerClass, ...] = 10
    """Images per class; of a list each is a set of its own, one made after the other."""
    train_on: Literal["train"] = "train"
    """What is distilled: the training split without the images that are held back. Validation images may choose the
    state that is kept (`settings.validate_every`), and test images have no part in it."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Iterations from one checkpoint, with its pictures, to the next: what a lost process loses at most."""
    output: Annotated[Path | None, PLACE] = None
    """Folder in which `<run.name>-<ipc>ipc.safetensors` and its card are written; null is the run directory."""
    experts: Annotated[Path, PLACE] = Path("distilled/experts")
    """Folder of the expert trajectories, for methods that match them; found again by all that they depend on."""

    @field_validator("ipc")
    @classmethod
    def _different(cls, ipc: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(ipc, tuple) and (not ipc or len(set(ipc)) < len(ipc)):
            raise ValueError("must be one number or a list of different ones")
        return ipc

    @property
    def images_per_class(self) -> tuple[int, ...]:
        """The sizes of the sets."""
        return self.ipc if isinstance(self.ipc, tuple) else (self.ipc,)


class DistillResources(Section):
    """What the making of a set may take: it runs in the process that was started, one set after the other."""

    cpus_per_job: int | None = Field(default=None, ge=1)
    """CPU threads; null takes all that there are."""


class DistillConfig(RunConfig):
    """A whole distillation: what `winnow distill` reads."""

    kind: ClassVar[str] = "distillation"
    words: ClassVar[str] = "a distillation"

    run: NamedRunSection
    """The run directory and the seed."""
    data: DataSection
    """The images."""
    distill: DistillationSection = Field(default_factory=DistillationSection)
    """What is made, and how."""
    resources: Annotated[DistillResources, FREE] = Field(default_factory=DistillResources)
    """What it may take."""
