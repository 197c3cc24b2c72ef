from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dp_core.data.preprocessing import ZCA, Preprocessing
from dp_core.data.registry import AUGMENTATIONS
from dp_core.distillation.experts import ExpertBuffer, ExpertPlan, train_experts, training, trajectory
from dp_core.errors import UserError
from dp_core.models import build
from dp_core.seeds import generator
from dp_core.training import Population, Precision, Training, TrainingData
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.distillation.experts.small_experts import OTHER, SMALL, SPACE, contents, small_plan, source
from tests.dp_core.small import random_dataset, same


def by_hand(plan: ExpertPlan, expert: int, space: Preprocessing, ends: list[int]) -> list[dict[str, Tensor]]:
    """Train an expert with torch's SGD on the same batches; return its parameters after each number of steps."""
    data = TrainingData(source().images, source().labels, space)
    seed = plan.seed_of(expert, "training")
    batches = data.batches(plan.batch_size, seed, torch.device("cpu"))
    model = build(plan.spec(expert), (1, 6, 6), 3, seed=plan.seed_of(expert, "initial weights"))
    optimizer = torch.optim.SGD(
        model.parameters(), plan.learning_rate, momentum=plan.momentum, weight_decay=plan.weight_decay, foreach=False
    )
    states = []
    for step in range(ends[-1] + 1):
        if step in ends:
            states.append({name: value.detach().clone() for name, value in model.named_parameters()})
        images, labels = batches(step)
        images = AUGMENTATIONS[plan.augmentation](images, generator(seed, "augmentation", step))
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return states


@pytest.mark.parametrize(
    "settings",
    [
        {"augmentation": "none"},
        {"augmentation": "siamese", "models": (OTHER, SMALL), "learning_rate": 0.1},
        {"augmentation": "flip_crop", "momentum": 0.9, "weight_decay": 0.01, "seed": 5},
    ],
)
@pytest.mark.parametrize("whitened", [False, True])
def test_every_epoch_is_that_of_a_plain_sgd_loop(tmp_path: Path, settings: dict[str, Any], whitened: bool) -> None:
    plan = small_plan(**settings)
    space = ZCA.fit(source().images.float() / 255) if whitened else SPACE
    buffer = train_experts(plan, source(), space, tmp_path / "buffer")
    for expert in range(2):
        # 24 images in batches of 10: epochs of 2.4 steps end at the 2nd, the 5th (4.8) and the 7th (7.2).
        for epoch, expected in enumerate(by_hand(plan, expert, space, [0, 2, 5, 7])):
            found = buffer.parameters(expert, epoch)
            assert list(found) == list(expected)
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
    assert not same(buffer.parameters(0, 0), buffer.parameters(0, 1))


def test_experts_trained_at_once_in_turn_or_for_a_larger_plan_are_the_same(tmp_path: Path) -> None:
    plan = small_plan(experts=5, models=(SMALL, OTHER))
    alone = contents(train_experts(plan, source(), SPACE, tmp_path / "alone"))
    assert same(contents(train_experts(plan, source(), SPACE, tmp_path / "together", together=2)), alone)
    grown = tmp_path / "grown"
    assert same(
        contents(train_experts(small_plan(experts=2, models=(SMALL, OTHER)), source(), SPACE, grown)), alone[:2]
    )
    assert same(contents(train_experts(plan, source(), SPACE, grown)), alone)
    assert len(train_experts(small_plan(experts=3, models=(SMALL, OTHER)), source(), SPACE, grown)) == 3
    assert not same(alone[0][0], alone[2][0])


def test_experts_trained_in_one_batch_as_on_a_gpu_are_the_same_up_to_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(experts=3)
    alone = contents(train_experts(plan, source(), SPACE, tmp_path / "alone"))
    strategies: list[str] = []

    class Batched(Population):
        def __init__(self, members: Sequence[Training]) -> None:
            super().__init__(members, strategy="batched")
            strategies.append(self.strategy)

    monkeypatch.setattr(training, "Population", Batched)
    together = contents(train_experts(plan, source(), SPACE, tmp_path / "batched", together=3))
    assert strategies == ["batched"]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trajectories_are_exact_float32_whatever_the_networks_compute_in(tmp_path: Path, precision: Precision) -> None:
    buffer = train_experts(small_plan(precision=precision), source(), SPACE, tmp_path / "buffer")
    for value in buffer.parameters(1, 3).values():
        assert value.dtype == torch.float32
        assert value.is_contiguous()
        assert not torch.equal(value, value.bfloat16().float())


