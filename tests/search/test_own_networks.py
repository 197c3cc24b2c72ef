"""A network of a user's own, through every command: it works, or is refused in one sentence before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.search.comparison.tiny_comparison import write_comparison
from tests.search.conftest import Outcome
from tests.search.distillation.tiny_distillation import write_distillation
from tests.search.own_networks import REFUSED, write_networks
from tests.search.proxies.tiny_evaluation import write_evaluation
from tests.search.test_bad_input import refusal
from tests.search.tiny import write_config

Winnow = Callable[..., Outcome]
MATCHING = {
    "method": "trajectory_matching",
    "settings": {
        "iterations": 2, "steps": 2, "max_start_epoch": 2, "expert_epochs": 1, "image_rate": 0.1, "mode": "eager",
        "learned_rate_rate": 1e-9, "real_images": None, "experts": {"experts": 1, "epochs": 3},
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    write_networks(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def searching(folder: Path, name: str, **changes: Any) -> list[str]:
    model = {"name": f"mine:{name}", "depth": None, "norm": None, "pooling": None}
    write_config(folder, space={"model": model, "source": "real", "ipc": None}, search={"trials": 2}, **changes)
    return ["search", "tiny.yaml"]


def pruning(folder: Path, name: str) -> list[str]:
    write_comparison(folder, models={"own": {"name": f"mine:{name}"}}, run={"seeds": 1}, sparsities=[0.5])
    return ["prune", "comparison.yaml"]


def ranking(folder: Path, name: str) -> list[str]:
    own = {"name": f"mine:{name}", "width": list(range(2, 12))}
    proxies: dict[str, Any] = {"parameters": {}, "flops": {}}
    short = {"learning_rate": 0.02, "tuning": None}
    changes: dict[str, Any] = {"combinations": None, "answers": {"baseline": "flops"}, "truth": short}
    write_evaluation(folder, space={"models": own}, proxies=proxies, **changes)
    return ["proxy-eval", "tiny.yaml"]


def matching(folder: Path, name: str) -> list[str]:
    write_distillation(folder, distill={**MATCHING, "architectures": None})
    return ["distill", "tiny.yaml", f"distill.architectures={{name: 'mine:{name}'}}"]


def meeting(folder: Path, name: str) -> list[str]:
    write_distillation(folder, distill={"architectures": None})
    return ["distill", "tiny.yaml", f"distill.architectures={{name: 'mine:{name}'}}"]


COMMANDS = {command.__name__: command for command in (searching, pruning, ranking, matching, meeting)}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_trained_is_refused_before_anything_starts(
    folder: Path, winnow: Winnow, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    for name, ending in REFUSED.items():
        sentence = refusal(winnow(*COMMANDS[command](folder, name)))
        assert f"The model 'mine:{name}" in sentence
        assert ending in sentence
        assert {path.name for path in folder.iterdir()} <= {
            "images", "cache", "tiny.yaml", "comparison.yaml", "mine.py", "__pycache__",
        }  # fmt: skip


@pytest.mark.ray
@pytest.mark.parametrize("command", COMMANDS)
def test_a_network_that_views_or_has_lazy_layers_goes_through(folder: Path, winnow: Winnow, command: str) -> None:
    name = "lazy" if command in ("pruning", "matching") else "viewed"
    outcome = winnow(*COMMANDS[command](folder, name))
    assert outcome.status == 0, outcome.err
    assert "fail" not in outcome.err.lower()


@pytest.mark.ray
@pytest.mark.parametrize("command", ["searching", "pruning", "ranking"])
def test_a_run_of_which_nothing_came_does_not_end_well(folder: Path, winnow: Winnow, command: str) -> None:
    outcome = winnow(*COMMANDS[command](folder, "diverging"))
    assert outcome.status == 2
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1].startswith("winnow: ")
