"""The kinds of run, each in a file of its own and registered by a line here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from dp_core.errors import UserError, nearest
from search.runs.kind import Kind

_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "search": "search.kinds.search:Search",
        "comparison": "search.kinds.comparison:Comparison",
        "proxies": "search.kinds.proxies:Proxies",
        "distillation": "search.kinds.distillation:Distillation",
    }
)
"""By the name that run.yaml has; a kind is imported when a run of it is met, which takes seconds."""


def kind_named(name: str) -> Kind[Any, Any]:
    """Return the kind of run of this name.

    Raises:
        UserError: there is none, such as one of a later version of Winnow.
    """
    if name not in _KINDS:
        raise UserError(f"There is no kind of run '{name}'.{nearest(name, _KINDS)} Known: {', '.join(_KINDS)}.")
    module, _, kind = _KINDS[name].partition(":")
    found: Kind[Any, Any] = getattr(import_module(module), kind)()
    return found
