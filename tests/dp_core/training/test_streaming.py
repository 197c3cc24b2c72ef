from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.data.streaming import MappedBlocks
from dp_core.errors import UserError
from dp_core.training import Batches, BatchOrder, Recipe, StreamedData, Training, TrainingData
from dp_core.training.streaming import _Buffers, _Pass, _read_window
from tests.dp_core.small import random_dataset, same, small_model, through_a_file

CPU = torch.device("cpu")
SPACE = Standardisation((0.0,), (1.0,))
PATIENCE = 20.0  # seconds to wait for what happens at once, or never


@dataclass
class Numbered:
    """Blocks of images that spell their own number, which is their label too; notes what is read."""

    sizes: tuple[int, ...]
    image_shape: tuple[int, int, int] = (1, 1, 2)
    before: Callable[[int], None] = lambda block: None
    reads: list[int] = field(default_factory=list)

    def read(self, block: int) -> tuple[Tensor, Tensor]:
        self.reads.append(block)
        self.before(block)
        start = sum(self.sizes[:block])
        numbers = torch.arange(start, start + self.sizes[block])
        pixels = torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8)
        return pixels.repeat(1, torch.Size(self.image_shape).numel() // 2).view(-1, *self.image_shape), numbers


def numbers(batch: tuple[Tensor, Tensor]) -> list[int]:
    """Return which images a batch has, having seen that images and labels belong together."""
    pixels = (batch[0].flatten(1)[:, :2] * 255).round().long()
    assert torch.equal(pixels[:, 0] * 256 + pixels[:, 1], batch[1])
    return [int(number) for number in batch[1]]


def stream(sizes: tuple[int, ...], window: int, batch: int, seed: int = 0) -> Batches:
    return StreamedData(Numbered(sizes), SPACE, window).batches(batch, seed, CPU)


def first_images(batches: Batches, count: int) -> list[int]:
    """Return the first `count` images that a training sees."""
    taken: list[int] = []
    for step in itertools.count():
        if len(taken) >= count:
            return taken[:count]
        taken += numbers(batches(step))
    raise AssertionError("there is no end of steps")


block_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=7).map(tuple)


@settings(max_examples=40)
@given(block_sizes, st.integers(1, 40), st.integers(1, 60), st.integers(0, 99))
def test_every_pass_takes_every_image_once_and_every_step_a_full_batch(
    sizes: tuple[int, ...], window: int, batch: int, seed: int
) -> None:
    batches, images = stream(sizes, window, batch, seed), sum(sizes)
    steps = [numbers(batches(step)) for step in range(10)]
    assert {len(step) for step in steps} == {min(batch, images)}
    taken = [number for step in steps for number in step]
    for start in range(0, len(taken), images):
        passed = taken[start : start + images]
        assert len(set(passed)) == len(passed)
        assert set(passed) <= set(range(images))


@settings(max_examples=40)
@given(block_sizes, st.integers(1, 40), st.integers(1, 60), st.lists(st.integers(0, 1000), min_size=1, max_size=6))
def test_a_batch_is_a_function_of_seed_and_step_alone(
    sizes: tuple[int, ...], window: int, batch: int, steps: list[int]
) -> None:
    used = stream(sizes, window, batch, 3)
    for step in [*steps, steps[-1], steps[-1] + 1]:
        assert numbers(used(step)) == numbers(stream(sizes, window, batch, 3)(step))


@settings(max_examples=40)
@given(block_sizes, st.integers(1, 40), st.integers(0, 99))
def test_blocks_that_are_begun_and_not_used_up_fit_the_window(sizes: tuple[int, ...], window: int, seed: int) -> None:
    order = first_images(stream(sizes, window, 1, seed), sum(sizes))
    block_of = [block for block, size in enumerate(sizes) for _ in range(size)]
    left = list(sizes)
    for number in order:
        left[block_of[number]] -= 1
        begun = [block for block, size in enumerate(sizes) if 0 < left[block] < size]
        assert sum(sizes[block] for block in begun) < window + max(sizes)


