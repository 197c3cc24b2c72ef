"""What counts as the source of a user's module, and when it is another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dp_core.source_code import combined, source_file, sources_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that is spread over a package, a module beside it and one that a function imports."""
    root = tmp_path / "code"
    (root / "nets" / "parts").mkdir(parents=True)
    write(root, "nets/__init__.py", "")
    write(root, "nets/mine.py", "import torch\nfrom . import helper\nfrom .parts.block import block\nimport tools\n")
    write(root, "nets/helper.py", "WIDTH = 4\n")
    write(root, "nets/parts/block.py", "def block():\n    from importlib import import_module\n"
                                       "    return import_module('late').VALUE\n")  # fmt: skip
    write(root, "tools.py", "import json\nfrom nets import mine\n")
    write(root, "late.py", "VALUE = 1\n")
    write(root, "stranger.py", "VALUE = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(root))
    return root


def write(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text)


def test_a_module_comes_with_all_of_the_users_that_it_imports(folder: Path) -> None:
    assert set(sources_of("nets.mine")) == {"nets", "nets.mine", "nets.helper", "nets.parts.block", "tools", "late"}
    assert source_file("nets.mine") == (folder / "nets" / "mine.py").resolve()


@pytest.mark.parametrize("name", ["nets/mine.py", "nets/helper.py", "nets/parts/block.py", "tools.py", "late.py"])
def test_a_change_of_any_of_them_is_noticed_and_named(folder: Path, name: str) -> None:
    before = sources_of("nets.mine")
    write(folder, name, (folder / name).read_text() + "MORE = 2\n")
    after = sources_of("nets.mine")
    changed = [module for module in before if before[module] != after[module]]
    assert changed == [name.removesuffix(".py").replace("/", ".")]
    assert combined(before) != combined(after)


def test_what_is_not_imported_does_not_matter(folder: Path) -> None:
    before = sources_of("nets.mine")
    write(folder, "stranger.py", "VALUE = 2\n")
    assert sources_of("nets.mine") == before


def test_comments_layout_docstrings_and_times_do_not_matter(folder: Path) -> None:
    write(folder, "late.py", "def value(x):\n    return x + 1\n")
    before = sources_of("late")
    write(
        folder,
        "late.py",
        '"""What is added."""\n\n\ndef value(\n    x,  # a number\n):\n    """Add."""\n\n    return (x + 1)\n',
    )
    assert sources_of("late") == before
    os.utime(folder / "late.py", (1, 1))
    assert sources_of("late") == before
    write(folder, "late.py", "def value(x):\n    return x + 1.0\n")
    assert sources_of("late") != before


def test_a_folder_may_be_moved(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sources_of("nets.mine")
    shutil.move(folder, tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    assert sources_of("nets.mine") == before


@pytest.mark.parametrize("module", ["json", "torch.nn", "dp_core.models", "no.such.module", "nets.no"])
def test_what_is_installed_or_not_there_is_not_the_users(folder: Path, module: str) -> None:
    assert sources_of(module) == {}


def test_what_is_no_python_counts_by_its_bytes(folder: Path) -> None:
    write(folder, "late.py", "def (\n")
    first = sources_of("late")
    write(folder, "late.py", "def (  \n")
    assert first
    assert sources_of("late") != first
