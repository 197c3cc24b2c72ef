"""The job that scores an architecture, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.distillation.base import standardisation_of
from dp_core.models import ModelSpec
from dp_core.proxies import PROXIES, Proxy, RealTraining
from dp_core.training import Recipe
from tests.dp_core.small import random_dataset
from trainables.proxies import ProxyBench, ScoreJob, run_scores, run_truth
from trainables.trials.shared_dataset import SharedDataset

RAISES_IN_TRAINING = """
from torch import nn


class Raises(nn.Flatten):
    def forward(self, images):
        if self.training:
            raise {error}
        return super().forward(images)


def network(input_shape, classes):
    channels, height, width = input_shape
    return nn.Sequential(Raises(), nn.ReLU(), nn.Linear(channels * height * width, classes))
"""


def bench_with(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, error: str) -> ProxyBench:
    (folder / f"{module}.py").write_text(RAISES_IN_TRAINING.format(error=error))
    monkeypatch.syspath_prepend(folder)
    images = random_dataset()
    shared = SharedDataset.of(images)
    proxies: dict[str, Proxy] = {"parameters": PROXIES["parameters"](), "nwot": PROXIES["nwot"](images=2)}  # type: ignore[call-arg]
    return ProxyBench(shared, shared, shared, None, standardisation_of(images), {}, proxies, seed=0, threads=1)


def scored(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, error: str) -> list[tuple[str, str, str | None]]:
    bench = bench_with(folder, monkeypatch, module, error)
    rows = run_scores(bench, ScoreJob("mine", ModelSpec(f"{module}:network", {}), (("nwot", 0), ("parameters", 0))))
    return [(row["proxy"], row["status"], row["reason"]) for row in rows]


def test_what_a_network_of_the_user_raises_is_a_failure_of_that_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scored(tmp_path, monkeypatch, "raises_runtime", 'RuntimeError("not like\\nthis")') == [
        ("nwot", "failed", "RuntimeError: not like this"),
        ("parameters", "finished", None),
    ]


def test_a_lack_of_memory_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemoryError):
        scored(tmp_path, monkeypatch, "raises_memory", "MemoryError")


def test_a_network_that_cannot_be_trained_has_no_truth_and_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_with(tmp_path, monkeypatch, "raises_value", 'ValueError("too\\nodd")')
    training = RealTraining(ModelSpec("raises_value:network", {}), Recipe(steps=1), 0, tested=False)
    assert run_truth(bench, training) == {"status": "failed", "reason": "ValueError: too odd"}
    unknown = RealTraining(ModelSpec("convnet", {"depth": 9}), Recipe(steps=1), 0, tested=False)
    assert "halves the image" in run_truth(bench, unknown)["reason"]


def test_an_error_of_ours_is_not_hidden_as_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_with(tmp_path, monkeypatch, "raises_key", "KeyError")
    with pytest.raises(KeyError):
        run_scores(bench, ScoreJob("ours", ModelSpec("convnet", {"depth": 1}), (("not there", 0),)))
