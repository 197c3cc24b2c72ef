"""What of a checkpoint is read without its tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from dp_core.distillation.checkpoint import save_state
from dp_core.distillation.state_file import FILES, plain_state

FORMATS = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def test_numbers_and_words_come_back_and_tensors_do_not(tmp_path: Path) -> None:
    images = {str(kind): torch.ones(2, 3).to(kind) for kind in FORMATS}
    best = {"score": 0.5, "images": torch.zeros(0), 3: ["a", None]}
    save_state(tmp_path, {"iteration": 7, "images": images, "best": best})
    assert plain_state(tmp_path) == {
        "iteration": 7,
        "images": dict.fromkeys(images),
        "best": {"score": 0.5, "images": None, 3: ["a", None]},
    }


def test_the_state_before_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    assert plain_state(tmp_path) is None
    for iteration in (1, 2):
        save_state(tmp_path, {"iteration": iteration, "images": torch.full((4,), float(iteration))})
    newest, previous = (tmp_path / name for name in FILES)
    assert plain_state(tmp_path) == {"iteration": 2, "images": None}
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1  # in a tensor: nothing that is read here
    newest.write_bytes(content)
    assert plain_state(tmp_path) == {"iteration": 1, "images": None}
    previous.write_bytes(previous.read_bytes()[:-1])
    assert plain_state(tmp_path) is None
