"""Whether a command that a page shows would be understood: its options, its config, its overrides, its scripts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel
from ray.scripts.scripts import cli as ray_commands
from typer.main import get_command

from dp_core.errors import UserError
from search.cli.engine_bench import workloads
from search.cli.main import app
from search.comparison.config import ComparisonConfig
from search.config.loader import load_config
from search.config.models import SearchConfig
from search.distillation.config import DistillConfig
from search.proxies.config import ProxyEvaluationConfig
from search.space import Space
from tests.docs.pages import ROOT
from trainables import Candidate

PLACEHOLDER = re.compile(r"[A-Z]+")
_STARTED_BY: Mapping[str, type[BaseModel]] = {
    "search": SearchConfig,
    "prune": ComparisonConfig,
    "proxy-eval": ProxyEvaluationConfig,
    "make": DistillConfig,
}
_SHIPPED: Mapping[type[BaseModel], Path] = {
    SearchConfig: Path("configs/quickstart.yaml"),
    ComparisonConfig: Path("configs/prune/mini.yaml"),
    ProxyEvaluationConfig: Path("configs/proxy/mini.yaml"),
    DistillConfig: Path("configs/distill/mini.yaml"),
}


def mistake(command: str) -> str | None:
    """Return what is wrong with a line of shell, None if nothing is; the root of the repository is where it is given.

    Words in capitals stand for what a reader has: a path, a run, a config.
    """
    words = [word for word in shlex.split(command, comments=True) if not word.startswith(">")]
    if not words:
        return None
    check = _PROGRAMS.get(PurePath(words[0]).name)
    if check is None:
        return f"nobody knows here whether '{words[0]}' is right"
    try:
        check(words[1:])
    except Exception as error:  # whatever it is, the command would not run
        return f"{type(error).__name__}: {error}"
    return None


def names_a_command(text: str) -> bool:
    """Return whether this is `winnow` with the words of a command and no arguments, as a sentence speaks of it."""
    command: Any = get_command(app)
    for word in text.split()[1:]:
        command = getattr(command, "commands", {}).get(word)
    return text.startswith("winnow ") and command is not None


def _winnow(words: Sequence[str]) -> None:
    name, given = _understood(words)
    overrides = list(given.get("overrides") or ())
    if name in _STARTED_BY:
        if not PLACEHOLDER.fullmatch(str(given["config"])):
            _check_config(_STARTED_BY[name], given["config"], overrides)
    elif name == "resume":
        _check_changes(overrides)
    elif name == "retrain":
        _check_config(SearchConfig, _SHIPPED[SearchConfig], overrides)
        if other := [text for text in overrides if not text.startswith("retrain.")]:
            raise UserError(f"{other[0]} is no key of 'retrain'.")
    elif name == "evaluate":
        _check_there(str(given["set_path"]))
    elif name == "engine":
        workloads(given["models"], given["modes"], {"batch_size": given["batch_size"], "images": given["images"]})


def _understood(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the command that the command line would run, and its arguments."""
    found: list[tuple[str, dict[str, Any]]] = []
    tree: Any = get_command(app)
    for name, leaf in _leaves(tree):
        leaf.callback = lambda name=name, **given: found.append((name, given))
    tree.main(list(words), prog_name="winnow", standalone_mode=False)
    return found[0]


def _leaves(group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command)
        else:
            yield name, command


def _check_config(model: type[BaseModel], path: Path, overrides: Sequence[str]) -> None:
    config: Any = load_config(model, ROOT / path, overrides)
    if isinstance(config, SearchConfig):
        config.retrain.parsed_recipe()
        for corner in Space.parse(config.space).corners():
            Candidate.parse(corner, classes=10)
    if isinstance(config, ProxyEvaluationConfig):
        config.parsed_proxies()
    else:
        config.distill.distiller()


def _check_changes(overrides: Sequence[str]) -> None:
    """See that a run of one kind at least could be resumed with these overrides."""
    mistakes = []
    for model, path in _SHIPPED.items():
        try:
            _check_config(model, path, overrides)
        except UserError as error:
            mistakes.append(str(error))
    if len(mistakes) == len(_SHIPPED):
        raise UserError("; ".join(mistakes))


def _make(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        variable, equals, value = word.partition("=")
        if not equals:
            if not re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE):
                raise UserError(f"there is no target {word}")
        elif not re.search(rf"^{re.escape(variable)} \?=", makefile, re.MULTILINE):
            raise UserError(f"there is no variable {variable}")
        elif variable == "ARGS" and "search" in words:
            _check_config(SearchConfig, _SHIPPED[SearchConfig], shlex.split(value))


def _python(words: Sequence[str]) -> None:
    if words[:2] == ["-m", "pytest"]:
        for word in words[2:]:
            if not word.startswith("-"):
                _check_there(word)
        return
    script, arguments = (f"{words[1].replace('.', '/')}.py", words[2:]) if words[0] == "-m" else (words[0], words[1:])
    _check_there(script)
    source = (ROOT / script).read_text(encoding="utf-8")
    for word in arguments:
        if word.startswith("--") and f'"{word.partition("=")[0]}"' not in source:
            raise UserError(f"{script} has no option {word}")


def _ray(words: Sequence[str]) -> None:
    command: Any = ray_commands.commands[words[0]]
    command.make_context(words[0], list(words[1:]))


def _check_there(path: str) -> None:
    if not PLACEHOLDER.fullmatch(path) and not (ROOT / path).exists():
        raise UserError(f"there is no {path}")


def _anything(words: Sequence[str]) -> None:
    """Take any arguments, of a program that is not ours."""


_PROGRAMS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "winnow": _winnow,
    "make": _make,
    "python": _python,
    "ray": _ray,
    "tensorboard": _anything,
    "export": _anything,
}
