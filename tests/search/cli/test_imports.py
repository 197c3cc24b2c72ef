"""What commands that answer at once may import: nothing that takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search import comparison, distillation
from search.proxies.run import recorded_design
from search.runs.directory import RunDirectory
from search.runs.wanted import note_wanted
from tests.search.comparison.tiny_comparison import write_comparison
from tests.search.distillation.tiny_distillation import write_distillation
from tests.search.proxies.tiny_evaluation import write_evaluation
from tests.search.runs.test_old_runs import old_run
from tests.search.tiny import write_config

ROOT = Path(__file__).parents[3]
FORBIDDEN = ("matplotlib", "pandas", "plotly", "ray", "scipy", "tensorboard", "torch", "torchvision")
# Runs the commands one after the other; prints their exit statuses, and what has been imported in the end.
LOOK = """
import json, sys
from search.cli.main import main

commands, statuses = json.loads(sys.argv[1]), []
for command in commands:
    sys.argv = ["winnow", *command]
    try:
        main()
    except SystemExit as end:
        statuses.append(end.code)
    else:
        statuses.append(0)
print(json.dumps([statuses, sorted(sys.modules)]), file=sys.stderr)
"""


def looked_at(folder: Path, *commands: list[str]) -> tuple[list[int | None], list[str]]:
    """Return the exit statuses of commands in an interpreter of their own, and the forbidden modules it imported."""
    found = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    statuses, modules = json.loads(found.stderr.splitlines()[-1])
    return statuses, [name for name in FORBIDDEN if name in modules]


def test_help_imports_next_to_nothing(tmp_path: Path) -> None:
    assert looked_at(tmp_path, ["--help"], ["search", "--help"], ["distill", "--help"]) == ([0, 0, 0], [])


def wanted(kind: str, run: RunDirectory) -> Any:
    """Return what a driver of today notes of a run; a search has its config for that."""
    if kind == "study":
        return comparison.recorded_design(run).wanted
    if kind == "proxy-evaluation":
        return recorded_design(run).wanted
    return distillation.recorded_plan(run)[1].wanted if kind == "distillation" else None


@pytest.mark.parametrize("kind", ["search", "study", "proxy-evaluation", "distillation"])
def test_how_far_a_run_is_needs_neither_pytorch_nor_ray(tmp_path: Path, kind: str) -> None:
    run = RunDirectory(old_run(kind, tmp_path))
    note_wanted(run, wanted(kind, run))
    assert looked_at(tmp_path, ["status", "tiny"], ["status", "tiny", "--json"], ["status", "no"]) == ([0, 0, 2], [])


def refused(command: str, path: Path, *mistakes: str) -> list[list[str]]:
    """Return commands with a mistake in a config, with none there, with no data, and with a name that is taken."""
    (path.parent / "runs" / "taken").mkdir(parents=True)
    (path.parent / "runs" / "taken" / "run.yaml").write_text("kind: search\n")
    every = [*mistakes, "run.name=a/b", "run.name=taken", "data.format=parqet", "data.root=nowhere"]
    return [[command, "nowhere.yaml"], *([command, path.name, mistake] for mistake in every)]


def test_a_mistake_in_a_search_is_told_at_once(tmp_path: Path) -> None:
    mistakes = ("search.trails=3", "search.trials=0", "distill.method=herdin", "screen.criterion=magnitud",
                "retrain.recipe.bach_size=8", "search.objectives=[scor]")  # fmt: skip
    commands = refused("search", write_config(tmp_path), *mistakes)
    assert looked_at(tmp_path, *commands) == ([2] * len(commands), [])


def test_a_mistake_in_a_comparison_is_told_at_once(tmp_path: Path) -> None:
    mistakes = ("sparsitys=[0.5]", "prune_fraction=2", "distill.method=herdin", "methods.imp.criterion=magnitud",
                "methods.imp.kind=itrative", "retrain.recipe.bach_size=8")  # fmt: skip
    commands = refused("prune", write_comparison(tmp_path), *mistakes)
    assert looked_at(tmp_path, *commands) == ([2] * len(commands), [])


def test_a_mistake_in_a_proxy_evaluation_is_told_at_once(tmp_path: Path) -> None:
    mistakes = ("proxys={}", "answers.resamples=1", "proxies={nwto: {}}", "space={kind: convnet72}",
                "truth.recipe.bach_size=8")  # fmt: skip
    commands = refused("proxy-eval", write_evaluation(tmp_path), *mistakes)
    assert looked_at(tmp_path, *commands) == ([2] * len(commands), [])


def test_a_mistake_in_a_distillation_is_told_at_once(tmp_path: Path) -> None:
    mistakes = ("distil.ipc=1", "distill.ipc=0", "distill.method=herdin")
    commands = refused("distill", write_distillation(tmp_path), *mistakes)
    assert looked_at(tmp_path, *commands) == ([2] * len(commands), [])
