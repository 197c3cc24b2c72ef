"""What a run is to make, noted when it starts or goes on: how far it is can be told without preparing it again."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

from dp_core.files import write_json
from search.runs.directory import RunDirectory

W = TypeVar("W")


def note_wanted(run: RunDirectory, wanted: Any) -> None:
    """Note what the run is to make, a dataclass; None where its config says it all."""
    if wanted is not None:
        write_json(run.wanted, TypeAdapter(type(wanted)).dump_python(wanted, mode="json"))


def noted_wanted(run: RunDirectory, kind: type[W]) -> W | None:
    """Return what was noted; None for a run from before anything was, or if the file is damaged."""
    try:
        return TypeAdapter(kind).validate_json(run.wanted.read_bytes())
    except (OSError, ValueError):
        return None
