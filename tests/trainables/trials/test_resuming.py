from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs

from trainables.trials.resuming import is_sound, load_state, load_state_from, save_state

CPU = torch.device("cpu")
STATE: dict[str, Any] = {
    "weights": {"a": torch.arange(6.0).view(2, 3)},
    "mask": torch.tensor([True, False]),
    "history": [{"round": 1, "reason": None, "status": "running", "seconds": 0.5}],
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_state(tmp_path, STATE)
    return tmp_path


def sound(folder: Path) -> bool:
    return is_sound(fs.LocalFileSystem(), str(folder))


@pytest.mark.parametrize("load", [load_state, lambda folder, device: load_state_from(str(folder), device)])
def test_a_state_comes_back(saved: Path, load: Any) -> None:
    found = load(saved, CPU)
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert torch.equal(found["mask"], STATE["mask"])
    assert found["history"] == STATE["history"]
    assert sound(saved)


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_truncated_state_is_damaged(saved: Path, kept: int) -> None:
    file = saved / "state.pt"
    file.write_bytes(file.read_bytes()[:kept])
    assert not sound(saved)
    with pytest.raises(ValueError, match="damaged"):
        load_state(saved, CPU)


def test_a_flipped_bit_is_damage(saved: Path) -> None:
    content = bytearray((saved / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (saved / "state.pt").write_bytes(content)
    assert not sound(saved)


@pytest.mark.parametrize("digest", [b"", b"\xff\xfe", b"0" * 64])
def test_a_digest_that_is_not_the_states_is_damage(saved: Path, digest: bytes) -> None:
    (saved / "state.sha256").write_bytes(digest)
    assert not sound(saved)


@pytest.mark.parametrize("name", ["state.pt", "state.sha256"])
def test_a_checkpoint_without_one_of_its_files_is_incomplete(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert not sound(saved)


def test_no_folder_is_not_sound(tmp_path: Path) -> None:
    assert not sound(tmp_path / "absent")


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"history": Trap()}, tmp_path / "state.pt")
    (tmp_path / "state.sha256").write_text(hashlib.sha256((tmp_path / "state.pt").read_bytes()).hexdigest())
    with pytest.raises(pickle.UnpicklingError):
        load_state(tmp_path, CPU)
    assert not (tmp_path / "sprung").exists()
