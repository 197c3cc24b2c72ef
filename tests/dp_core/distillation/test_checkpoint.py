from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dp_core.distillation.checkpoint import load_states, save_state
from dp_core.distillation.state_file import Damaged
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import same

NEWEST, PREVIOUS = "state.safetensors", "state.previous.safetensors"
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Tensors of all formats, of 0 to 3 dimensions, some empty, some not contiguous in memory."""
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 9)))) * 3
    made = values.to(draw(st.sampled_from(DTYPES)))
    return made.transpose(0, -1) if made.dim() > 1 and draw(st.booleans()) else made


KEYS = st.one_of(st.text(max_size=5), st.integers(-3, 3))
LEAVES = st.one_of(tensors(), st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
TREES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)), max_leaves=8
)
STATES = st.dictionaries(st.text(max_size=5), TREES, max_size=4)


def typed(value: Any) -> Any:
    """Return the types of `value` and of all that is in it: 1, 1.0 and True are equal and not the same."""
    if isinstance(value, dict):
        return {(type(key), key): typed(entry) for key, entry in value.items()}
    return [typed(entry) for entry in value] if isinstance(value, list) else type(value)


def loaded(folder: Path) -> list[Any]:
    return [state if isinstance(state, dict) else "damaged" for state in load_states(folder)]


@settings(max_examples=50, deadline=None)
@given(STATES)
def test_a_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(folder, state)
    (found,) = loaded(folder)
    assert same(found, state)
    assert typed(found) == typed(state)


def test_what_an_optimiser_says_of_itself_comes_back_and_is_taken(tmp_path: Path) -> None:
    leaf = torch.ones(3, requires_grad=True)
    adam = torch.optim.Adam([{"params": [leaf], "name": "images"}], lr=0.1, betas=(0.9, 0.99))
    for _ in range(2):
        (leaf**2).sum().backward()
        adam.step()
    save_state(tmp_path, {"optimizer": adam.state_dict()})
    (found,) = loaded(tmp_path)
    assert same(found["optimizer"]["state"], adam.state_dict()["state"])
    other = torch.optim.Adam([{"params": [torch.ones(3, requires_grad=True)], "name": "images"}])
    other.load_state_dict(found["optimizer"])
    assert other.param_groups[0]["lr"] == 0.1
    assert list(other.param_groups[0]["betas"]) == [0.9, 0.99]


def test_a_state_is_a_copy(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    save_state(tmp_path, {"part": whole[:3], "same": whole[:3], "leaf": torch.ones(2, requires_grad=True)})
    (found,) = loaded(tmp_path)
    assert found["part"].untyped_storage().nbytes() <= whole[:3].nbytes  # of a view no more than is seen
    found["part"].zero_()
    assert found["same"].tolist() == [0, 1, 2]
    assert not found["leaf"].requires_grad


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert load_states(folder) == []
    for number in range(4):
        save_state(folder, {"number": number})
        assert [state["number"] for state in loaded(folder)] == [number, number - 1][: number + 1]
    assert sorted(files_in(tmp_path)) == [PREVIOUS, NEWEST]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_or_lost_byte_is_noticed_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    state = {"iteration": 7, "images": torch.randn(2, 3), "count": torch.tensor(3), "best": None}
    save_state(folder, state)
    path = folder / NEWEST
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    (found,) = load_states(folder)
    assert isinstance(found, Damaged) or same(found, state)  # such as a space in the header that became a tab
    if isinstance(found, Damaged):
        assert str(path) in str(found)


def test_another_format_or_shape_of_the_same_bytes_is_damage(tmp_path: Path) -> None:
    save_state(tmp_path, {"images": torch.ones(2, 3)})
    content = (tmp_path / NEWEST).read_bytes()
    for old, new in ((b'"F32"', b'"I32"'), (b"[2,3]", b"[3,2]")):
        assert content.count(old) == 1
        (tmp_path / NEWEST).write_bytes(content.replace(old, new))
        assert loaded(tmp_path) == ["damaged"]


@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_a_full_disk_leaves_both_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    for number in range(2):
        save_state(tmp_path, {"number": number})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    match call:
        case "fsync":
            monkeypatch.setattr(os, "fsync", full)
        case "write":
            monkeypatch.setattr(Path, "open", full)
        case "rename":
            monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="There is no room left on the disk for"):
        save_state(tmp_path, {"number": 2})
    monkeypatch.undo()
    assert [state["number"] for state in loaded(tmp_path)] == [1, 0]
    assert sorted(files_in(tmp_path)) == [PREVIOUS, NEWEST]