def test_windows_are_joined_until_they_hold_enough_images() -> None:
    order = first_images(stream((5,) * 8, 10, 7), 40)
    windows = [{number // 5 for number in order[start : start + 10]} for start in range(0, 40, 10)]
    assert [len(blocks) for blocks in windows] == [2, 2, 2, 2]
    order = first_images(stream((5,) * 8, 11, 7), 40)  # 15, 15 and what is left
    windows = [{number // 5 for number in order[start : start + 15]} for start in range(0, 40, 15)]
    assert [len(blocks) for blocks in windows] == [3, 3, 2]


def test_blocks_are_permuted_and_so_are_the_images_of_a_window() -> None:
    assert first_images(stream((1,) * 40, 1, 8), 40) != list(range(40))
    assert first_images(stream((40,), 1, 8), 40) != list(range(40))
    mixed = first_images(stream((10,) * 4, 20, 8), 20)
    assert len({number // 10 for number in mixed[:8]}) == 2


@pytest.mark.parametrize(("sizes", "window"), [((8,) * 5, 16), ((1,) * 40, 1), ((40,), 1)])
def test_passes_and_seeds_differ(sizes: tuple[int, ...], window: int) -> None:
    order = first_images(stream(sizes, window, 20), 80)
    assert order[:40] != order[40:]
    assert order[:40] != first_images(stream(sizes, window, 20, seed=1), 40)


def test_a_distant_step_reads_only_what_it_needs() -> None:
    reader = Numbered((5,) * 20)
    batches = StreamedData(reader, SPACE, 10).batches(5, 0, CPU)
    numbers(batches(1001))  # images 5005 to 5009: the second half of pass 50's first window
    assert set(reader.reads[:2]) == {number // 5 for number in numbers(batches(1000)) + numbers(batches(1001))}
    assert len(reader.reads) <= 4  # and the window that is read ahead


@pytest.mark.parametrize("batch", [4, 10, 37])
def test_steps_in_order_read_every_block_once_a_pass(batch: int) -> None:
    reader = Numbered((5, 3, 7, 5, 5, 2, 6))
    batches = StreamedData(reader, SPACE, 8).batches(batch, 0, CPU)
    first_images(batches, 3 * 33)
    for start in (0, 7, 14):
        assert sorted(reader.reads[start : start + 7]) == list(range(7))


def test_the_next_window_is_read_while_one_is_used() -> None:
    gate, started, threads = threading.Event(), threading.Event(), set()

    def wait_at_the_second_window(block: int) -> None:
        threads.add(threading.current_thread())
        if len(reader.reads) > 2:
            started.set()
            assert gate.wait(PATIENCE)

    reader = Numbered((5,) * 4, before=wait_at_the_second_window)
    batches = StreamedData(reader, SPACE, 10).batches(5, 0, CPU)
    numbers(batches(0))
    assert started.wait(PATIENCE)  # nobody asked for anything of the second window
    numbers(batches(1))  # the first one can still be used
    gate.set()
    assert set(numbers(batches(2))).isdisjoint(numbers(batches(3)))
    assert threading.current_thread() not in threads
    assert len(threads) == 1


def test_a_block_that_cannot_be_read_stops_the_steps_that_need_it_and_no_other() -> None:
    sizes = (5,) * 6
    whole = stream(sizes, 5, 5)
    needs_it = [step for step in range(12) if min(numbers(whole(step))) // 5 == 3]
    assert len(needs_it) == 2  # one in each pass

    def fail(block: int) -> None:
        if block == 3:
            raise UserError("the shard is gone")

    batches = StreamedData(Numbered(sizes, before=fail), SPACE, 5).batches(5, 0, CPU)
    for step in range(12):
        if step in needs_it:
            for _ in range(2):
                with pytest.raises(UserError, match="the shard is gone"):
                    batches(step)
        else:
            assert numbers(batches(step)) == numbers(whole(step))


def test_a_block_that_can_be_read_again_is() -> None:
    failures = iter([True])

    def fail_once(block: int) -> None:
        if next(failures, False):
            raise OSError("the network was gone")

    batches = StreamedData(Numbered((5,) * 6, before=fail_once), SPACE, 5).batches(5, 0, CPU)
    with pytest.raises(OSError, match="the network was gone"):
        batches(0)
    assert numbers(batches(0)) == numbers(stream((5,) * 6, 5, 5)(0))


def test_the_thread_ends_with_the_batches() -> None:
    seen: list[threading.Thread] = []
    reader = Numbered((5,) * 4, before=lambda block: seen.append(threading.current_thread()))
    batches = StreamedData(reader, SPACE, 5).batches(5, 0, CPU)
    numbers(batches(0))
    assert seen[0].is_alive()
    del batches
    seen[0].join(PATIENCE)
    assert not seen[0].is_alive()


def test_a_process_ends_whatever_is_being_read_ahead() -> None:
    script = """
import torch
from dp_core.data.preprocessing import Standardisation
from dp_core.training.streaming import StreamedData

class Reader:
    sizes, image_shape = (2,) * 9, (1, 1, 1)
    def read(self, block):
        return torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)

batches = StreamedData(Reader(), Standardisation((0.0,), (1.0,)), 4).batches(3, 0, torch.device("cpu"))
print(batches(1)[1].tolist())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 0, 0]\n", "")


def test_memory_stays_within_its_bound() -> None:
    shape = (1, 8, 16)
    sizes, window, batch = (6,) * 10, 10, 25  # windows of 12 images; a batch spans three of them
    most, ahead = 0, threading.Event()

    def look(block: int) -> None:
        nonlocal most
        most = max(most, living_bytes(shape))
        if len(reader.reads) == 8:
            ahead.set()

    reader = Numbered(sizes, image_shape=shape, before=look)
    data = StreamedData(reader, SPACE, window)
    batches = data.batches(batch, 0, CPU)
    batches(0)
    assert ahead.wait(PATIENCE)  # the third window is in use, the fourth nearly read
    assert most >= (15 + 15) * 128
    for step in (1, 2, 3, 9, 2):
        batches(step)
    # Two windows of at most 10 + 6 - 1 images, a block and a batch; 128 bytes of pixels, 8 each of label and order.
    assert data.memory_bound(batch) == (15 + 15 + 6 + 25) * (128 + 16)
    # Whenever a block is about to be read: the window in use, the one that is being filled and the batch, no block yet.
    assert most <= (15 + 15 + 25) * 128


def living_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes of all images of `shape` in uint8 that exist, whoever refers to them."""
    found = {}
    for thing in gc.get_objects():
        if type(thing) is Tensor and thing.dtype == torch.uint8 and thing.shape[1:] == shape:
            found[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return sum(found.values())


def test_a_block_is_let_go_of_before_the_next_is_read() -> None:
    shape = (1, 4, 32)
    seen: list[int] = []
    reader = Numbered((6,) * 3, image_shape=shape, before=lambda block: seen.append(living_bytes(shape)))
    _read_window(reader, [2, 0, 1], torch.Generator(), _Buffers(18, shape))
    assert seen == [18 * 128] * 3  # the window that is being filled


def test_windows_come_and_go_in_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Tensor] = []

    class Watched(_Buffers):
        def take(self) -> tuple[Tensor, Tensor]:
            buffer = super().take()
            taken.append(buffer[0])  # and kept, so that no other has its address
            return buffer

    monkeypatch.setattr("dp_core.training.streaming._Buffers", Watched)
    first_images(stream((3,) * 6, 6, 4), 100)
    assert len(taken) > 10
    assert len({images.data_ptr() for images in taken}) == 2


def test_plans_of_passes_gone_by_are_forgotten() -> None:
    batches = stream((2,) * 5, 4, 5)
    for step in range(60):
        batches(step)
    gc.collect()  # what other tests left behind
    assert sum(type(thing) is _Pass for thing in gc.get_objects()) <= 3


def test_the_bound_of_few_images_is_all_of_them_twice() -> None:
    data = StreamedData(Numbered((3, 4)), SPACE, 100)
    assert data.memory_bound(50) == (7 + 7 + 4 + 7) * (2 + 16)


@pytest.mark.parametrize(
    "space",
    [Standardisation((0.4,), (0.2,)), ZCA.fit(random_dataset(8).images.float() / 255)],
    ids=["standardisation", "zca"],
)
def test_images_are_those_of_data_on_the_device_bit_for_bit(space: Preprocessing) -> None:
    dataset = random_dataset(8)
    held = TrainingData(dataset.images, dataset.labels, space)
    streamed = StreamedData(MappedBlocks(dataset, 5), space, 12).batches(10, 0, CPU)
    spelled = StreamedData(Numbered((5, 5, 5, 5, 4)), SPACE, 12).batches(10, 0, CPU)
    for step in range(5):
        chosen = torch.tensor(numbers(spelled(step)))
        images, labels = held.batch(chosen)
        found_images, found_labels = streamed(step)
        assert found_images.dtype == torch.float32
        assert torch.equal(found_labels, labels)
        assert torch.equal(found_images, images)


def test_a_window_of_everything_is_no_order_of_one_on_the_device() -> None:
    """The two kinds of data shuffle by themselves, which is why changing between them changes a training."""
    order = BatchOrder(20, 5, 0)
    batches = stream((20,), 20, 5)
    assert [numbers(batches(step)) for step in range(4)] != [order(step).tolist() for step in range(4)]


def test_a_training_on_a_stream_goes_on_bit_for_bit() -> None:
    data = StreamedData(MappedBlocks(random_dataset(8), 3), Standardisation((0.4,), (0.2,)), 7)
    recipe = Recipe(steps=20, batch_size=5, augmentation="flip_crop", precision="float32")
    whole = Training(small_model(), data, recipe, seed=1, mask=None)
    whole.run()
    first = Training(small_model(), data, recipe, seed=1, mask=None)
    first.run(13)
    resumed = Training(small_model(seed=5), data, recipe, seed=1, mask=None)
    resumed.load_state_dict(through_a_file(first.state_dict()))
    resumed.run()
    assert same(resumed.state_dict(), whole.state_dict())


def test_a_window_without_an_image_is_refused() -> None:
    with pytest.raises(UserError, match="must hold at least one image, not 0"):
        StreamedData(Numbered((3,)), SPACE, 0)
