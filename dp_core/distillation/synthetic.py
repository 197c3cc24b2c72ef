"""What a distillation optimises: images, perhaps labels, perhaps a learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation.broken import Broken, Overstepped, all_finite, smaller
from dp_core.distillation.distilled_set import DistilledSet
from dp_core.distillation.learned_rate import LearnedRate

# Learned labels start with this share of certainty in the image's own class, spread evenly over the others.
_CERTAINTY = 0.95
# Images are stored as float16.
_LARGEST = torch.finfo(torch.float16).max
# What each leaf is called, and the setting that its steps go by.
_NAMES = {
    "images": ("images", "image_rate"),
    "logits": ("labels", "label_rate"),
    "log_rate": ("learned rate", "learned_rate_rate"),
}


class Synthetic:
    """Images, labels and learning rate while they are optimised.

    Attributes:
        images: leaf, float32 [N, C, H, W], in the set's own space.
        hard: int64 [N], the class that each image was made for; in order, ipc images a class.
        logits: leaf, float32 [N, classes], of learned labels; None if labels are hard.
        rate: a learned learning rate, with a leaf of its own; None if none is learned.

    Args:
        images: what to start from.
        hard: see above.
        classes: number of classes.
        learn_labels: whether labels are learned; they start at 95 % certainty.
        rate: see above.
    """

    def __init__(
        self, images: Tensor, hard: Tensor, classes: int, *, learn_labels: bool, rate: LearnedRate | None
    ) -> None:
        self.images = images.detach().clone().requires_grad_()
        self.hard = hard.to(images.device)
        self.classes = classes
        self.logits: Tensor | None = None
        if learn_labels:
            share = torch.full((len(hard), classes), (1 - _CERTAINTY) / max(classes - 1, 1), device=images.device)
            self.logits = share.scatter(1, self.hard[:, None], _CERTAINTY).log().requires_grad_()
        self.rate = rate

    def targets(self) -> Tensor:
        """Return the labels to train on: int64 [N] or, if they are learned, float32 [N, classes] with gradients."""
        return self.hard if self.logits is None else self.logits.softmax(1)

    def probabilities(self) -> Tensor:
        """Return the labels as float32 [N, classes], one-hot where they are hard."""
        return F.one_hot(self.hard, self.classes).float() if self.logits is None else self.logits.softmax(1)

    def leaves(self) -> dict[str, Tensor]:
        """Return what is optimised, by name."""
        found = {
            "images": self.images,
            "logits": self.logits,
            "log_rate": None if self.rate is None else self.rate.leaf,
        }
        return {name: leaf for name, leaf in found.items() if leaf is not None}

    def check_gradients(self) -> None:
        """Raise Broken, with the name of the leaf, unless all gradients that there are are finite."""
        for name, leaf in self.leaves().items():
            called, setting = _NAMES[name]
            if leaf.grad is not None and not all_finite([leaf.grad]):
                raise Broken(f"the gradient of the {called} is not finite", smaller(setting))

    def check_values(self) -> None:
        """Raise Overstepped, with the name of the leaf, unless all values are finite and can be stored."""
        for name, leaf in (("images", self.images), ("logits", self.logits)):
            called, setting = _NAMES[name]
            if leaf is not None and not all_finite([leaf]):
                raise Overstepped(f"the {called} are not finite", smaller(setting))
        largest = self.images.detach().abs().max().item()
        if largest > _LARGEST:
            raise Overstepped(
                f"the images have values of {largest:.3g}, beyond the {_LARGEST:.0f} that can be stored",
                smaller("image_rate"),
            )
        if self.rate is not None:
            self.rate.check()

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what is optimised."""
        return {name: leaf.detach().clone() for name, leaf in self.leaves().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` returned, or did when it had the rate instead of its logarithm."""
        if "rate" in state:
            state = {**state, "log_rate": torch.tensor(math.log(state["rate"].item()))}
        with torch.no_grad():
            for name, leaf in self.leaves().items():
                leaf.copy_(state[name])

    def distilled(
        self, space: Preprocessing, class_names: tuple[str, ...], provenance: Mapping[str, Any]
    ) -> DistilledSet:
        """Return the set as it is now, in values that are stored without loss (see `DistilledSet.rounded`)."""
        labels = self.targets().detach().cpu()
        return DistilledSet(
            images=self.images.detach().float().cpu().contiguous(),
            labels=labels.clone(),
            preprocessing=space,
            class_names=class_names,
            images_per_class=len(self.hard) // self.classes,
            learning_rate=None if self.rate is None else self.rate.value,
            provenance=provenance,
        ).rounded()
