"""Rows of a run's tables as the report reads them, written by hand or drawn at random, and the page as a browser's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from search.pipeline.tables import write_leaderboard, write_rounds, write_trials
from search.report import write_report


def round_row(trial: int, number: int, accuracy: float, **changes: object) -> dict[str, Any]:
    row = {
        "trial": trial,
        "round": number,
        "rung": 0,
        "rung_round": number,
        "fidelity": "distilled-10",
        "rung_done": False,
        "score": accuracy,
        "score_sem": None,
        "proxy_accuracy": accuracy,
        "proxy_accuracy_sem": None,
        "proxy_loss": 1.0,
        "replicates": 1,
        "sparsity": 1 - 0.5**number,
        "density": 0.5**number,
        "prunable_parameters": 1900,
        "parameters": 2000,
        "parameters_left": 1000,
        "flops_dense": 4000,
        "flops_remaining": 2000,
        "latency_ms": None,
        "steps": 20,
        "image_gradients": 1500 * number,
        "seconds": 2.5 * number,
    }
    return {**row, **changes}


def trial_row(trial: int, state: str, accuracy: float, **changes: object) -> dict[str, Any]:
    last = {name: value for name, value in round_row(trial, 2, accuracy).items() if name != "round"}
    row = {
        "state": state,
        "reason": "stopped early after round 1: others were better" if state == "PRUNED" else None,
        "broken_constraints": None,
        "rounds": 2,
        "source": "distilled",
        "ipc": 10,
        "architecture": "convnet",
    }
    return {**last, **row, **changes}


def no_rounds(trial: int, state: str, **changes: object) -> dict[str, Any]:
    empty = dict.fromkeys(name for name in round_row(0, 1, 0.0) if name not in ("trial", "round"))
    return trial_row(trial, state, 0.0, **{**empty, "rounds": 0, **changes})


def model_row(rank: int, proxy: float, test: float, **changes: object) -> dict[str, Any]:
    row = {
        "rank": rank,
        "trial": rank + 10,
        "audited": False,
        "method": "ticket",
        "recipe": "5epochs-abc123",
        "recipe_settings": "{}",
        "epochs": 5,
        "test_accuracy": test,
        "test_accuracy_std": 0.005,
        "seeds": 3,
        "validation_accuracy": 0.6,
        "proxy_accuracy": proxy,
        "proxy_accuracy_sem": None,
        "replicates": 1,
        "sparsity": 0.9,
        "prunable_parameters": 120_000,
        "parameters": 120_345,
        "parameters_left": 12345,
        "flops_dense": 4000,
        "flops_remaining": 2_500_000,
        "latency_ms": None,
        "architecture": "convnet depth=3",
        "source": "distilled",
        "ipc": 10,
        "steps": 20,
        "screening_seconds": 8.25,
        "image_gradients": 5000,
        "retraining_seconds": 84.0,
        "retraining_image_gradients": None,
    }
    return {**row, **changes}


class Page(HTMLParser):
    """What a browser would make of the page: its tags, its text outside scripts, and the figures' data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.figures: dict[str, Any] = {}
        self._said: list[str] = []
        self._inside: list[tuple[str, str | None]] = []
        self.feed(text)
        self.words = " ".join(" ".join(self._said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self._said.append(data)
        elif self._inside[-1][1] is not None:
            self.figures[str(self._inside[-1][1])] = json.loads(data)


def make_run(
    directory: Path,
    rounds: Sequence[dict[str, Any]] | None = None,
    trials: Sequence[dict[str, Any]] | None = None,
    leaderboard: Sequence[dict[str, Any]] | None = None,
    record: object = None,
) -> Page:
    """Write the tables and the report into `directory`; return the page."""
    directory.mkdir(exist_ok=True)
    record = {"command": "winnow search x.yaml", "seed": 7} if record is None else record
    (directory / "run.yaml").write_text(yaml.safe_dump(record))
    if rounds is not None:
        write_rounds(directory / "rounds.parquet", rounds)
    if trials is not None:
        write_trials(directory / "trials.parquet", trials)
    if leaderboard is not None:
        write_leaderboard(directory / "leaderboard.parquet", leaderboard)
    path = write_report(directory)
    assert path == directory / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def drawn_trials(number: int, rounds: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rounds and trials of a large search on two sources: every tenth rejected, of the others about a third
    stopped early, one in twenty failed."""
    draw = np.random.default_rng(seed)
    all_rounds: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    for trial in range(number):
        source = "distilled" if trial % 2 else "real"
        fidelity = "distilled-10" if source == "distilled" else "real"
        width = int(draw.integers(8, 129))
        told: dict[str, Any] = {"source": source, "ipc": 10 if trial % 2 else None, "params.model.width": width}
        told["architecture"] = f"convnet depth=3 width={width} norm=instance activation=relu pooling=average"
        if trial % 10 == 0:
            reason = f"rejected before training: {1000 * width} parameters left"
            trials.append(no_rounds(trial, "REJECTED", reason=reason, broken_constraints="max_parameters", **told))
            continue
        chance = draw.random()
        state = "FAIL" if chance < 0.05 else "PRUNED" if chance < 0.38 else "COMPLETE"
        done = rounds if state == "COMPLETE" else int(draw.integers(1, rounds))
        best = 0.2 + 0.3 * width / 128 + 0.05 * draw.standard_normal()
        rows = []
        for step in range(1, done + 1):
            size = {"parameters_left": width * 1000 // step, "flops_dense": width * 10**5}
            accuracy = float(best - 0.01 * step + 0.01 * draw.standard_normal())
            sparsity = 1 - 0.72 ** (step - 1)
            rows.append(
                round_row(
                    trial, step, accuracy, **size, fidelity=fidelity, sparsity=sparsity, seconds=step * width / 50
                )
            )
        all_rounds += rows
        last = {name: value for name, value in rows[-1].items() if name not in ("trial", "round")}
        reasons = {"FAIL": "ValueError: the loss became nan", "PRUNED": f"stopped early: rank {trial} at round {done}"}
        trials.append(trial_row(trial, state, 0.0, **{**last, **told, "rounds": done, "reason": reasons.get(state)}))
    return all_rounds, trials
