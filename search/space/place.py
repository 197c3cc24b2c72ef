"""Where in a space something is written, for sentences about it."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.errors import UserError


@dataclass(frozen=True)
class Place:
    """A dotted name in the space that `where` (a file and key) holds; the space itself has an empty name."""

    where: str
    name: str = ""

    def under(self, key: str) -> Place:
        """Return the place of `key` in this group."""
        return Place(self.where, f"{self.name}.{key}" if self.name else key)

    def mistake(self, problem: str) -> UserError:
        """Return the error to raise: where it is, then `problem`, which begins with a verb."""
        return UserError(f"{self.where}: '{self.name}' {problem}" if self.name else f"{self.where} {problem}")
