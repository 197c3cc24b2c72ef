"""How a network becomes a sparse one that is trained on real images: from its ticket, or sparse in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dp_core.errors import UserError, naming, nearest
from dp_core.files import digest_of_json
from dp_core.pruning.criteria.registry import PATTERN, check_criterion_name
from dp_core.pruning.sparse_training.methods import (
    SPARSE_TRAININGS,
    Gradual,
    OneShot,
    SparseMethod,
    SparseRigL,
)
from dp_core.training import Recipe
from trainables.trials.settings import parse_settings

MethodName = Literal["ticket", SparseMethod]

METHODS = ("ticket", *SPARSE_TRAININGS)

TICKET = "ticket"

_STARTS = ("random_erk", "random", TICKET)
_STARTS_IN_WORDS = "random_erk, random or the ticket's mask (ticket)"

_CRITERIA: Mapping[str, str] = {
    "ticket": "",
    "gradual": "magnitude",
    "one_shot": "magnitude",
    "rigl": "random_erk",
}


@dataclass(frozen=True)
class RetrainingMethod:
    """A recipe, its length included, and what becomes of the mask meanwhile.

    All start from the same weights, those of the ticket's rewind point, and end as sparse as the ticket is.

    Attributes:
        recipe: of the training.
        name: `ticket`, with the ticket's mask; `gradual` and `one_shot`, dense at first; `rigl`, with one that moves.
        settings: of what is not `ticket`, else None.
        criterion: what `gradual` and `one_shot` remove weights by; by which `rigl` draws the mask that it starts from,
            or `ticket` for the ticket's.
        screening_counts: whether the training is shorter by the image-gradients that the ticket's mask has cost, if it
            has the mask.
    """

    recipe: Recipe
    name: MethodName = "ticket"
    settings: Gradual | OneShot | SparseRigL | None = None
    criterion: str = ""
    screening_counts: bool = False

    @classmethod
    def parse(cls, recipe: Recipe, given: str | Mapping[str, Any], prefix: str) -> RetrainingMethod:
        """Return the method that a config names, alone or as `name` beside its settings and `criterion`.

        Raises:
            UserError: there is none of the name, or a setting is none of it or out of range; `prefix` is the key.
        """
        chosen = {"name": given} if isinstance(given, str) else dict(given)
        name: Any = chosen.pop("name", None)
        if name not in METHODS:
            known = ", ".join(METHODS)
            raise UserError(f"'{prefix}': there is no method '{name}'.{nearest(str(name), METHODS)} Known: {known}.")
        criterion = chosen.pop("criterion", _CRITERIA[name])
        if name == TICKET:
            if chosen or criterion:
                raise UserError(f"'{prefix}': the method 'ticket' has no settings.")
            return cls(recipe)
        settings = parse_settings(SPARSE_TRAININGS[name], chosen, prefix)
        if name == "rigl":
            if criterion not in _STARTS:
                raise UserError(f"'{prefix}.criterion': rigl starts from {_STARTS_IN_WORDS}, not '{criterion}'.")
        else:
            with naming(f"'{prefix}'"):
                check_criterion_name(str(criterion))
                if PATTERN.fullmatch(str(criterion)):
                    raise UserError(f"the pattern {criterion} has a sparsity of its own; here candidates have theirs.")
        return cls(recipe, name, settings, criterion)

    @property
    def key(self) -> str:
        """What stands for it in the names of models: its epochs, its name, and a digest of all its settings.

        A retraining is one ticket, one seed and one method. A longer one does not go on from a shorter one: the
        schedules end at their last step, so it begins at the ticket again, and has a name of its own.
        """
        epochs = f"{self.recipe.epochs:g}epochs"
        if self == RetrainingMethod(self.recipe):
            return f"{epochs}-{digest_of_json(self.recipe.to_dict())[:6]}"
        return f"{epochs}-{self.name}-{digest_of_json(self.to_dict())[:6]}"

    @property
    def has_ticket_mask(self) -> bool:
        """Whether it starts from the ticket's mask."""
        return TICKET in (self.name, self.criterion)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a card has it; see `of_card`."""
        settings = {} if self.settings is None else asdict(self.settings)
        return {
            "recipe": self.recipe.to_dict(),
            "method": self.name,
            "method_settings": {**settings, **({"criterion": self.criterion} if self.criterion else {})},
            "screening_counts": self.screening_counts,
        }

    @classmethod
    def of_card(cls, results: Mapping[str, Any]) -> RetrainingMethod | None:
        """Return the method that the card of a model says it was trained by, None if it says none of this version.

        Cards from before there were several say nothing of it, and are of tickets.
        """
        try:
            given = {"name": results.get("method", TICKET), **results.get("method_settings", {})}
            method = cls.parse(Recipe(**results["recipe"]), given, "method")
            return replace(method, screening_counts=bool(results.get("screening_counts", False)))
        except (KeyError, TypeError, AttributeError, UserError):
            return None
