"""The source of the user's own modules that a run uses: what it was, and whether it still is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dp_core.errors import UserError
from dp_core.files import digest_of_file
from dp_core.models.spec import WEIGHTS
from dp_core.source_code import source_file, sources_within
from search.runs.directory import RunDirectory

SOURCES = "sources"
"""Key of run.yaml: digests of the user's modules by name (`dp_core.source_code`)."""


def refuse_changed_sources(
    run: RunDirectory, recorded: Mapping[str, Any], config: Mapping[str, Any], accepted: bool
) -> dict[str, str]:
    """See that the user's modules, and files of weights, are what they were when trials were made, or are `accepted`.

    A file that was moved or touched, or whose comments were edited, is the same. A run from before sources were
    recorded takes them as they are.

    Args:
        run: the run.
        recorded: its run.yaml.
        config: the config that it goes on with, which names the modules.
        accepted: whether the user wants to go on with what has changed.

    Returns:
        The digests as they are now, for run.yaml.

    Raises:
        UserError: it names the files that have changed.
    """
    now = sources_in(config)
    changed = changed_modules(recorded, now)
    if changed and not accepted:
        files = " and ".join(_shown(module) for module in changed)
        raise UserError(
            f"{files} {'has' if len(changed) == 1 else 'have'} changed since the run {run.path} was last driven, and "
            "what it has so far was made by another program. Put it back, start another run, or resume this one with "
            "--accept-changes to go on with both."
        )
    return now


def sources_in(config: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of the user's modules that a config names, and of files of weights that its networks start from.

    The former are by name, the latter, of those that are there, by path.
    """
    files = {file for file in _weights(config) if Path(file).is_file()}
    return {**sources_within(config), **{file: digest_of_file(Path(file)) for file in sorted(files)}}


def _weights(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "name" in value and WEIGHTS in value:
            yield from _texts(value[WEIGHTS])
        for inner in value.values():
            yield from _weights(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _weights(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for inner in value.values() for text in _texts(inner))
    elif isinstance(value, list | tuple):
        yield from (text for inner in value for text in _texts(inner))


def changed_modules(recorded: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """Return the modules that a run was driven with and whose source is another now."""
    then = recorded.get(SOURCES, {})
    return [module for module, digest in now.items() if then.get(module, digest) != digest]


def _shown(module: str) -> str:
    file = source_file(module)
    if file is None:
        return module
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
