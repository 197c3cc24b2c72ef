"""What a config's `data` section says of how to read, beside the format and the folder."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from PIL import ImageColor

from dp_core.errors import UserError

Colour = tuple[int, int, int]
Stream = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Reading:
    """How a reader is to read.

    Attributes:
        image: the Parquet column of the images; None for the first of `img` and `image` that is there.
        label: the Parquet column of the labels; None for `label`.
        ground: the colour that transparent images are laid on, as a name (`white`) or `#rrggbb`. Grey, because neither
            black nor white shapes vanish on it.

    Raises:
        UserError: there is no such colour.
    """

    image: str | None = None
    label: str | None = None
    ground: str = "grey"

    def __post_init__(self) -> None:
        """See that the ground is a colour."""
        try:
            ImageColor.getrgb(self.ground)
        except ValueError:
            raise UserError(
                f"'data.ground' is a colour, such as white, grey or #ff8000, not '{self.ground}'."
            ) from None

    @property
    def colour(self) -> Colour:
        """Red, green and blue of the ground, 0 to 255 each."""
        red, green, blue = ImageColor.getrgb(self.ground)[:3]
        return red, green, blue

    def refuse(self, format: str, *keys: str) -> None:
        """Raise UserError if one of `keys` was set, which `format` has no use for."""
        for field in fields(self):
            if field.name in keys and getattr(self, field.name) != field.default:
                raise UserError(f"'data.{field.name}' has no use with the data format '{format}'.")


USUAL = Reading()
"""The usual columns, and grey under what is transparent."""