def test_progress_counts_the_epochs_of_the_missing_experts(tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []
    said: list[str] = []
    plan, folder = small_plan(models=(SMALL, OTHER)), tmp_path / "buffer"
    train_experts(plan, source(), SPACE, folder, progress=lambda *event: seen.append(event), say=said.append)
    assert [(done, total) for done, total, _ in seen] == [(done, 6) for done in range(1, 7)]
    assert all(0 < loss < 10 for _, _, loss in seen)
    assert [sentence.split(":")[0] for sentence in said] == [
        "Training expert 0 of 2, counted from 0",
        "Training expert 1 of 2, counted from 0",
    ]
    train_experts(plan, source(), SPACE, folder, progress=lambda *event: seen.append(event), say=said.append)
    assert (len(seen), len(said)) == (6, 2)


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("together", [1, 2])
def test_a_killed_training_goes_on_to_the_same_experts(tmp_path: Path, together: int) -> None:
    plan, folder = small_plan(experts=4), tmp_path / "buffer"

    def kill(done: int, total: int, loss: float) -> None:
        if done >= 8:
            raise Killed

    with pytest.raises(Killed):
        train_experts(plan, source(), SPACE, folder, together=together, progress=kill)
    kept = sorted(path.parent.name for path in folder.glob("*/card.json"))
    assert kept == ["expert_000", "expert_001"]
    assert sorted(files_in(folder)) == ["card.json"] * 3 + ["trajectory.safetensors"] * 2
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    resumed = train_experts(plan, source(), SPACE, folder, together=together)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert same(contents(resumed), contents(train_experts(plan, source(), SPACE, tmp_path / "other")))


def test_an_expert_that_was_removed_is_trained_again_and_no_other(tmp_path: Path) -> None:
    plan, folder = small_plan(experts=3), tmp_path / "buffer"
    before = contents(train_experts(plan, source(), SPACE, folder))
    untouched = (folder / "expert_000" / "trajectory.safetensors").stat().st_mtime_ns
    (folder / "expert_001" / "trajectory.safetensors").unlink()
    done: list[int] = []
    after = train_experts(plan, source(), SPACE, folder, progress=lambda count, total, loss: done.append(total))
    assert done == [3, 3, 3]
    assert same(contents(after), before)
    assert (folder / "expert_000" / "trajectory.safetensors").stat().st_mtime_ns == untouched


def test_an_expert_that_diverges_names_its_learning_rate(tmp_path: Path) -> None:
    plan = small_plan(learning_rate=1e30, models=(OTHER,))
    with pytest.raises(UserError, match=r"Expert 0 \(.*\) diverged in epoch \d .*learning_rate, now 1e\+30"):
        train_experts(plan, source(), SPACE, tmp_path / "buffer")
    assert files_in(tmp_path / "buffer") == ["card.json"]


def test_weights_that_overflow_in_the_last_step_are_found(tmp_path: Path) -> None:
    # One full batch an epoch: the loss of the only step is finite, the weights after it are not.
    plan = small_plan(learning_rate=3e38, epochs=1, batch_size=100, weight_decay=100.0)
    with pytest.raises(UserError, match=r"diverged in epoch 1 \(its weights are no longer finite\)"):
        train_experts(plan, source(), SPACE, tmp_path / "buffer")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_leaves_what_was_finished_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plan, folder, save, calls = small_plan(), tmp_path / "buffer", save_file, [0]

    def full(tensors: dict[str, Tensor], path: Path) -> None:
        calls[0] += 1
        if calls[0] == 2:
            path.write_bytes(b"half")
            raise error
        save(tensors, path)

    monkeypatch.setattr(trajectory, "save_file", full)
    with pytest.raises(UserError, match=r"no room left for the expert trajectory .*expert_001; what was finished"):
        train_experts(plan, source(), SPACE, folder)
    assert files_in(folder) == ["card.json", "card.json", "trajectory.safetensors"]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["expert_000"]
    assert len(ExpertBuffer.open(folder)) == 1
    assert len(train_experts(plan, source(), SPACE, folder)) == 2


def test_other_errors_of_the_disk_are_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tensors: dict[str, Tensor], path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(trajectory, "save_file", fail)
    with pytest.raises(OSError, match="Input/output error"):
        train_experts(small_plan(), source(), SPACE, tmp_path / "buffer")


def test_a_disk_that_is_too_small_is_found_before_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 3×3×4 weights and 4 biases, batch norm's 4 + 4, 36×3 weights and 3 biases: 159; in 4 states of 2 experts.
    needed = 159 * 4 * 2 * 4
    seen: list[int] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    with pytest.raises(UserError, match=r"no room left for 2 expert trajectories: they take 0\.0 GB"):
        train_experts(small_plan(), source(), SPACE, tmp_path, progress=lambda done, total, loss: seen.append(done))
    assert not seen
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    assert len(train_experts(small_plan(), source(), SPACE, tmp_path)) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*file/buffer"):
        train_experts(small_plan(), source(), SPACE, tmp_path / "file" / "buffer")


def test_files_are_as_readable_as_others(tmp_path: Path) -> None:
    train_experts(small_plan(), source(), SPACE, tmp_path / "buffer")
    plain = tmp_path / "plain"
    plain.touch()
    for path in (tmp_path / "buffer").rglob("*.safetensors"):
        assert path.stat().st_mode == plain.stat().st_mode


def test_an_expert_finished_by_another_process_meanwhile_is_left_alone(tmp_path: Path) -> None:
    plan, folder = small_plan(experts=1), tmp_path / "buffer"
    other = train_experts(plan, source(), SPACE, tmp_path / "other").folder

    def finish(done: int, total: int, loss: float) -> None:
        if done == total:
            os.rename(other / "expert_000", folder / "expert_000")

    inode = (other / "expert_000" / "trajectory.safetensors").stat().st_ino
    train_experts(plan, source(), SPACE, folder, progress=finish)
    assert (folder / "expert_000" / "trajectory.safetensors").stat().st_ino == inode


def test_nonsense_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="At least 1 expert"):
        train_experts(small_plan(), source(), SPACE, tmp_path / "buffer", together=0)
    with pytest.raises(UserError, match="depth"):
        train_experts(small_plan(models=({"name": "convnet", "depth": 9},)), source(), SPACE, tmp_path / "buffer")
    assert files_in(tmp_path) == []


def test_the_random_state_of_torch_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_experts(small_plan(), random_dataset(), SPACE, tmp_path / "buffer")
    assert torch.equal(torch.get_rng_state(), before)
