"""The sections of a config that choose a distiller and its settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from dp_core.distillation import DISTILLERS
from dp_core.errors import UserError
from dp_core.models import Families
from search.config.meaning import FIXED, PLACE
from search.config.sections import Section, one_of
from trainables.trials.settings import parse_settings

if TYPE_CHECKING:
    from dp_core.distillation import Distiller


class DistillerSection(Section):
    """A distiller with its settings."""

    method: Annotated[str, FIXED] = "feature_regression"
    """A distiller; configs/README.md has them all with their settings."""
    settings: Annotated[dict[str, Any], FIXED] = Field(default_factory=dict)
    """The distiller's own settings, such as `iterations`."""
    architectures: Annotated[dict[str, Any] | tuple[dict[str, Any], ...] | None, FIXED] = None
    """The networks that the set is made with, instead of `settings.architectures`: `name` and hyperparameters. A list
    of values, or `{choice: [...]}`, for a hyperparameter, or a list of networks, makes it a pool from which one is
    drawn at a time; null is the distiller's own."""
    minutes: Annotated[float | None, FIXED] = Field(default=None, gt=0, allow_inf_nan=False)
    """Wall-clock minutes for each set, instead of `settings.iterations`: steps become smaller as they run out, and of a
    few late states that one is kept which trains fresh networks best on validation images. What comes out depends on
    the machine's speed."""

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        return one_of(method, DISTILLERS)

    def distiller(self) -> Distiller:
        """Return the distiller with its settings; UserError if they are not its own."""
        kind, settings = DISTILLERS[self.method], dict(self.settings)
        if self.architectures is not None:
            self._check_architectures(kind)
            settings["architectures"] = self.architectures
        if self.minutes is not None:
            self._check_minutes(kind)
            settings["minutes"] = self.minutes
        return parse_settings(kind, settings, "distill.settings")

    def _check_minutes(self, kind: type[Distiller]) -> None:
        if "minutes" not in _settings_of(kind):
            raise UserError(f"'distill.minutes' has no meaning for {self.method}, which takes as long as it takes.")
        for name in ("minutes", "iterations"):
            if name in self.settings:
                raise UserError(
                    f"'distill.minutes' and 'distill.settings.{name}' cannot both be given; 'distill.settings={{}}' "
                    f"takes all settings of the config back."
                )

    def _check_architectures(self, kind: type[Distiller]) -> None:
        known = _settings_of(kind)
        if "architectures" not in known:
            instead = ": its network is 'distill.settings.model'" if "model" in known else ""
            raise UserError(f"'distill.architectures' has no meaning for {self.method}{instead}.")
        if "architectures" in self.settings:
            raise UserError("'architectures' stands in 'distill' or in 'distill.settings', not in both.")
        try:
            Families.of(self.architectures or ())
        except UserError as error:
            raise UserError(f"'distill.architectures': {error}") from error


def _settings_of(kind: type[Distiller]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]


class DistillSection(DistillerSection):
    """How the `distilled` source is made; as many sets as there are values of `ipc`."""

    directory: Annotated[Path, PLACE] = Path("distilled")
    """Folder in which sets are kept and found again by the digest of all that they depend on."""
