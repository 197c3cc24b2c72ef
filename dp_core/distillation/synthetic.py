"""What a distillation optimises: images, perhaps labels, perhaps a learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dp_core.data.preprocessing import Preprocessing
from dp_core.distillation.distilled_set import DistilledSet

# Learned labels start with this share of certainty in the image's own class, spread evenly over the others.
_CERTAINTY = 0.95
# Images are stored as float16.
_LARGEST = torch.finfo(torch.float16).max


class Synthetic:
    """Images, labels and learning rate while they are optimised.

    Attributes:
        images: leaf, float32 [N, C, H, W], in the set's own space.
        hard: int64 [N], the class that each image was made for; in order, ipc images a class.
        logits: leaf, float32 [N, classes], of learned labels; None if labels are hard.
        rate: leaf, a float32 scalar, of a learned learning rate; None if none is learned.

    Args:
        images: what to start from.
        hard: see above.
        classes: number of classes.
        learn_labels: whether labels are learned; they start at 95 % certainty.
        learning_rate: where a learned rate starts; None learns none.
    """

    def __init__(
        self, images: Tensor, hard: Tensor, classes: int, *, learn_labels: bool, learning_rate: float | None
    ) -> None:
        self.images = images.detach().clone().requires_grad_()
        self.hard = hard.to(images.device)
        self.classes = classes
        self.logits: Tensor | None = None
        if learn_labels:
            share = torch.full((len(hard), classes), (1 - _CERTAINTY) / max(classes - 1, 1), device=images.device)
            self.logits = share.scatter(1, self.hard[:, None], _CERTAINTY).log().requires_grad_()
        self.rate = (
            None if learning_rate is None else torch.tensor(learning_rate, device=images.device).requires_grad_()
        )

    def targets(self) -> Tensor:
        """Return the labels to train on: int64 [N] or, if they are learned, float32 [N, classes] with gradients."""
        return self.hard if self.logits is None else self.logits.softmax(1)

    def probabilities(self) -> Tensor:
        """Return the labels as float32 [N, classes], one-hot where they are hard."""
        return F.one_hot(self.hard, self.classes).float() if self.logits is None else self.logits.softmax(1)

    def leaves(self) -> dict[str, Tensor]:
        """Return what is optimised, by name."""
        found = {"images": self.images, "logits": self.logits, "rate": self.rate}
        return {name: leaf for name, leaf in found.items() if leaf is not None}

    def finite(self) -> bool:
        """Return whether all values and gradients are finite, images can be stored and a learned rate is positive."""
        tensors = [tensor for leaf in self.leaves().values() for tensor in (leaf, leaf.grad) if tensor is not None]
        sound = all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        storable = self.images.detach().abs().max().item() <= _LARGEST
        return sound and storable and (self.rate is None or self.rate.item() > 0)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of what is optimised."""
        return {name: leaf.detach().clone() for name, leaf in self.leaves().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
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
            learning_rate=None if self.rate is None else self.rate.item(),
            provenance=provenance,
        ).rounded()
