from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from dp_core.errors import UserError
from dp_core.files import (
    digest_of_file,
    digest_of_json,
    replacing,
    replacing_directory,
    replacing_together,
    room_for,
    write_json,
    write_text,
)
from tests.dp_core.data.shard_files import files_in


def test_a_replaced_file_shows_its_old_contents_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    write_text(path, "old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent  # on the same disk, or the renaming would not be atomic
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert files_in(tmp_path) == ["file"]


def interrupted(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_an_error_while_replacing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "old"
    assert files_in(tmp_path) == ["file"]


def test_a_file_that_was_never_written_does_not_replace(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert files_in(tmp_path) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "file").read_text() == "one"  # the outer one was renamed last
    assert files_in(tmp_path) == ["file"]


def test_two_files_are_replaced_together(tmp_path: Path) -> None:
    one, other = tmp_path / "deep" / "one", tmp_path / "other"
    write_text(one, "old")
    with replacing_together(one, other) as (new_one, new_other):
        new_one.write_text("new")
        new_other.write_text("new")
        assert (one.read_text(), other.exists()) == ("old", False)
    assert (one.read_text(), other.read_text()) == ("new", "new")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["deep", "one", "other"]


@pytest.mark.parametrize("written", [0, 1])
def test_none_of_two_files_is_replaced_if_one_was_not_written(tmp_path: Path, written: int) -> None:
    paths = (tmp_path / "one", tmp_path / "other")
    for path in paths:
        write_text(path, "old")
    with pytest.raises(FileNotFoundError), replacing_together(*paths) as new:
        new[written].write_text("new")
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert files_in(tmp_path) == ["one", "other"]


@pytest.mark.parametrize("there", [0, 1, 2])
@pytest.mark.parametrize("fails", [1, 2, 3, 4])
def test_a_renaming_that_fails_undoes_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, fails: int
) -> None:
    paths, calls, rename = (tmp_path / "one", tmp_path / "other"), 0, os.replace
    for path in paths[:there]:
        write_text(path, "old")

    def failing(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == fails:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "replace", failing)
    renamings = 2 + there  # what is there is put aside first
    for_all = pytest.raises(OSError, match="Input/output error") if fails <= renamings else nullcontext()
    with for_all, replacing_together(*paths) as new:
        for path in new:
            path.write_text("new")
    expected = {path.name: "old" for path in paths[:there]} if fails <= renamings else {"one": "new", "other": "new"}
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_one_sentence(number: int) -> None:
    with pytest.raises(UserError, match=r"^There is no room left on the disk for runs/mine\.$") as caught:
        fail_for_want_of_room(number)
    assert isinstance(caught.value.__cause__, OSError)


def fail_for_want_of_room(number: int) -> None:
    with room_for(Path("runs/mine")):
        raise OSError(number, os.strerror(number))


def test_other_errors_and_none_pass_unchanged() -> None:
    with pytest.raises(PermissionError):
        fail_for_want_of_room(errno.EACCES)
    with room_for(Path("runs/mine")):
        pass


def test_a_directory_takes_the_place_of_another_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    with replacing_directory(path) as temporary:
        (temporary / "old").write_text("1")
    with replacing_directory(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "new").write_text("2")
        assert files_in(path) == ["old"]
    assert files_in(path) == ["new"]
    assert [entry.name for entry in path.parent.iterdir()] == ["folder"]


def interrupted_directory(path: Path) -> None:
    with replacing_directory(path) as temporary:
        (temporary / "new").write_text("2")
        raise KeyboardInterrupt


def test_an_error_while_replacing_a_directory_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with replacing_directory(path) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(KeyboardInterrupt):
        interrupted_directory(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    assert files_in(path) == ["old"]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"b": [1.5, None], "a": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü", "b": [1.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["a"] == "ü"
    assert files_in(tmp_path) == ["value.json"]


def test_digests_are_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # The first test vector of FIPS 180-2.
    assert digest_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of_json({"b": 1, "a": [True, "x"]}) == hashlib.sha256(b'{"a":[true,"x"],"b":1}').hexdigest()


def test_the_digest_of_json_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of_json({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of_json({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest_of_json({"a": 1}) != digest_of_json({"a": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of_json(float("inf"))
