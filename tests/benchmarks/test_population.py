"""Gains are n single trainings against a population, and grouped convolutions compute what the single ones do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks.population import PARTS, PRECISIONS, STRATEGIES, Settings, compared, convolution_calls, measure

SMALL = Settings(members=(1, 3), batch_size=4, steps=1, calls=1, side=8, device="cpu")


def test_every_arm_is_measured_once_a_round() -> None:
    found = measure(SMALL, width=4)
    assert len(found["trainings"]) == len(PRECISIONS) * 2 * (1 + len(STRATEGIES))
    assert len(found["convolutions"]) == len(PRECISIONS) * 2 * len(PARTS) * 2
    assert all(seconds > 0 for arms in found.values() for seconds in arms.values())
    compared(SMALL, [found, found])


def test_the_gain_is_n_single_medians_to_that_of_the_population() -> None:
    def round_(single: float, together: float, separate: float, grouped: float) -> dict[str, dict[str, float]]:
        arms = {
            f"{precision} {strategy} {n}": together
            for precision in PRECISIONS
            for strategy in STRATEGIES
            for n in SMALL.members
        }
        alone = {f"{precision} single {n}": single for precision in PRECISIONS for n in SMALL.members}
        convolutions = {
            f"{precision} {part} {name} {n}": seconds
            for precision in PRECISIONS
            for part in PARTS
            for name, seconds in (("single", separate), ("grouped", grouped))
            for n in SMALL.members
        }
        return {"trainings": alone | arms, "convolutions": convolutions}

    found = compared(SMALL, [round_(2, 4, 6, 3), round_(2, 4, 6, 3), round_(90, 4, 6, 90)])
    assert found["gain"]["float32 batched"] == {"1": 0.5, "3": 1.5}
    assert found["gain_of_grouping"]["bfloat16 output"] == {"1": 2, "3": 2}
    assert found["seconds"]["trainings"]["float32 single 1"] == [2, 2, 90]


@pytest.mark.parametrize("part", PARTS)
def test_single_calls_do_the_work_of_all_members_and_the_grouped_one_in_one_go(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    real = F.conv2d

    def noting(images: torch.Tensor, weight: torch.Tensor, padding: int, groups: int) -> torch.Tensor:
        calls.append((images.shape[1], groups))
        return real(images, weight, padding=padding, groups=groups)

    monkeypatch.setattr(F, "conv2d", noting)
    pair = convolution_calls(SMALL, 4, "float32", members=3)[part]
    for call in pair.values():
        call()
    assert calls == ([(4, 1)] * 3 + [(12, 3)] if part == "output" else [])
