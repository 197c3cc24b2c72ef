"""The keys a pydantic model offers: finding them by path, and describing them in a user's words."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from search.output.wording import show

NOUNS: Mapping[Any, str] = types.MappingProxyType(
    {int: "integer", float: "number", bool: "true or false", str: "text", Path: "path", type(None): "null", Any: "any"}
)


@dataclass(frozen=True)
class Holds:
    """Stands on the field of a free mapping: the keys that belong into it, which are checked by somebody else.

    Attributes:
        keys: dotted, from the mapping on.
        settings: dataclasses whose fields belong below some of them, or into the mapping itself (`""`).
        without: fields of these that do not.
    """

    keys: tuple[str, ...] = ()
    settings: tuple[tuple[str, type], ...] = ()
    without: tuple[str, ...] = ()

    def inside(self) -> Iterator[str]:
        """Yield the dotted keys."""
        yield from self.keys
        for key, kind in self.settings:
            names = (field.name for field in fields(kind) if field.name not in self.without)
            yield from (f"{key}.{name}" if key else name for name in names)


class KeyDescription(NamedTuple):
    """One key of a config file, for documentation.

    `key` is dotted, with `[]` after a list and `.*` after a free mapping; `default` is YAML text, `required`, or empty
    for a group whose keys have their own defaults.
    """

    key: str
    type: str
    default: str
    description: str


@dataclass(frozen=True)
class Slot:
    """What may stand at one place of a config: a type and the constraints on it."""

    annotation: Any
    constraints: tuple[Any, ...] = ()

    @classmethod
    def of(cls, annotation: Any, constraints: Sequence[Any] = ()) -> Slot:
        """Unwrap `Annotated` and named aliases, gathering the constraints they carry."""
        found = list(constraints)
        while True:
            if get_origin(annotation) is Annotated:
                annotation, *extra = get_args(annotation)
                for item in extra:
                    found.extend(item.metadata if isinstance(item, FieldInfo) else [item])
            elif hasattr(annotation, "__value__"):
                annotation = annotation.__value__
            else:
                return cls(annotation, tuple(found))

    @property
    def members(self) -> tuple[Slot, ...]:
        """The alternatives of a union, null left out; a plain type is its own only alternative."""
        if get_origin(self.annotation) not in (Union, types.UnionType):
            return (self,)
        arguments = [item for item in get_args(self.annotation) if item is not type(None)]
        return tuple(member for item in arguments for member in Slot.of(item, self.constraints).members)

    @property
    def model(self) -> type[BaseModel] | None:
        """The pydantic model that stands here, if it is one."""
        is_model = isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel)
        return self.annotation if is_model else None

    def child(self, element: str | int) -> Slot:
        """Return what may stand under `element`, a key or an index; anything at all if that is not known."""
        if self.model is not None:
            info = fields_of(self.model).get(str(element))
            return Slot(Any) if info is None else Slot.of(info.annotation, info.metadata)
        arguments = [item for item in get_args(self.annotation) if item is not Ellipsis]
        if not arguments or get_origin(self.annotation) is Literal:
            return Slot(Any)
        if get_origin(self.annotation) is tuple and isinstance(element, int):
            return Slot.of(arguments[min(element, len(arguments) - 1)])
        return Slot.of(arguments[-1])

    def describe(self) -> str:
        """Return the type and its range in words, such as `integer ≥ 1`, `one of a | b` or `list [number ≥ 0, …]`."""
        names = [_describe_plain(member) for member in self.members]
        if type(None) in get_args(self.annotation):
            names.append("null")
        return " or ".join(dict.fromkeys(names))


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the model's fields under the keys a user writes for them."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def describe_keys(model: type[BaseModel]) -> list[KeyDescription]:
    """List every key that `model` and the models inside it accept, in the order they are declared.

    A group (a nested model) has a row of its own before its keys. Keys that several variants of a group share are
    listed once for each distinct description.
    """
    return list(dict.fromkeys(_rows(model, "", None)))


def held_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the keys that belong into the free mappings of `model` and of the models inside it (see `Holds`)."""
    for key, info in fields_of(model).items():
        slot = Slot.of(info.annotation, info.metadata)
        for held in slot.constraints:
            if isinstance(held, Holds):
                yield from (f"{prefix}{key}.{inner}" for inner in held.inside())
        for path, nested in _nested_models(slot, prefix + key):
            yield from held_keys(nested, path + ".")


def _rows(model: type[BaseModel], prefix: str, defaults: BaseModel | None) -> Iterator[KeyDescription]:
    for (key, info), name in zip(fields_of(model).items(), model.model_fields, strict=True):
        slot = Slot.of(info.annotation, info.metadata)
        default = _default(info) if defaults is None else getattr(defaults, name)
        yield KeyDescription(prefix + key, slot.describe(), _default_text(default), info.description or "")
        inner = default if isinstance(default, BaseModel) else None
        for path, nested in _nested_models(slot, prefix + key):
            yield from _rows(nested, path + ".", inner if type(inner) is nested else None)


def _nested_models(slot: Slot, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for member in slot.members:
        origin = get_origin(member.annotation)
        if member.model is not None:
            yield path, member.model
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            yield from _nested_models(member.child("*"), path + ".*")
        elif isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
            yield from _nested_models(member.child(0), path + "[]")


class _Required(enum.Enum):
    TOKEN = "required"


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return _Required.TOKEN
    factory: Any = info.default_factory
    if factory is None:
        return info.default
    return factory({}) if info.default_factory_takes_validated_data else factory()


def _default_text(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, enum.Enum):
        value = value.value
    return str(value) if isinstance(value, str | Path) else show(value)


def _describe_plain(slot: Slot) -> str:
    annotation, origin = slot.annotation, get_origin(slot.annotation)
    if origin is Literal:
        return "one of " + " | ".join(_default_text(value) for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + " | ".join(_default_text(value) for value in annotation)
    kind = origin or annotation
    if slot.model is not None or (isinstance(kind, type) and issubclass(kind, Mapping)):
        noun = "mapping"
    elif kind is tuple and get_args(annotation)[-1:] != (Ellipsis,):
        noun = f"list [{', '.join(Slot.of(item).describe() for item in get_args(annotation))}]"
    elif isinstance(kind, type) and issubclass(kind, Sequence | set | frozenset) and kind is not str:
        noun = f"list [{slot.child(0).describe()}, …]"
    else:
        noun = NOUNS.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return f"{noun} {_range(slot.constraints, 'characters' if kind is str else 'items')}".strip()


def _range(constraints: Sequence[Any], parts: str) -> str:
    """Return the bounds among `constraints` in words: annotated-types and pydantic name them by attribute."""
    templates = {
        "gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "multiple_of": "a multiple of {}",
        "min_length": f"of {{}} or more {parts}", "max_length": f"of at most {{}} {parts}", "pattern": "matching {}",
    }  # fmt: skip
    found = [
        template.format(getattr(item, name))
        for name, template in templates.items()
        for item in constraints
        if getattr(item, name, None) is not None
    ]
    return " and ".join(found)
