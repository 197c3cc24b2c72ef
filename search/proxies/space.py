"""The architectures that a proxy evaluation ranks: the part of the config that says which."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from dp_core.errors import UserError
from dp_core.models import SPACES, Families, ModelSpec
from dp_core.models.families import Architectures
from search.config.sections import Section, one_of

NASBENCH = "nasbench201"
_CUSTOM = "custom"
_LARGEST = 100_000  # architectures of a space; more of them are a slip of the pen, and would only fill the memory


class SpaceSection(Section):
    """The architectures that are ranked."""

    kind: str | None = None
    """`convnet720`, `nasbench201`, `resnet`, `vit`, or `custom`: your own `models`. Null is `custom` where there are
    `models` and else `convnet720`."""
    models: dict[str, Any] | tuple[dict[str, Any], ...] | None = Field(default=None, validate_default=True)
    """`custom`: networks by `name` (or `package.module:function`) and hyperparameters, of each a value, or a list of
    values or `{choice: [...]}`, which makes a network for every combination; or a list of these."""
    architectures: int | None = Field(default=None, ge=2)
    """How many are ranked, a sample that has every value of every hyperparameter about equally often; null is all."""
    max_flops: float | None = Field(default=None, gt=0)
    """Forward FLOPs of one image, above which architectures are left out before the sample is drawn."""
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """What all of them have, on top of what makes them different: `{width: 8, cells: 1}` makes those of `nasbench201`
    small."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str | None) -> str | None:
        return None if kind is None else one_of(kind, (*SPACES, _CUSTOM))

    @field_validator("models")
    @classmethod
    def _of_custom(cls, models: Architectures | None, info: ValidationInfo) -> Architectures | None:
        kind = info.data.get("kind")
        if models is None:
            if kind == _CUSTOM:
                raise ValueError("kind custom needs your networks here, each with a name and hyperparameters")
            return None
        if kind not in (None, _CUSTOM):
            raise ValueError(f"these belong to kind custom, not to {kind}")
        try:
            size = Families.of(models).size
        except UserError as error:
            raise ValueError(str(error)) from error
        if size > _LARGEST:
            raise ValueError(f"these are {size:,} architectures, and a space has at most {_LARGEST:,}")
        return models

    @property
    def specs(self) -> list[ModelSpec]:
        """Every architecture of the space, with the hyperparameters that all have."""
        specs = SPACES[self.kind or "convnet720"]() if self.models is None else Families.of(self.models).specs()
        return [ModelSpec(spec.name, {**spec.hyperparameters, **self.hyperparameters}) for spec in specs]
