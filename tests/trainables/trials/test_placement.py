from __future__ import annotations

from typing import Any

import pytest
import torch

from dp_core.data.reading import Stream
from dp_core.data.streaming import MappedBlocks
from dp_core.training import DataSource, StreamedData, TrainingData
from tests.trainables.driving import SPACE, candidate, dataset, screening_context
from trainables import Candidate
from trainables.screening.rungs.pruning import screening_data
from trainables.trials.placement import training_data

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BYTES = 48 * 3 * 8 * 8  # of the images of `dataset(16, 1)`


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Pretend that there is a GPU with these bytes free, kept by this process, and of those in use."""
    memory = {"free": 0, "reserved": 0, "allocated": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (memory["free"], 10 * BYTES))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: memory["reserved"])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: memory["allocated"])

    def moved(self: Any, device: torch.device) -> Any:
        assert device == GPU
        return self

    monkeypatch.setattr(TrainingData, "to", moved)
    return memory


def placed(device: torch.device, stream: Stream) -> DataSource:
    return training_data(dataset(16, 1), SPACE, device, stream)


def is_streamed(data: DataSource) -> bool:
    assert isinstance(data, StreamedData | TrainingData)
    return isinstance(data, StreamedData)


def test_on_a_cpu_data_are_streamed_only_if_asked_for() -> None:
    assert not is_streamed(placed(CPU, "auto"))
    assert not is_streamed(placed(CPU, "never"))
    assert is_streamed(placed(CPU, "always"))


def test_images_may_take_half_of_what_a_gpu_has_free(gpu: dict[str, int]) -> None:
    gpu["free"] = 2 * BYTES
    assert not is_streamed(placed(GPU, "auto"))
    gpu["free"] = 2 * BYTES - 1
    assert is_streamed(placed(GPU, "auto"))
    assert not is_streamed(placed(GPU, "never"))
    gpu["free"] = 100 * BYTES
    assert is_streamed(placed(GPU, "always"))


def test_what_the_process_keeps_for_later_is_free(gpu: dict[str, int]) -> None:
    gpu |= {"free": BYTES, "reserved": 5 * BYTES, "allocated": 4 * BYTES}
    assert not is_streamed(placed(GPU, "auto"))
    gpu["allocated"] += 1
    assert is_streamed(placed(GPU, "auto"))


def test_blocks_and_windows_are_small_whatever_the_images() -> None:
    data = placed(CPU, "always")
    assert isinstance(data, StreamedData)
    assert isinstance(data.reader, MappedBlocks)
    assert data.window == 349525  # 64 MiB of 192 bytes
    assert data.reader.sizes == (48,)  # 1 MiB would be 5461
    assert data.preprocessing == SPACE


def test_real_candidates_are_streamed_and_others_never() -> None:
    context = screening_context(stream="always")
    real = Candidate.parse(candidate(), 3)
    distilled = Candidate.parse(candidate(source="distilled", ipc=2), 3)
    assert is_streamed(screening_data(context, real, CPU)[0])
    assert not is_streamed(screening_data(context, distilled, CPU)[0])
