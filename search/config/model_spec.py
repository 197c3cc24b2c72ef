"""A network as it is written on a command line."""

from __future__ import annotations

from typing import Any

import yaml

from dp_core.errors import UserError
from dp_core.models import ARCHITECTURES, ModelSpec


def model_spec(text: str) -> ModelSpec:
    """Read `name` or `name:key=value,key=value`, where a name may be `package.module:function`; values are YAML's.

    Raises:
        UserError: a hyperparameter without a value.
    """
    name, separator, hyperparameters = text.rpartition(":")
    if not separator or ("=" not in hyperparameters and name not in ARCHITECTURES):
        return ModelSpec(text)
    values: dict[str, Any] = {}
    for pair in hyperparameters.split(","):
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UserError(f"The model '{text}' has '{pair}' where a hyperparameter belongs, such as width=64.")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"The model '{text}' has a value that cannot be read: '{value}'.") from None
    return ModelSpec(name, values)
