"""The source of a user's own modules: what their code says, wherever its files lie and whenever they were touched."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import all_suffixes
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from dp_core.files import digest_of_file, digest_of_json

_WINNOW = ("dp_core", "trainables", "search")
_INSTALLED = ("site-packages", "dist-packages")
_FUNCTION = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):[^\W\d]\w*")
_SILENT = ("kind", "type_comment", "ctx")
"""Fields of Python's syntax tree that change nothing, or follow from the rest."""


def sources_of(module: str) -> dict[str, str]:
    """Return digests of the source of a module and of all of the user's that it imports, by module name.

    The user's are the modules that lie beside this one (below the folder that its name is looked up in) or below the
    current folder; not those that are installed, Python's or Winnow's. Imports are found in the source, those inside
    functions too, and `import_module` of a name that is written out. A digest is of what the code says: comments,
    blank lines, layout and docstrings do not count. Nothing is imported.
    """
    first = _located(module)
    if first is None:
        return {}
    roots = (first[0].parents[module.count(".") + (first[0].name == "__init__.py")], Path.cwd())
    found: dict[str, str] = {}
    left, seen = [module], {module}
    while left:
        name = left.pop()
        place = _located(name)
        if place is None or not _is_the_users(name, place[0], roots):
            continue
        path, package = place
        status = path.stat()
        found[name], imports = _read(str(path), name, package, status.st_mtime_ns, status.st_size)
        wanted = {*imports, name.rpartition(".")[0]} - seen - {""}
        seen |= wanted
        left += sorted(wanted)
    return dict(sorted(found.items()))


def sources_within(settings: Any) -> dict[str, str]:
    """Return `sources_of` of every function that nested plain values name as `package.module:function`."""
    return {name: digest for module in sorted(_named(settings)) for name, digest in sources_of(module).items()}


def _named(settings: Any) -> set[str]:
    """Return the modules of the functions that nested plain values name."""
    if isinstance(settings, str):
        named = _FUNCTION.fullmatch(settings)
        return set() if named is None else {named["module"]}
    if isinstance(settings, Mapping):
        return _named(list(settings.values()))
    return set().union(*map(_named, settings)) if isinstance(settings, list | tuple) else set()


def source_file(module: str) -> Path | None:
    """Return the file of a module; None if there is none."""
    found = _located(module)
    return None if found is None else found[0]


def combined(sources: Mapping[str, str]) -> str | None:
    """Return one digest of several sources; None of none."""
    return digest_of_json(dict(sources)) if sources else None


def _located(module: str) -> tuple[Path, str] | None:
    """Return the file of a module and the package that its relative imports start from, without importing anything."""
    folders, file = [Path(entry or ".") for entry in sys.path], None
    parts = module.split(".")
    for count, part in enumerate(parts, start=1):
        file, folders = _within(folders, part) or _imported(".".join(parts[:count])) or (None, [])
        if file is None and not folders:
            return None
    if file is None:
        return None
    return file.resolve(), module if file.name == "__init__.py" else module.rpartition(".")[0]


def _within(folders: list[Path], name: str) -> tuple[Path | None, list[Path]] | None:
    """Return the file of a module in the first of the folders that has it, and the folders of what is inside it."""
    spaces = []
    for folder in folders:
        if (folder / name / "__init__.py").is_file():
            return folder / name / "__init__.py", [folder / name]
        for suffix in all_suffixes():
            if (folder / f"{name}{suffix}").is_file():
                return folder / f"{name}{suffix}", []
        if (folder / name).is_dir():
            spaces.append(folder / name)
    return (None, spaces) if spaces else None


def _imported(name: str) -> tuple[Path | None, list[Path]] | None:
    """Return the same of a module that a finder of its own has found, as some installations have one."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return None
    return Path(file), [Path(folder) for folder in getattr(module, "__path__", ())]


def _is_the_users(name: str, path: Path, roots: tuple[Path, ...]) -> bool:
    if name.partition(".")[0] in _WINNOW or any(part in _INSTALLED for part in path.parts):
        return False
    if path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve()):
        return False
    return any(path.is_relative_to(root.resolve()) for root in roots)


@lru_cache(maxsize=1024)
def _read(path: str, module: str, package: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a file, and the names of what it may import; `changed` and `size` say which state of it."""
    file = Path(path)
    try:
        tree = ast.parse(file.read_bytes())
        said = json.dumps(_said(tree))
    except (SyntaxError, ValueError, RecursionError):  # compiled, or nothing that Python could read
        return digest_of_file(file), ()
    return hashlib.sha256(said.encode()).hexdigest(), tuple(sorted(set(_imports(tree, package))))


def _said(value: Any) -> Any:
    """Return a syntax tree as JSON has it, equal for code that says the same, in every version of Python."""
    if isinstance(value, list):
        return [_said(entry) for entry in value]
    if not isinstance(value, ast.AST):
        return f"{type(value).__name__} {value!r}"
    fields = {name: entry for name, entry in ast.iter_fields(value) if name not in _SILENT}
    if isinstance(value, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
        value
    ):
        fields["body"] = fields["body"][1:]
    # What is empty is left out, as later versions of Python have more fields.
    return [type(value).__name__, {name: _said(entry) for name, entry in fields.items() if entry not in (None, [])}]


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield alias.name
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _absolute("." * level + (module or ""), package)
                if base is not None:
                    yield base
                    for alias in names:  # a name may be a module, too
                        yield f"{base}.{alias.name}"
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                base = _absolute(name, package)
                if base is not None:
                    yield base


def _absolute(name: str, package: str) -> str | None:
    try:
        return resolve_name(name, package or None)
    except (ImportError, ValueError):
        return None
