"""Names that stand between backticks on a page, and whether there is what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

from search.comparison.config import ComparisonConfig
from search.config.loader import describe_keys
from search.config.models import SearchConfig
from search.distillation.config import DistillConfig
from search.proxies.config import ProxyEvaluationConfig
from tests.docs.pages import EVERY, ROOT, Page

FOLDERS = ("dp_core", "trainables", "search", "configs", "benchmarks", "assets", "tests", "scripts", "docs", ".ci")
CONFIGS = (SearchConfig, ComparisonConfig, DistillConfig, ProxyEvaluationConfig)
SECTIONS = "answers|data|distill|promote|resources|retrain|run|scope|screen|search|space|stability|truth"

# Keys of earlier versions, which are still taken.
_OLD_KEYS = tuple(key.old for key in SearchConfig.former)


def missing_paths(page: Page) -> list[str]:
    """Return what looks like a path of the repository, or of the page's folder, and is none."""
    paths = [span for span in page.spans() if "/" in span and re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", span)]
    return [path for path in paths if not _leads(path, _starts(page, path.partition("/")[0]))]


def _starts(page: Page, first: str) -> list[Path]:
    """Return the folders that a path with this first part may start from; none if it is of a user's, not of ours."""
    beside = page.path.parent
    return [ROOT] * (first in FOLDERS) + [beside] * (beside != ROOT and (beside / first).is_dir())


def _leads(path: str, starts: list[Path]) -> bool:
    return not starts or any(any(start.glob(path.rstrip("/"))) for start in starts)


def missing_links(page: Page) -> list[str]:
    """Return the links that lead nowhere: to no file, or to no heading of a page."""
    anchors = {other.path: other.anchors() for other in EVERY}
    wrong = []
    for link in page.links():
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.exists() or (anchor and anchor not in anchors.get(target, ())):
            wrong.append(link)
    return wrong


def missing_modules(page: Page) -> list[str]:
    """Return the dotted names of modules, or of what is in them, that cannot be imported."""
    dotted = [span for span in page.spans() if re.fullmatch(r"(dp_core|trainables|benchmarks)(\.\w+)+", span)]
    return [name for name in dotted if not _is_there(name)]


def _is_there(dotted: str) -> bool:
    try:
        import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return "." in module and hasattr(import_module(module), name)
    return True


def missing_benchmarks(page: Page) -> list[str]:
    """Return the benchmarks that are said to be run as modules, and are not there."""
    named = re.findall(r"-m\s+benchmarks\.(\w+)", page.text)
    return [name for name in named if not (ROOT / "benchmarks" / f"{name}.py").is_file()]


def missing_keys(page: Page) -> list[str]:
    """Return what looks like a key of a config and is one of none."""
    keys = [re.split(r"[=:] ?", span)[0] for span in page.spans() if re.match(rf"({SECTIONS})\.[a-z]", span)]
    dotted = [key for key in keys if re.fullmatch(r"[\w.*]+", key) and not key.endswith((".yaml", ".json"))]
    return [key for key in dotted if not _is_key(key)]


def _is_key(key: str) -> bool:
    return key in _OLD_KEYS or any(_is_key_of(types, key.split(".")) for types in _types())


def _is_key_of(types: Mapping[str, str], parts: list[str]) -> bool:
    """Return whether a key is one of `types`, or within one that holds what the user likes."""
    known = next((".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in types), "")
    free = types.get(known, "").startswith("mapping") and not any(name.startswith(f"{known}.") for name in types)
    return free or known == ".".join(parts)


@cache
def _types() -> tuple[Mapping[str, str], ...]:
    """Return the types of the keys of each kind of config."""
    return tuple({key.key: key.type for key in describe_keys(config)} for config in CONFIGS)


def missing_settings(page: Page) -> list[str]:
    """Return the environment variables of Winnow's that no module reads."""
    return sorted(set(re.findall(r"WINNOW_[A-Z_]+", page.text)) - _read_from_the_environment())


@cache
def _read_from_the_environment() -> frozenset[str]:
    return frozenset(name for text in _sources() for name in re.findall(r'"(WINNOW_[A-Z_]+)"', text))


def _sources() -> Iterator[str]:
    for package in ("dp_core", "trainables", "search"):
        for path in (ROOT / package).rglob("*.py"):
            yield path.read_text(encoding="utf-8")
