"""A way to find a ticket, with everything that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dp_core.pruning import SparseTraining
from dp_core.training import Recipe

Kind = Literal[
    "dense",
    "iterative",
    "at_initialisation",
    "gradual",
    "one_shot",
    "rigl",
    "reinitialised",
    "shuffled",
    "rewound",
]


FINAL = "retrain"
"""Name under which the learning rate of the final training is kept; no method has it."""


@dataclass(frozen=True)
class Method:
    """One method at one budget.

    Attributes:
        name: unique in its comparison, such as `distilled-30`.
        family: the method without its budget, `distilled`.
        kind: `dense`, no mask; `iterative`, train, prune and rewind; `at_initialisation`, one mask from the untrained
            network; `reinitialised`, the mask of `parent` on freshly drawn weights; `shuffled`, the mask of `parent`
            shuffled inside each layer; `rewound`, the mask of `parent` on weights from early in the dense network's
            final training; `gradual`, `one_shot` and `rigl`, one training in which the mask changes, from a mask of
            `parent` or without one.
        criterion: see `dp_core.pruning.criterion_named`; of `rigl` it makes the mask to start from.
        source: `real`, `subset`, `distilled` or the name of a ready-made set; None where no data are used.
        images_per_class: of a subset or distilled set, else None.
        space: key of the distilled set whose preprocessing the real images of the rounds get; None is the usual one.
        recipe: of a round, with the first of `learning_rates`; None unless iterative.
        learning_rates: if there are several, the best on validation images is taken, see `choose_learning_rate`.
        rewind_step: every later round starts from the state at this step of the first one; of a `rewound` control the
            step of the dense final training.
        prune_fraction: share of the remaining weights that a round removes, as near as the targets allow.
        sparsities: targets, rising; a ticket each. () for N:M patterns, whose sparsity is what it is.
        parent: the method whose ticket a control is made of, or that another one starts from.
        start_sparsity: of the parent's ticket that the method starts from; of `rigl` None, for it starts as sparse as
            it ends.
        sparse_training: how the mask changes in the final training; None if it does not.
    """

    name: str
    family: str
    kind: Kind
    criterion: str
    source: str | None
    images_per_class: int | None
    space: str | None
    recipe: Recipe | None
    learning_rates: tuple[float, ...]
    rewind_step: int
    prune_fraction: float
    sparsities: tuple[float, ...]
    parent: str | None
    start_sparsity: float | None
    sparse_training: SparseTraining | None = None

    @property
    def starts_sparse(self) -> bool:
        """Whether its final trainings start as sparse as they end."""
        return self.sparse_training is None or self.sparse_training.starts_sparse

    @property
    def set_key(self) -> str | None:
        """Key of the distilled set that it trains on, None if it trains on none."""
        if self.source in (None, "real", "subset"):
            return None
        return self.source if self.images_per_class is None else f"{self.source}-{self.images_per_class}"

    @property
    def round_recipe(self) -> Recipe:
        """The recipe of a round of an iterative method."""
        assert self.recipe is not None, "only iterative methods train"
        return self.recipe

    def facts(self) -> dict[str, Any]:
        """Return what a table says of it."""
        return {
            "method": self.name,
            "family": self.family,
            "kind": self.kind,
            "parent": self.parent,
            "source": self.source,
            "criterion": None if self.kind == "dense" else self.criterion,
            "steps": None if self.recipe is None else self.recipe.steps,
        }
