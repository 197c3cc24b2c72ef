"""`winnow distill`: a config, a command, and what is neither."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dp_core.data import Reading
from tests.search.conftest import Outcome
from tests.search.json_shape import rows_of

Winnow = Callable[..., Outcome]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the evaluation was asked for, each time that it was."""
    found: list[dict[str, Any]] = []

    def evaluate(set_path: Path, **options: Any) -> list[dict[str, Any]]:
        found.append({"set_path": set_path, **options})
        return [{"accuracy": 0.5}]

    tables = SimpleNamespace(evaluation_sheets=lambda rows: ["the table", "another"])
    monkeypatch.setitem(sys.modules, "search.distillation.evaluate", SimpleNamespace(evaluate=evaluate))
    monkeypatch.setitem(sys.modules, "search.distillation.evaluation_sheets", tables)
    return found


def test_evaluate_hands_its_options_on(winnow: Winnow, told: list[dict[str, Any]]) -> None:
    options = "--data-root here --data-format folder --networks 2 --steps 7 --architecture alexnet --seed 3"
    columns = "--data-image photo --data-label fine --data-ground white --data-validation 0.02"
    flags = "--architecture convnet:width=8 --pool --no-controls --quality --no-save --json"
    found = winnow("distill", "evaluate", "a.safetensors", *options.split(), *columns.split(), *flags.split())
    assert rows_of(found.out) == [{"accuracy": 0.5}]
    told[0].pop("progress")
    assert told == [
        {
            "set_path": Path("a.safetensors"),
            "data_root": Path("here"),
            "data_format": "folder",
            "validation": 0.02,
            "networks": 2,
            "steps": 7,
            "architectures": ["alexnet", "convnet:width=8"],
            "pool": True,
            "controls": False,
            "quality": True,
            "save": False,
            "seed": 3,
            "reading": Reading("photo", "fine", "white"),
        }
    ]


def test_evaluate_shows_tables_and_keeps_its_results_unless_told_otherwise(
    winnow: Winnow, told: list[dict[str, Any]]
) -> None:
    assert winnow("distill", "evaluate", "a.safetensors").out == "the table\nanother\n"
    assert (told[0]["controls"], told[0]["save"], told[0]["pool"], told[0]["quality"]) == (True, True, False, False)
    assert told[0]["architectures"] == []


def test_what_is_no_command_is_a_config(winnow: Winnow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the config file some/evaluate.yaml does not exist." in winnow("distill", "some/evaluate.yaml").err
    assert "the config file mini does not exist" in winnow("distill", "mini", "run.seed=1").err
    assert "the config file x.yaml does not exist" in winnow("distill", "--json", "x.yaml").err


def test_a_misspelt_command_is_told(winnow: Winnow) -> None:
    found = winnow("distill", "evalute", "a.safetensors")
    assert found.status == 2
    assert found.err.startswith("winnow: There is no command 'winnow distill evalute'")
    assert found.err.endswith("Did you mean 'evaluate'?\n")


def test_help_names_both(winnow: Winnow) -> None:
    found = winnow("distill", "--help")
    assert found.status == 0
    assert "CONFIG [KEY=VALUE]" in found.out
    assert "evaluate" in found.out
    assert "\N{BOX DRAWINGS LIGHT VERTICAL} make" not in found.out  # it is what a config alone means
