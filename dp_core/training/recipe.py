"""How to train: everything about a training but the network and the data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from dp_core.data.registry import AUGMENTATIONS
from dp_core.errors import UserError, nearest
from dp_core.functions import imported_function, is_function_name
from dp_core.training.schedule import SCHEDULES, Schedule, multi_step

Mode = Literal["auto", "eager", "fused", "compiled"]
CROSS_ENTROPY = "cross_entropy"

_OPTIMIZERS = ("sgd", "adam", "adamw")
_OWN = ("optimizer", "schedule", "augmentation", "loss")
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """Optimiser, schedule, length, batch, augmentation, loss and precision of one training.

    Optimiser, schedule, augmentation and loss may also be a user's own, `package.module:function`; see
    `dp_core.training.parts` and `dp_core.training.schedule` for what they are called with.
    """

    optimizer: str = "sgd"
    """`sgd` (with momentum), `adam`, `adamw`, or your own: a function, or a class such as `torch.optim:NAdam`, of the
    parameters, `lr` and `weight_decay`."""
    learning_rate: float = 0.01
    """Peak learning rate, above 0."""
    momentum: float = 0.9
    """SGD's momentum, from 0 to below 1; Adam and AdamW use their usual betas (0.9, 0.999)."""
    weight_decay: float = 5e-4
    """L2 penalty (SGD, Adam) or decoupled decay (AdamW), 0 or more, on every parameter."""
    schedule: str = "one_cycle"
    """`constant`; `cosine` to zero; `one_cycle`, linear warm-up over 20 % of the steps and cosine to zero;
    `half_step`, a tenth of the rate from half time on; `multi_step`, times `decay` at each of `milestones`; or your own
    function of the step and the number of steps, which returns a share of the peak."""
    milestones: tuple[float, ...] = ()
    """`multi_step`: when the rate falls, as shares of the training's length, each above 0 and below 1; rising."""
    decay: float = 0.1
    """`multi_step`: what the rate is multiplied by at a milestone, above 0 and below 1."""
    steps: int | None = None
    """Optimiser steps; give these or `epochs`."""
    epochs: float | None = None
    """Passes over the data; give these or `steps`."""
    batch_size: int = 128
    """Images a step; a data set smaller than this is one full batch."""
    augmentation: str = "none"
    """`none`; `flip_crop`, drawn image by image; `siamese`, DSA, one draw for the whole batch; or your own function of
    images, float [N, C, H, W], and a torch.Generator to draw by, which returns as many images."""
    label_smoothing: float = 0.0
    """Share of the label's weight spread over all classes, from 0 to below 1."""
    precision: Precision = "auto"
    """`float32`; `bfloat16` autocast with channels-last memory; `auto`: bfloat16 where the device computes in it (on a
    CPU with AMX, unless the network has group or layer norms that cannot be fused: those are slow in bfloat16)."""
    mode: Mode = "auto"
    """How the network is executed: `eager`, as it is written; `fused`, with norm, activation and pooling in one pass
    (CPU only); `compiled` by torch.compile, which takes up to a minute before the first step; `auto`, fused where that
    can be had and else eager. What cannot be had is replaced by what can. The result is the same up to rounding and the
    draws of dropout. A training that is resumed goes on in the mode that it had."""
    loss: str = CROSS_ENTROPY
    """`cross_entropy`, or your own function of logits, float [N, classes], and labels, int64 [N] (of distilled sets
    also float [N, classes]), which returns the mean loss. Accuracies are what they are, whatever the loss."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))  # from JSON it comes as a list
        for key, known in (
            ("optimizer", _OPTIMIZERS),
            ("schedule", (*SCHEDULES, "multi_step")),
            ("augmentation", tuple(AUGMENTATIONS)),
            ("loss", (CROSS_ENTROPY,)),
            ("precision", get_args(Precision)),
            ("mode", get_args(Mode)),
        ):
            value = getattr(self, key)
            if value not in known and not (key in _OWN and is_function_name(value)):
                own = ", or your own as 'package.module:function'" if key in _OWN else ""
                raise UserError(
                    f"A recipe's {key} cannot be '{value}'.{nearest(str(value), known)} Known: {', '.join(known)}{own}."
                )
        if (self.steps is None) == (self.epochs is None):
            raise UserError(
                f"A recipe needs either steps or epochs, not {'neither' if self.steps is None else 'both'}."
            )
        for key, fine, wanted in (
            ("learning_rate", 0 < self.learning_rate < math.inf, "above 0"),
            ("momentum", 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "of 0 or more"),
            ("steps", self.steps is None or self.steps >= 1, "of at least 1"),
            ("epochs", self.epochs is None or 0 < self.epochs < math.inf, "above 0"),
            ("batch_size", self.batch_size >= 1, "of at least 1"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("decay", 0 < self.decay < 1, "above 0 and below 1"),
        ):
            if not fine:
                raise UserError(f"A recipe needs a {key} {wanted}, not {getattr(self, key)}.")
        if self.loss != CROSS_ENTROPY and self.label_smoothing:
            raise UserError(f"A recipe's label_smoothing is for the loss {CROSS_ENTROPY}, not {self.loss}.")
        if self.decay != 0.1 and self.schedule != "multi_step":
            raise UserError(f"A recipe's decay is for the schedule multi_step, not {self.schedule}.")
        rising = all(first < second for first, second in pairwise((0.0, *self.milestones, 1.0)))
        if not rising or bool(self.milestones) != (self.schedule == "multi_step"):
            raise UserError(
                f"A recipe with the schedule multi_step, and no other, needs milestones that rise between 0 and 1, "
                f"not {list(self.milestones)} with {self.schedule}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict; `Recipe(**value)` reads it back.

        The usual loss is left out, so that what stood for a recipe before there was another one still does.
        """
        found = {**asdict(self), "milestones": list(self.milestones)}  # as JSON has it
        if self.loss == CROSS_ENTROPY:
            del found["loss"]
        return found

    @property
    def own_parts(self) -> tuple[str, ...]:
        """The keys of what is a user's own."""
        return tuple(key for key in _OWN if is_function_name(getattr(self, key)))

    def images_per_step(self, images: int) -> int:
        """Return how many images one step takes from a data set of `images`."""
        return min(self.batch_size, images)

    def total_steps(self, images: int) -> int:
        """Return the number of optimiser steps on a data set of `images`."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, self.steps_of_epochs(self.epochs, images))

    def steps_of_epochs(self, epochs: float, images: int) -> int:
        """Return the number of steps that come nearest to `epochs` passes over a data set of `images`."""
        return round(epochs * images / self.images_per_step(images))

    def learning_rate_at(self, step: int, total: int) -> float:
        """Return the learning rate of step `step`, counted from 0, of `total`."""
        return self.learning_rate * self._schedule()(step, total)

    def _schedule(self) -> Schedule:
        if is_function_name(self.schedule):
            return imported_function(self.schedule, "The schedule")
        if self.schedule == "multi_step":
            return multi_step(self.milestones, self.decay)
        return SCHEDULES[self.schedule]
