"""Arms take turns and run in processes of their own; reports tell nothing of this machine's folders."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

from benchmarks.measuring import alone, interleaved, provenance, ratios


def test_arms_take_turns_and_keep_their_own_repetitions() -> None:
    order: list[str] = []

    def arm(name: str) -> Callable[[], int]:
        def measure() -> int:
            order.append(name)
            return len(order)

        return measure

    found = interleaved({"a": arm("a"), "b": arm("b"), "c": arm("c")}, 2)
    assert order == ["a", "b", "c", "a", "b", "c"]
    assert found == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}


def test_an_arm_runs_in_a_process_of_its_own_with_its_own_environment() -> None:
    first, second = alone(os.getpid), alone(os.getpid)
    assert len({first, second, os.getpid()}) == 3


def test_an_arms_error_is_told() -> None:
    with pytest.raises(FileNotFoundError):
        alone(os.listdir, "no such folder")


def test_the_ratio_is_that_of_the_medians() -> None:
    found = ratios([8.0, 10.0, 90.0], [1.0, 2.0, 3.0])
    assert found == {"of_medians": 5.0, "of_repetitions": [8.0, 5.0, 30.0]}


def test_the_command_names_no_folder_outside_the_repository() -> None:
    words = ["--output", "/somewhere/of/mine.json", "--data=/elsewhere", "--cache", "../x", "assets/cifar10-mini"]
    found = provenance("growth", torch.device("cpu"), words)
    expected = "--output PATH --data=PATH --cache PATH assets/cifar10-mini"
    assert found["command"] == f"python -m benchmarks.growth {expected}"
    assert found["machine"].keys() == {"cpu", "cores", "threads", "device"}
    assert found["versions"]["torch"] == torch.__version__
