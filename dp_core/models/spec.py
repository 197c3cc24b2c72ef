"""A network described by a name and hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from dp_core.files import digest_of_file, digest_of_json
from dp_core.models.registry import ARCHITECTURES, builder_named
from dp_core.source_code import combined, sources_of

WEIGHTS = "weights"
"""The hyperparameter of every model that names a file of weights to start from."""


@dataclass(frozen=True)
class ModelSpec:
    """A registry name or a user's `package.module:function`, with the hyperparameters to call it with.

    Beside those of the architecture, every model has the hyperparameter `initialisation`, one of INITIALISATIONS (see
    `initialise`), and `weights`, a safetensors file to start from (see `load_weights`); a user's function that has a
    parameter of such a name itself gets it instead.
    """

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> ModelSpec:
        """The same network without `weights` to start from: for who has its weights already."""
        kept = {key: value for key, value in self.hyperparameters.items() if key != WEIGHTS}
        return ModelSpec(self.name, kept)

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict that `from_dict` reads back."""
        return {"name": self.name, **self.hyperparameters}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_dict` wrote: `name` and the hyperparameters beside it."""
        if "name" not in value:
            raise UserError(f"A model needs a 'name', one of {', '.join(ARCHITECTURES)} or 'package.module:function'.")
        return ModelSpec(str(value["name"]), {key: entry for key, entry in value.items() if key != "name"})

    def label(self) -> str:
        """Return a short text for tables, such as `convnet depth=3 width=64 instance`: numbers by name, words alone."""
        given = {key: value for key, value in self.hyperparameters.items() if key != WEIGHTS}
        parts = [str(value) if isinstance(value, str) else f"{key}={value}" for key, value in given.items()]
        start = self.hyperparameters.get(WEIGHTS)
        return " ".join([self.name, *parts, *([] if start is None else [f"from {Path(str(start)).name}"])])


def source_digest(spec: ModelSpec) -> str | None:
    """Return a digest of what of a user's own a network is made of; None if that is nothing.

    That are its function (the module and all of the user's that this imports; of one that is installed its file) and
    the weights that it starts from. What was found out about a network is about another one when they are others.

    Raises:
        UserError: the function cannot be imported.
    """
    code, weights = _code_digest(spec), Path(str(spec.hyperparameters.get(WEIGHTS, "")))
    return digest_of_json([code, digest_of_file(weights)]) if weights.is_file() else code


def _code_digest(spec: ModelSpec) -> str | None:
    if spec.name in ARCHITECTURES:
        return None
    function = inspect.unwrap(builder_named(spec.name))
    modules = {spec.name.partition(":")[0], getattr(function, "__module__", None) or ""} - {""}
    sources = {name: digest for module in sorted(modules) for name, digest in sources_of(module).items()}
    if sources:
        return combined(sources)
    try:
        file = inspect.getsourcefile(function)
    except TypeError:  # it is no Python function
        file = None
    return None if file is None or not Path(file).is_file() else digest_of_file(Path(file))
