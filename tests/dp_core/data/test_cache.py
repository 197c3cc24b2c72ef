from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dp_core.data.cache as cache_module
from dp_core.data.cache import open_cached
from dp_core.data.findings import Findings
from dp_core.data.parquet import parquet_source
from dp_core.data.reading import Reading
from dp_core.data.source import Contents, Origin, Pixels, Source
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import files_in, random_images, write_dataset


class Reads:
    """A source of 5 train and 3 test images that counts how often it is read."""

    def __init__(self, file: Path) -> None:
        self.file, self.count = file, 0
        self.images = np.stack(random_images(8)).transpose(0, 3, 1, 2)
        if not file.exists():
            file.write_bytes(b"one")

    def source(self) -> Source:
        return Source("counted", {"file": self.file}, self.read, Origin("the file", "the file"))

    def read(self) -> Contents:
        self.count += 1
        return Contents(("a", "b"), np.array([0, 1, 0, 1, 0]), np.array([1, 1, 0]), self.batches())

    def batches(self) -> Iterator[Pixels]:
        yield from np.split(np.ascontiguousarray(self.images), 4)

    def check(self, cache: Path) -> None:
        found = open_cached(self.source(), cache)
        train, test = found.train, found.test
        assert np.array_equal(train.images.numpy(), self.images[:5])
        assert np.array_equal(test.images.numpy(), self.images[5:])
        assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 0, 1, 0], [1, 1, 0])
        assert train.class_names == ("a", "b")


def entry(cache: Path, suffix: str) -> Path:
    (path,) = cache.glob(f"*{suffix}")
    return path


def test_contents_are_read_once(tmp_path: Path) -> None:
    reads, cache = Reads(tmp_path / "file"), tmp_path / "cache"
    for _ in range(3):
        reads.check(cache)
    assert reads.count == 1
    assert len(files_in(cache)) == 3


def test_equal_bytes_elsewhere_share_the_entry(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    Reads(tmp_path / "file").check(cache)
    copy = Reads(tmp_path / "copy")
    copy.check(cache)
    assert copy.count == 0


def test_changed_bytes_are_read_again(tmp_path: Path) -> None:
    reads, cache = Reads(tmp_path / "file"), tmp_path / "cache"
    reads.check(cache)
    status = reads.file.stat()
    reads.file.write_bytes(b"two")
    os.utime(reads.file, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time of change
    reads.check(cache)
    assert reads.count == 2


@pytest.mark.parametrize("suffix", [".images", ".json", ".key"])
@pytest.mark.parametrize("damage", ["cut", "longer", "emptied", "removed"])
def test_damaged_entries_are_made_again(tmp_path: Path, suffix: str, damage: str) -> None:
    reads, cache = Reads(tmp_path / "file"), tmp_path / "cache"
    reads.check(cache)
    path = entry(cache, suffix)
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-3], "longer": content + b"x", "emptied": b""}[damage])
    reads.check(cache)
    assert reads.count == (1 if suffix == ".key" else 2)
    reads.check(cache)
    assert reads.count == (1 if suffix == ".key" else 2)


def test_writing_to_the_images_does_not_reach_the_file(tmp_path: Path) -> None:
    reads, cache = Reads(tmp_path / "file"), tmp_path / "cache"
    train = open_cached(reads.source(), cache).train
    train.images.zero_()
    reads.check(cache)


def test_an_error_half_way_leaves_nothing(tmp_path: Path) -> None:
    class Fails(Reads):
        def batches(self) -> Iterator[Pixels]:
            yield self.images[:2]
            raise UserError("row 2 is wrong")

    cache = tmp_path / "cache"
    with pytest.raises(UserError, match="row 2 is wrong"):
        open_cached(Fails(tmp_path / "file").source(), cache)
    assert files_in(cache) == []
    Reads(tmp_path / "file").check(cache)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file, not a folder")
    with pytest.raises(UserError, match=f"The data cache {cache} cannot be written"):
        open_cached(Reads(tmp_path / "file").source(), cache)
    assert cache.read_text() == "a file, not a folder"


def fill_together(file: Path, cache: Path, both: Barrier, answers: Queue[str]) -> None:
    class Meets(Reads):
        def batches(self) -> Iterator[Pixels]:
            both.wait(timeout=60)  # neither begins to write before the other has found the cache empty
            yield from super().batches()
            both.wait(timeout=60)

    reads = Meets(file)
    reads.check(cache)
    answers.put(f"read {reads.count}")


def test_two_processes_may_fill_the_same_entry_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # a fresh interpreter would import torch for seconds
    both, answers = context.Barrier(2), context.Queue()
    file, cache = tmp_path / "file", tmp_path / "cache"
    Reads(file)
    processes = [context.Process(target=fill_together, args=(file, cache, both, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [answers.get(timeout=60) for _ in processes] == ["read 1", "read 1"]
    for process in processes:
        process.join(timeout=60)
    assert len(files_in(cache)) == 3  # images, json and key: nothing temporary is left
    later = Reads(file)
    later.check(cache)
    assert later.count == 0


def test_processes_share_the_pages_of_the_images(tmp_path: Path) -> None:
    """The images are a private mapping of the cache file, not a copy of it."""
    write_dataset(tmp_path / "data")
    cache = tmp_path / "cache"
    train = open_cached(parquet_source(tmp_path / "data"), cache).train
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs Linux to look at the process's mappings")
    ranges = [line.split()[0].split("-") for line in maps.read_text().splitlines() if line.endswith(".images")]
    address = train.images.data_ptr()
    assert any(int(start, 16) <= address < int(end, 16) for start, end in ranges)
    assert train.images.dtype == torch.uint8


def test_entries_of_older_readers_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, store = Reads(tmp_path / "file"), tmp_path / "cache"
    with monkeypatch.context() as before:
        before.setattr(cache_module, "_READER_VERSION", cache_module._READER_VERSION - 1)
        reads.check(store)
    reads.check(store)
    assert reads.count == 2


def test_the_digest_is_of_the_bytes_and_of_what_was_done_to_the_pixels(tmp_path: Path) -> None:
    class Finds(Reads):
        def __init__(self, file: Path, **found: int) -> None:
            super().__init__(file)
            self.found = found

        def read(self) -> Contents:
            return replace(super().read(), findings=Findings(**self.found))

        def digest(self, store: str, **how: Any) -> str:
            source = replace(self.source(), **how)
            return open_cached(source, self.file.parent / store).train.digest

    plain, turned, composed = (Finds(tmp_path / "file", **found) for found in ({}, {"turned": 2}, {"composed": 1}))
    assert plain.digest("a") == plain.digest("b") == plain.digest("a", reading=Reading(ground="white"))
    assert composed.digest("d", reading=Reading(ground="gray")) == composed.digest("d")
    digests = {
        plain.digest("a"),
        plain.digest("a", columns={"label": "fine"}),
        turned.digest("c"),
        composed.digest("d"),
        composed.digest("d", reading=Reading(ground="white")),
    }
    assert len(digests) == 5


def test_the_digest_of_shipped_data_stays_what_distilled_sets_say(tmp_path: Path) -> None:
    """SHA-256 of the canonical JSON that this digest has been of since the first set was made from it."""
    reads = Reads(tmp_path / "file")
    key = sha256(
        b'{"files":[["file","' + sha256(b"one").hexdigest().encode() + b'"]],"reader":["counted",1]}'
    ).hexdigest()
    expected = sha256(f'{{"source":"{key}","split":"train"}}'.encode()).hexdigest()
    assert open_cached(reads.source(), tmp_path / "cache").train.digest == expected
