"""What was met while images were decoded, of which a user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass
class Findings:
    """Counts of images.

    Attributes:
        turned: were turned or mirrored as their orientation tag says.
        composed: are transparent in places, and were laid on the ground.
        animated: have several frames, of which the first was taken.
        train_copies: training images that equal an earlier one pixel for pixel.
        test_copies: test images that equal a training image pixel for pixel.
    """

    turned: int = 0
    composed: int = 0
    animated: int = 0
    train_copies: int = 0
    test_copies: int = 0

    def add(self, others: Sequence[Findings]) -> None:
        """Add the counts of `others` to these."""
        for field in fields(self):
            setattr(self, field.name, sum(getattr(each, field.name) for each in (self, *others)))

    def count_copies(self, digests: Sequence[bytes], train: int) -> None:
        """Count the copies by the digests of all images, the `train` training images first."""
        known = set(digests[:train])
        self.train_copies = train - len(known)
        self.test_copies = sum(digest in known for digest in digests[train:])

    def sentences(self, ground: str) -> tuple[str, ...]:
        """Return what to tell; `ground` is what transparent images were laid on."""
        told = (
            ("images turned as their orientation tag says", self.turned),
            (f"images that are transparent in places, and were laid on {ground} (data.ground)", self.composed),
            ("images of several frames, of which the first is used", self.animated),
            (
                "training images that are copies of others, so that train and validation may share them",
                self.train_copies,
            ),
            ("test images that are copies of training images", self.test_copies),
        )
        return tuple(f"{what}: {count:,}" for what, count in told if count)
