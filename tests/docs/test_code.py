"""The Python on the pages is run as it stands, in the order of a page, beside the run that the pages speak of."""

from __future__ import annotations

import io
import math
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.data import open_splits
from dp_core.data.preprocessing import Standardisation
from dp_core.models import ModelSpec, build
from dp_core.pruning import Ticket, prunable_parameters
from dp_core.training import Recipe, rehearsed
from dp_core.training.parts import loss_of
from search.pipeline.tables import write_leaderboard
from tests.docs.pages import EVERY, ROOT, Page
from tests.search.report.report_rows import model_row
from trainables.retraining.trained_model import TrainedModel

OLD_SEARCH = ROOT / "tests/search/runs/folders/search.zip"
WITH_CODE = [page for page in EVERY if any(language == "python" for language, _ in page.blocks())]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the assets and a run that retrained a ticket, in which modules are looked for."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    write_quickstart(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.manual_seed(0)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def write_quickstart(runs: Path) -> None:
    """Write a run with the study and the tickets of an old one, and with one model, which is not trained."""
    with zipfile.ZipFile(OLD_SEARCH) as archive:
        archive.extractall(runs)
    run = (runs / "tiny").rename(runs / "quickstart")
    ticket = Ticket.load(run / "tickets" / "00001")
    row = model_row(1, 0.5, 0.6, trial=1, seeds=1)
    write_leaderboard(run / "leaderboard.parquet", [row])
    space = Standardisation((0.5,) * 3, (0.25,) * 3)
    names = tuple("abc"[: ticket.classes])
    weights = ticket.build().state_dict()
    model = TrainedModel(ticket.spec, ticket.input_shape, names, space, weights, {"trial": 1, "seed": 0})
    (folder := run / "models" / f"00001-seed0-{row['recipe']}").mkdir(parents=True)
    model.write_into(folder)


def run_code(page: Page) -> str:
    """Run the blocks of a page in one namespace, a block that names its file as that file; return what they print."""
    names: dict[str, Any] = {}
    printed = io.StringIO()
    for block in (block for language, block in page.blocks() if language == "python"):
        if (file := re.match(r"# (my_\w+\.py)\n", block)) is not None:
            Path(file[1]).write_text(block, encoding="utf-8")
        with redirect_stdout(printed):
            exec(compile(block, page.name, "exec"), names)
    return printed.getvalue()


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Page, folder: Path) -> None:
    printed = run_code(page)
    if page.name == "README.md":
        check_own_data(folder)
        check_own_model()
    if page.name == "docs/configs.md":
        check_own_training()
    if page.name == "docs/using-results.md":
        check_results(printed)


def test_code_that_does_not_run_is_found(folder: Path) -> None:
    broken = Page(ROOT / "docs/broken.md", "```python\nimport torch\n```\n\n```python\ntorch.no_such_function()\n```\n")
    with pytest.raises(AttributeError, match="no_such_function"):
        run_code(broken)


def check_own_data(folder: Path) -> None:
    splits = open_splits("my_data:load", None, cache=folder / "cache", validation=0.1, seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (288, 32, 80)
    assert splits.train.class_names == ("north", "east", "south", "west")


def check_own_model() -> None:
    model = build(ModelSpec("my_model:mlp", {"width": 5}), (3, 8, 8), 7)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    assert sum(p.numel() for p in prunable_parameters(model).values()) == 3 * 64 * 5 + 5 * 7


def check_own_training() -> None:
    recipe = Recipe("torch.optim:NAdam", steps=2, loss="my_training:focal", augmentation="my_training:noise")
    rehearsed(ModelSpec("convnet", {"depth": 1, "width": 4}), (3, 8, 8), 3, recipe)
    chances = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    expected = (0.5**2 * math.log(2) + 0.9**2 * -math.log(0.1)) / 2
    assert float(loss_of(recipe)(chances, torch.tensor([0, 1]))) == pytest.approx(expected)


def check_results(printed: str) -> None:
    """See that the printed lines, in the order of the page, say what is known of the run and of the small pruning."""
    classes, ticket, trials, *rounds, barrier, eigenvalue, found = printed.splitlines()
    assert len(re.findall("'[abc]'", classes)) == 4
    assert 50 <= float(ticket.split("%")[0]) <= 80, "the sparsities of the old run's space"
    assert trials == "4 trials"
    assert [line.split(" sparse")[0] for line in rounds] == ["0.0%", "50.0%", "75.0%", "87.5%", "90.0%"]
    assert all(float(line.split(": ")[1].rstrip("%")) > 12 for line in rounds), "better than chance, 10 %"
    assert 0 <= float(barrier.removeprefix("error barrier ").rstrip("%")) < 90
    assert float(eigenvalue.removeprefix("top Hessian eigenvalue ")) > 0, "the loss is not concave where training ends"
    assert found == "10 images a class, in one space with 5 real ones"
