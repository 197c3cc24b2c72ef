"""Reading a config: YAML through OmegaConf, overrides on top, then checked against a pydantic model."""

from __future__ import annotations

import copy
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from dp_core.errors import UserError, naming, nearest
from dp_core.files import write_text
from search.config.former import Former, with_new_names
from search.config.keys import KeyDescription, describe_keys
from search.config.mistakes import describe
from search.config.overrides import Override, origin

__all__ = [
    "KeyDescription",
    "describe_keys",
    "load_config",
    "override_config",
    "recorded_config",
    "schema_of",
    "with_names_of_today",
    "write_schema",
]

T = TypeVar("T", bound=BaseModel)


def load_config(model: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read the YAML file at `path`, apply the overrides in turn, resolve `${…}` and check the result with `model`.

    Values are checked strictly, as JSON would be: text is never taken for a number, nor a truth value for an integer,
    nor 1.0 for an integer; an integer is taken for a number, and text for a path or an enumeration.

    Args:
        model: the pydantic model of the whole file; models inside it should forbid extra keys.
        path: a YAML file holding one mapping.
        overrides: `dotted.key=value`, the value being YAML; it replaces what stood there.

    Raises:
        UserError: anything wrong with the file, an override or a value; the first mistake in one sentence.
    """
    return _checked(model, _read(path), path, overrides)


def override_config(model: type[T], config: Mapping[str, Any], path: Path, overrides: Sequence[str]) -> T:
    """Return a config that was read from `path` before, with overrides on top; see `load_config`."""
    return _checked(model, OmegaConf.create(dict(config)), path, overrides)


def recorded_config(model: type[T], config: Mapping[str, Any], path: Path) -> T:
    """Return a config that Winnow, this version or an earlier one, has written down in `path`.

    Raises:
        UserError: it was changed into something wrong.
    """
    return with_names_of_today(model, config, path)[1]


def with_names_of_today(model: type[T], config: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], T]:
    """Return what `recorded_config` reads, as plain data whose keys have their names of today and as a config."""
    tree = copy.deepcopy(dict(config))
    with naming(path):
        list(with_new_names(tree, _former(model)))
    try:
        return tree, model.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        raise UserError(describe(error, model, path, ())) from error


def _checked(model: type[T], config: DictConfig, path: Path, overrides: Sequence[str]) -> T:
    former = _former(model)
    with naming(path):
        config, found = _with_new_names(config, former)
    given = []
    for text in overrides:
        override, old = Override.parse(text).with_new_name(former)
        found += [key for key in (old,) if key is not None and key not in found]
        override.apply(config)
        given.append(override)
    with naming(path):
        config, inside = _with_new_names(config, former)  # an override may have put a whole section in its place
    found += [key for key in inside if key not in found]
    _advise(path, found)
    tree = _plain(_resolve(config, path, given), path, given, ())
    try:
        # Strict JSON, not strict Python: it still takes a list for a tuple and text for a path, as YAML needs.
        return model.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise UserError(describe(error, model, path, given)) from error


def _former(model: type[BaseModel]) -> Sequence[Former]:
    return getattr(model, "former", ())


def _with_new_names(config: DictConfig, former: Sequence[Former]) -> tuple[DictConfig, list[Former]]:
    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    found = list(with_new_names(cast(dict[str, Any], tree), former))
    return (OmegaConf.create(cast(dict[str, Any], tree)), found) if found else (config, [])


def _advise(path: Path, found: Sequence[Former]) -> None:
    if found:
        named = ", ".join(f"'{key.old}' is '{key.new}'" for key in found)
        print(f"winnow: {path}: {named} now; this version still takes the old name.", file=sys.stderr)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the config file, with every key's description, for editors and for checking."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **model.model_json_schema(by_alias=True)}


def write_schema(model: type[BaseModel], path: Path) -> None:
    """Write the JSON schema to `path`, keys in the order they are declared."""
    write_text(path, json.dumps(schema_of(model), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _read(path: Path) -> DictConfig:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [file.name for pattern in ("*.yaml", "*.yml") for file in path.parent.glob(pattern)]
        raise UserError(f"the config file {path} does not exist.{nearest(path.name, beside)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_nodes(node, path, "", {})
        if not isinstance(node, yaml.MappingNode | None):
            raise UserError(f"{path} must hold a mapping of keys to values at its top level.")
        config = OmegaConf.load(io.StringIO(text))
    except yaml.YAMLError as error:
        raise UserError(_syntax(error, path)) from error
    except OmegaConfBaseException as error:
        raise UserError(_unusable(error, path, ())) from error
    assert isinstance(config, DictConfig)
    return config


def _syntax(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    line = f", line {mark.line + 1}" if mark is not None else ""
    return f"{path}{line}: not valid YAML: {problem}."


def _check_nodes(node: yaml.Node | None, path: Path, prefix: str, walked: dict[int, bool]) -> None:
    """Raise if a mapping says a key twice or a node holds itself; `walked` tells the nodes met, true once left."""
    if node is None or walked.get(id(node), False):
        return
    line = 0 if node.start_mark is None else node.start_mark.line + 1
    if id(node) in walked:
        raise UserError(f"{path}, line {line}: '{prefix.removesuffix('.')}' holds itself through an alias.")
    walked[id(node)] = False
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = prefix + str(key.value), key.start_mark.line + 1
            if name in lines and key.tag != "tag:yaml.org,2002:merge":
                raise UserError(f"{path}, line {line}: the key '{name}' was already given in line {lines[name]}.")
            lines[name] = line
            _check_nodes(value, path, f"{name}.", walked)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check_nodes(item, path, f"{prefix.removesuffix('.')}[{index}].", walked)
    walked[id(node)] = True


def _resolve(config: DictConfig, path: Path, overrides: Sequence[Override]) -> Any:
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(_unusable(error, path, overrides)) from error


def _unusable(error: OmegaConfBaseException, path: Path, overrides: Sequence[Override]) -> str:
    key = str(getattr(error, "full_key", "") or "")
    place = origin(path, overrides, tuple(key.replace("[", ".").replace("]", "").split(".")))
    if isinstance(error, MissingMandatoryValue):
        return f"{place}: '{key}' is '???': it has to be given, for example as the override {key}=…"
    named = f"'{key}': " if key else ""
    problem = "not a proper ${…} reference: " if isinstance(error, GrammarParseError) else ""
    return f"{place}: {named}{problem}{str(error).splitlines()[0]}."


def _plain(value: Any, path: Path, overrides: Sequence[Override], key: tuple[str | int, ...]) -> Any:
    """Return `value` with text keys throughout, refusing what JSON cannot say."""
    dotted = ".".join(str(part) for part in key)
    if isinstance(value, dict):
        for name in value:
            if isinstance(name, bool) or not isinstance(name, str | int):
                place = origin(path, overrides, key) + (f": '{dotted}'" if key else "")
                shown = json.dumps(name, default=str)
                reason = " (YAML reads yes, no, on and off as true or false)" if isinstance(name, bool) else ""
                raise UserError(f"{place} has the key {shown}, which is not text{reason}; quote it.")
        return {str(name): _plain(item, path, overrides, (*key, name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, path, overrides, (*key, index)) for index, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float):
        return value
    raise UserError(f"{origin(path, overrides, key)}: '{dotted}' holds {type(value).__name__}, which has no use here.")
