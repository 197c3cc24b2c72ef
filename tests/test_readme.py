"""What the README shows is run as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from dp_core.data import open_splits
from dp_core.models import ModelSpec, build
from dp_core.pruning import prunable_parameters

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def block(start: str) -> str:
    (found,) = [text for text in BLOCKS if text.startswith(start)]
    return found


def test_the_data_recipe_is_read_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_data.py").write_text(block("# my_data.py"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    splits = open_splits("my_data:load", tmp_path, cache=tmp_path / "cache", validation=0.1, seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (288, 32, 80)
    assert splits.train.class_names == ("north", "east", "south", "west")
    sys.modules.pop("my_data")


def test_the_model_recipe_is_built_and_prunable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_model.py").write_text(block("# my_model.py"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = build(ModelSpec("my_model:mlp", {"width": 5}), (3, 8, 8), 7)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    assert sum(p.numel() for p in prunable_parameters(model).values()) == 3 * 64 * 5 + 5 * 7
    sys.modules.pop("my_model")


def test_the_notebook_recipe_ends_at_its_sparsity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(block("from pathlib import Path\n\nfrom dp_core.data import open_splits"), "README.md", "exec"), names)
    lines = [line for line in capsys.readouterr().out.splitlines() if "sparse" in line]
    assert [line.split(" sparse")[0] for line in lines] == ["0.0%", "50.0%", "75.0%", "87.5%", "90.0%"]
    assert all(float(line.split(": ")[1].rstrip("%")) > 12 for line in lines), "better than chance, 10 %"

    exec(compile(block("import torch\n\nfrom dp_core.analysis import interpolate"), "README.md", "exec"), names)
    barrier, eigenvalue = capsys.readouterr().out.splitlines()
    assert 0 <= float(barrier.removeprefix("error barrier ").rstrip("%")) < 90
    assert float(eigenvalue.removeprefix("top Hessian eigenvalue ")) > 0, "the loss is not concave where training ends"


def test_every_file_and_name_that_the_readme_registers_things_in_exists() -> None:
    rows = re.findall(r"\| `(\w+)` in `([\w/]+\.py)` \|", README)
    assert len(rows) == 9
    for name, path in rows:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{name} in {path}"
    for path in re.findall(r"like `([\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README
