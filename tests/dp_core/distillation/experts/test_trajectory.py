from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp_core.distillation.experts import trajectory
from dp_core.distillation.experts.trajectory import Trajectory

CPU = torch.device("cpu")
STATM = Path("/proc/self/statm")


def test_only_the_tensors_of_the_epoch_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Tracking:
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self._file = safetensors.safe_open(*arguments, **settings)

        def __enter__(self) -> Tracking:
            return self

        def __exit__(self, *reason: object) -> None:
            pass

        def get_tensor(self, name: str) -> torch.Tensor:
            asked.append(name)
            tensor: torch.Tensor = self._file.get_tensor(name)
            return tensor

    kept = Trajectory(tmp_path / "expert")
    kept.write([{"b": torch.full((2,), float(epoch)), "a": torch.zeros(3)} for epoch in range(12)], {})
    monkeypatch.setattr(trajectory, "safe_open", Tracking)
    assert kept.read(10, ["b", "a"], CPU)["b"].tolist() == [10.0, 10.0]
    assert asked == ["epoch_010.b", "epoch_010.a"]


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from Linux's /proc")
def test_reading_an_epoch_leaves_the_rest_of_the_file_on_disk(tmp_path: Path) -> None:
    def resident_bytes() -> int:
        return int(STATM.read_text().split()[1]) * 4096

    kept = Trajectory(tmp_path / "expert")
    kept.write([{"weight": torch.full((131_072,), float(epoch))} for epoch in range(128)], {})
    kept.read(0, ["weight"], CPU)
    before = resident_bytes()
    states = [kept.read(epoch, ["weight"], CPU) for epoch in (5, 7)]
    assert resident_bytes() - before < 8e6  # two epochs are 1 MB, the file is 67 MB
    assert [state["weight"].unique().tolist() for state in states] == [[5.0], [7.0]]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20))
def test_bfloat16_rounds_by_at_most_one_part_in_256(values: list[float]) -> None:
    exact = torch.tensor(values)
    exact = exact[exact.abs() > 1e-30]
    assert bool(((exact.bfloat16().float() - exact).abs() <= exact.abs() / 256).all())


def test_a_written_card_has_what_was_given_and_the_parameters_in_their_order(tmp_path: Path) -> None:
    kept = Trajectory(tmp_path / "expert")
    assert not kept.exists()
    kept.write([{"b": torch.zeros(1), "a": torch.ones(1)} for _ in range(3)], {"expert": 4})
    card = kept.verify()
    assert kept.exists()
    assert (card["expert"], card["epochs"], card["parameters"]) == (4, 2, ["b", "a"])
