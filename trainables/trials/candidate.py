"""One point of the search space: what a screening trial is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from dp_core.errors import UserError, nearest
from dp_core.models import ModelSpec
from dp_core.training import Recipe
from trainables.trials.settings import parse_settings, refuse_unknown
from trainables.trials.source import Source, data_key, default_source

# What a mask is worth for its cost, on complete CIFAR-10 (benchmarks/results/frontier): in the mean, 100 steps of 100
# images a round on real data find better masks than 30 on the shipped set, and 30 or 10 on the set than on real data.
DEFAULT_IMAGE_GRADIENTS = 10_000

_KEYS = ("model", "sparsity", "source", "ipc", "image_gradients", "recipe")


@dataclass(frozen=True)
class Candidate:
    """Architecture × sparsity × screening data × recipe.

    `source` is what the pruning rounds train on: the `distilled` set of `images_per_class`, a `subset` of as many
    random real images, or the whole `real` training split (see `default_source`). `recipe.steps` is the length of one
    round; where `image_gradients` was given instead, or nothing, it is that budget (10,000) divided by the images of
    one step, whatever the source. `written` is what it was parsed from: as the space proposed it, and as the configs
    of trials, the journal and the tables have it.
    """

    model: ModelSpec
    sparsity: float
    source: Source
    images_per_class: int | None
    recipe: Recipe
    image_gradients: int | None = None
    written: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def parse(value: Mapping[str, Any], classes: int) -> Candidate:
        """Read a proposal of the space, a nested dict of plain values.

        Raises:
            UserError: an unknown or missing key, or a value out of range; the sentence names the key.
        """
        refuse_unknown(value, _KEYS, "space.")
        for key in ("model", "sparsity"):
            if key not in value:
                raise UserError(f"There is no 'space.{key}', which every candidate needs.")
        sparsity = value["sparsity"]
        if isinstance(sparsity, bool) or not isinstance(sparsity, int | float) or not 0 <= sparsity < 1:
            raise UserError(f"'space.sparsity' must be a number from 0 to below 1, not {sparsity}.")
        if not isinstance(value["model"], Mapping):
            raise UserError(f"'space.model' must have a name and hyperparameters, not {value['model']!r}.")
        source = value.get("source", default_source(value))
        if source not in get_args(Source):
            raise UserError(
                f"'space.source' cannot be {source!r}.{nearest(str(source), get_args(Source))} "
                f"Known: {', '.join(get_args(Source))}."
            )
        recipe, budget = _recipe(value)
        candidate = Candidate(
            model=ModelSpec.from_dict(value["model"]),
            sparsity=float(sparsity),
            source=source,
            images_per_class=_images_per_class(source, value.get("ipc")),
            recipe=recipe,
            image_gradients=budget,
            written=value,
        )
        return candidate._within_budget(classes)

    def rungs(self, ladder_ipc: Iterable[int], classes: int) -> tuple[Candidate, ...]:
        """Return what it is on each of its pruning rungs, the last of which is the candidate itself.

        The rungs below have fewer images a class: those of `ladder_ipc` that are fewer, rising. Steps that follow
        from a budget of image-gradients follow from it on each rung. A candidate on real images has no rung below.
        """
        below = (
            replace(self, images_per_class=ipc, written={**self.written, "ipc": ipc})._within_budget(classes)
            for ipc in self._ipcs_below(ladder_ipc)
        )
        return (*below, self)

    def images(self, classes: int) -> int | None:
        """Return how many images its set has; None for all real ones."""
        return None if self.images_per_class is None else self.images_per_class * classes

    @property
    def data_key(self) -> str:
        """Name of the set it trains on, such as `distilled-10`, or `real`."""
        return data_key(self.source, self.images_per_class)

    def ladder_keys(self, ladder_ipc: Iterable[int]) -> tuple[str, ...]:
        """Return the names of the sets of its pruning rungs (see `rungs`), its own the last."""
        return (*(data_key(self.source, ipc) for ipc in self._ipcs_below(ladder_ipc)), self.data_key)

    def _ipcs_below(self, ladder_ipc: Iterable[int]) -> list[int]:
        own = self.images_per_class
        return [] if own is None else sorted({ipc for ipc in ladder_ipc if ipc < own})

    def _within_budget(self, classes: int) -> Candidate:
        """Return it with the steps that its budget, if it has one, pays for."""
        budget, images = self.image_gradients, self.images(classes)
        if budget is None:
            return self
        images_per_step = self.recipe.batch_size if images is None else self.recipe.images_per_step(images)
        if budget < images_per_step:
            raise UserError(
                f"'space.image_gradients' may be {budget}, less than the {images_per_step} images of one step."
            )
        return replace(self, recipe=replace(self.recipe, steps=budget // images_per_step))


def _images_per_class(source: str, ipc: Any) -> int | None:
    if source == "real":
        return None
    if isinstance(ipc, bool) or not isinstance(ipc, int) or ipc < 1:
        raise UserError(f"'space.ipc' must be a whole number of at least 1 for the source '{source}', not {ipc!r}.")
    return ipc


def _recipe(value: Mapping[str, Any]) -> tuple[Recipe, int | None]:
    """Return the recipe, and the budget of image-gradients, if there is one, that pays for its steps: here 1."""
    settings = value.get("recipe", {})
    if not isinstance(settings, Mapping):
        raise UserError(f"'space.recipe' must have a recipe's settings, not {settings!r}.")
    budget = value.get("image_gradients")
    if budget is None and ("steps" in settings or "epochs" in settings):
        return parse_settings(Recipe, settings, "space.recipe"), None
    budget = DEFAULT_IMAGE_GRADIENTS if budget is None else budget
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise UserError(f"'space.image_gradients' must be a whole number of at least 1, not {budget!r}.")
    if "steps" in settings or "epochs" in settings:
        raise UserError(
            "'space.image_gradients' sets the length of a round, so 'space.recipe' cannot have 'steps' or 'epochs'."
        )
    return parse_settings(Recipe, {**settings, "steps": 1}, "space.recipe"), budget
