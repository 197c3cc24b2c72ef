"""run.yaml: what a run was started with, on what, and where."""

from __future__ import annotations

import platform
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from dp_core.errors import UserError
from dp_core.files import write_text
from search.config.loader import recorded_config
from search.config.sections import NamedRunSection, RunConfig
from search.runs.directory import LOCK, RunDirectory
from search.runs.images import IMAGE, digests
from search.runs.machine import this_machine
from search.runs.sources import SOURCES, sources_in

if TYPE_CHECKING:
    from dp_core.data import Splits
    from dp_core.distillation import DistilledSet

_LAST = "distilled_sets"
"""What every record ends with: half of one may be valid YAML, too."""

JUDGING = "judging"
"""Key of how trained networks are judged; runs from before there was one judge do not have it."""
_JUDGING = 1

_FORMER_KINDS: Mapping[str, str] = MappingProxyType({"study": "comparison", "proxy-evaluation": "proxies"})

_LIBRARIES = ("winnow", "torch", "torchvision", "ray", "optuna", "numpy", "pyarrow")

C = TypeVar("C", bound=RunConfig)


def refuse_taken(run: RunDirectory, section: NamedRunSection) -> None:
    """Raise UserError if the folder of a new run has a run, or anything else, in it."""
    if run.config.exists():
        raise UserError(
            f"The run {section.name} exists in {section.directory}: go on with it by "
            f"'winnow resume {section.directory / section.name}', or choose another run.name."
        )
    if run.path.exists() and not run.path.is_dir():
        raise UserError(f"{run.path} is a file: choose another run.name.")
    if run.path.exists() and any(not _is_leftover(entry.name) for entry in run.path.iterdir()):
        raise UserError(f"The folder {run.path} is not empty and not a run: choose another run.name.")


def _is_leftover(name: str) -> bool:
    """Return whether a driver that was killed before it had begun may have left a file of this name."""
    return name == LOCK or (name.startswith(".") and name.endswith(".tmp"))


@contextmanager
def claimed(run: RunDirectory, section: NamedRunSection) -> Iterator[None]:
    """Hold the lock of a new run's folder; if no record is in it in the end, the folder goes.

    Raises:
        UserError: another driver was quicker.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with run.locked():
        refuse_taken(run, section)
        try:
            yield
        finally:
            if not run.config.exists():
                shutil.rmtree(run.path, ignore_errors=True)


def new_record(
    command: Sequence[str], config: RunConfig, splits: Splits, estimate: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the record of a run that starts now, with folders written in full.

    `estimate` is what it was said to take, see `Estimate.to_dict`.
    """
    tree = config.in_full()
    return {
        "kind": config.kind,
        "command": shlex.join(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.run.seed,
        "machine": f"{platform.system()} {platform.machine()}, {this_machine().describe()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "data": dict(digests(splits)),
        JUDGING: _JUDGING,
        "splits": {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)},
        IMAGE: {"shape": list(splits.train.image_shape), "classes": list(splits.train.class_names)},
        "images": {**splits.described(), "notes": list(splits.notes())},
        **({} if estimate is None else {"estimated_seconds": dict(estimate)}),
        "config": tree,
        SOURCES: sources_in(tree),
        _LAST: {},
    }


def write_record(run: RunDirectory, record: Mapping[str, Any]) -> None:
    """Write run.yaml."""
    ordered = {key: value for key, value in record.items() if key != _LAST} | {_LAST: record[_LAST]}
    write_text(run.config, yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True))


def read_run(run: RunDirectory) -> dict[str, Any]:
    """Return what run.yaml says."""
    try:
        recorded = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{run.config} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(recorded, dict) or not {"config", "data"} <= recorded.keys():
        raise UserError(f"{run.config} is not the record of a run.")
    if _LAST not in recorded:
        raise UserError(f"{run.config} is damaged: it ends before '{_LAST}'.")
    for key in ("config", "data", _LAST):
        if not isinstance(recorded[key], dict):
            raise UserError(f"{run.config} is damaged: '{key}' is no mapping.")
    if missing := [split for split in ("train", "validation", "test") if split not in recorded["data"]]:
        raise UserError(f"{run.config} is damaged: 'data' has no '{missing[0]}'.")
    return recorded


def kind_of(recorded: Mapping[str, Any]) -> str:
    """Return the name of a run's kind by its run.yaml, as it is called today."""
    kind = str(recorded.get("kind", "search"))  # run.yaml from before there were others does not say it
    return _FORMER_KINDS.get(kind, kind)


def config_of(run: RunDirectory, recorded: Mapping[str, Any], model: type[C]) -> C:
    """Return the config that a run was started with."""
    if (kind := kind_of(recorded)) != model.kind:
        raise UserError(f"The run {run.path} is of the kind '{kind}', not {model.words}.")
    return recorded_config(model, recorded["config"], run.config)


def refuse_changed_data(run: RunDirectory, recorded: Mapping[str, Any], splits: Splits, root: Any) -> None:
    """Raise UserError unless the data are those that the run was started on."""
    if recorded["data"] != dict(digests(splits)):
        raise UserError(f"The data of the run {run.path} have changed since it started: {root}.")


def judged_otherwise(recorded: Mapping[str, Any]) -> str | None:
    """Return in words that a run was begun with another judge of trained networks (see `judge`); None if it was not."""
    if recorded.get(JUDGING) == _JUDGING or kind_of(recorded) == "distillation":
        return None
    return (
        "it was begun when networks were judged by the norm statistics of their training: what has ended keeps its "
        "scores, with which new ones of batch-norm networks are not on one scale"
    )


def record_sets(run: RunDirectory, sets: Mapping[str, DistilledSet]) -> None:
    """Write the digests of the distilled sets that a run uses into run.yaml.

    Raises:
        UserError: it has used another set under one of these names before.
    """
    recorded = read_run(run)
    refuse_changed_sets(run, recorded, sets)
    recorded["distilled_sets"] |= {key: used.digest for key, used in sets.items()}
    write_record(run, recorded)


def refuse_changed_sets(run: RunDirectory, recorded: Mapping[str, Any], sets: Mapping[str, DistilledSet]) -> None:
    """Raise UserError if the run has used another set under one of these names before."""
    for key, digest in recorded["distilled_sets"].items():
        if key in sets and sets[key].digest != digest:
            raise UserError(f"The distilled set '{key}' of the run {run.path} has changed since it started.")
