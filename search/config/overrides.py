"""Overrides given on the command line, `dotted.key=value`, and which of them a key's value came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dp_core.errors import UserError
from search.config.former import Former

KEY = re.compile(r"[\w-]+(\.[\w-]+|\[\d+\])*")


@dataclass(frozen=True)
class Override:
    """One override as typed, the path of its key, and its value as YAML read it."""

    text: str
    path: tuple[str, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Override:
        """Read `dotted.key=value`; the value is YAML, so `lr=1e-3` is a number and `lr='1e-3'` text.

        Raises:
            UserError: there is no `=`, no proper key before it, or no proper YAML after it.
        """
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            raise UserError(f"the override '{text}' has no '=': write it as dotted.key=value.")
        if not KEY.fullmatch(key):
            raise UserError(f"the override '{text}' needs a dotted key such as run.name before its '='.")
        try:
            parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]), resolve=False)
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise UserError(f"the override '{text}': what follows '=' is not valid YAML ({problem}).") from error
        assert isinstance(parsed, dict)
        return cls(text, tuple(re.findall(r"[\w-]+", key)), parsed["value"])

    def with_new_name(self, former: Sequence[Former]) -> tuple[Override, Former | None]:
        """Return the override with the name that its key has today, and which key it was if it had another."""
        for key in former:
            if (path := key.renamed(self.path)) is not None:
                return replace(self, path=path, value=key.convert(self.value)), key
        return self, None

    def apply(self, config: DictConfig) -> None:
        """Set the key to the value, replacing what stood there (mappings are not merged), adding it if need be.

        Raises:
            UserError: the key leads into a list at a place that the list does not have.
        """
        try:
            OmegaConf.update(config, ".".join(self.path), self.value, merge=False)
        except (OmegaConfBaseException, ValueError) as error:
            raise UserError(f"the override '{self.text}' cannot be applied: {str(error).splitlines()[0]}.") from error


def origin(path: Path, overrides: Sequence[Override], key: Sequence[str | int]) -> str:
    """Name where the value at `key` came from: the config file, an override, or the file as changed by one."""
    parts = tuple(str(part) for part in key)
    for override in reversed(overrides):
        if parts[: len(override.path)] == override.path:
            return f"the override '{override.text}'"
    for override in reversed(overrides):
        if override.path[: len(parts)] == parts:
            return f"{path} with the override '{override.text}'"
    return str(path)
