"""The sections that configs of all kinds have, and what their values are checked with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dp_core.data import Reading
from dp_core.data.reading import Stream
from dp_core.errors import nearest
from dp_core.training import Recipe
from search.config.former import Former
from search.config.keys import Holds
from search.config.meaning import FIXED, PLACE, Meaning, with_paths_in_full

T = TypeVar("T")


def plain_name(name: str) -> str:
    """Return `name` if it can be that of a file on every system, else raise ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"must be letters, digits, '.', '_' and '-', not {name!r}")
    return name


def _with_plain_names(named: dict[str, Any]) -> dict[str, Any]:
    for name in named:
        plain_name(name)
    return named


def _some_left(named: dict[str, Any]) -> dict[str, Any]:
    if not chosen(named):
        raise ValueError("every entry is null, so that nothing is left")
    return named


PLAIN_NAMES = AfterValidator(_with_plain_names)
"""Stands on a mapping whose keys must be possible names of files on every system."""
SOME_LEFT = AfterValidator(_some_left)
"""Stands on a mapping of which not every entry may be null."""
PLAIN_NAME = AfterValidator(plain_name)
"""Stands on such a name."""

WHOLE_RECIPE = Holds(settings=(("", Recipe),))
RECIPE_WITHOUT_LENGTH = Holds(settings=(("", Recipe),), without=("steps", "epochs"))
REST_OF_RECIPE = Holds(settings=(("", Recipe),), without=("steps", "epochs", "learning_rate"))
"""What the mappings of a recipe hold, where the keys left out stand beside them."""


class Section(BaseModel):
    """A group of keys: none but those declared, each described by the docstring below it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NamedRunSection(Section):
    """The run directory and the seed."""

    name: Annotated[str, FIXED, PLAIN_NAME]
    """Name of the run; its directory is `run.directory`/`run.name`."""
    directory: Annotated[Path, PLACE] = Path("runs")
    """Where runs are kept."""
    seed: Annotated[int, FIXED] = Field(default=0, ge=0)
    """The seed that every random choice of the run follows from: validation split, distilled sets, what is proposed,
    initial weights, data orders."""


class ImagesSection(Section):
    """The images."""

    format: Annotated[str, PLACE] = "parquet"
    """`parquet` (shards in the Hugging Face image layout), `cifar10` or `cifar100` (torchvision), `folder`
    (train/<class>/*.png), or your own `package.module:function`."""
    root: Annotated[Path | None, PLACE] = None
    """Folder that holds the data. Needed by every format but a function of your own, which is called with it, or with
    None."""
    image: str | None = None
    """Parquet column of the images; null is the first of `img` and `image` that is there."""
    label: str | None = None
    """Parquet column of the labels, such as `fine_label`; null is `label`. Labels are whole numbers from 0, or strings
    that name classes."""
    ground: str = "grey"
    """Colour that transparent images are laid on, such as `white`, `black` or `"#ff8000"`, of Parquet and folders. On
    grey neither black nor white shapes vanish."""
    validation: Annotated[float, FIXED] = Field(default=0.1, gt=0, lt=1)
    """Fraction of every class of the training images that is held back to score proxies; never trained on."""
    cache: Annotated[Path, PLACE] = Path(".cache/winnow")
    """Folder for the decoded images."""

    @property
    def reading(self) -> Reading:
        """How the format is read."""
        return Reading(self.image, self.label, self.ground)

    @property
    def place(self) -> str:
        """Where the data are, as a message names it."""
        return self.format if self.root is None else str(self.root)


class DataSection(ImagesSection):
    """The images."""

    stream: Stream = "auto"
    """Whether real training images come to a trial's device piece by piece: `auto` (if they take more than half of a
    GPU's free memory), `always` or `never`. Streamed images come in another order, so set `always` or `never` where a
    run must be repeatable bit for bit on a GPU whose free memory varies."""


class ResourcesSection(Section):
    """What runs where.

    It decides nothing of the results but how they are rounded, and may be changed whenever a run is resumed.
    """

    concurrency: int = Field(default=2, ge=1)
    """Jobs (trials, retrainings, trainings, scores) that run at a time."""
    cpus_per_job: int = Field(default=1, ge=1)
    """CPU cores, and so threads, of a job."""
    gpus_per_job: float = Field(default=0, ge=0)
    """GPUs of a job; 0.25 lets four jobs share one."""
    max_failures: int = Field(default=3, ge=0)
    """How often a job whose worker is lost is taken up again from where it was; a trial of a search so often in a row,
    without a round in between."""

    @property
    def cpus(self) -> int:
        """CPU cores of all jobs that run at a time."""
        return self.concurrency * self.cpus_per_job


class RunConfig(Section):
    """The config of a run of some kind; each kind has a class of its own.

    Attributes:
        kind: its name, as run.yaml has it.
        words: what a sentence calls such a run.
        otherwise: what it means to change a key of a run that has begun, where no field says so.
        former: keys that had another name in an earlier version.
    """

    kind: ClassVar[str]
    words: ClassVar[str]
    otherwise: ClassVar[Meaning] = FIXED
    former: ClassVar[tuple[Former, ...]] = ()

    run: NamedRunSection
    """The run directory and the seed."""
    data: ImagesSection
    """The images."""

    def check(self) -> None:
        """See to mistakes that no key shows by its value alone, as far as that needs neither images nor PyTorch.

        Raises:
            UserError: the first one.
        """

    def in_full(self) -> dict[str, Any]:
        """Return the config as run.yaml has it, with paths written in full."""
        return with_paths_in_full(self)


class RunConfigWithSets(RunConfig):
    """The config of a kind of run that trains on distilled sets which are there."""

    sets: Annotated[dict[str, Path | None], PLACE, PLAIN_NAMES] = Field(default_factory=dict)
    """Ready-made distilled sets (`<name>.safetensors` with the card beside it) by names of yours; null takes one out.
    A search trains on each instead of one that it would make with as many images a class; a comparison's methods, and
    scores, call them by their names."""

    @property
    def chosen_sets(self) -> dict[str, Path]:
        """The ready-made sets that are not null."""
        return chosen(self.sets)


def chosen(named: Mapping[str, T | None]) -> dict[str, T]:
    """Return the entries that are not null, as which an override takes one of the file out."""
    return {name: entry for name, entry in named.items() if entry is not None}


def one_of(value: str, known: Iterable[str]) -> str:
    """Return `value` if it is one of `known`, else raise ValueError with the nearest that is."""
    if value not in known:
        hint = nearest(value, known).strip().replace("Did", "did")
        raise ValueError(f"must be one of {', '.join(known)}, not '{value}'" + (f" ({hint})" if hint else ""))
    return value
