from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dp_core.cards import write_card
from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.distillation.sets import NAMES, SHAPE, make, zca
from tests.dp_core.small import same


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("whitened", [False, True])
def test_a_set_survives_being_saved_with_its_space(tmp_path: Path, whitened: bool, soft: bool) -> None:
    saved = make(zca() if whitened else None, soft=soft)
    path = tmp_path / "sets" / "mine.safetensors"
    saved.save(path)
    assert files_in(tmp_path) == ["mine.card.json", "mine.safetensors"]
    loaded = DistilledSet.load(str(path))
    assert same(loaded.training_data(), saved.training_data())
    assert (loaded.class_names, loaded.images_per_class, loaded.learning_rate, dict(loaded.provenance)) == (
        NAMES,
        2,
        saved.learning_rate,
        dict(saved.provenance),
    )
    assert loaded.digest == saved.digest
    real = torch.rand(5, *SHAPE)
    assert type(loaded.preprocessing) is type(saved.preprocessing)
    assert torch.equal(loaded.preprocess(real), saved.preprocess(real))


def test_preprocess_maps_pixels_to_the_sets_space() -> None:
    real = torch.rand(5, *SHAPE)
    channels = [(real[:, 0] - 0.5) / 0.25, (real[:, 1] - 0.4) / 0.2]
    torch.testing.assert_close(make().preprocess(real), torch.stack(channels, dim=1))
    space = zca()
    whitened = ((real.flatten(1) - space.mean) @ space.matrix).view(5, *SHAPE)
    torch.testing.assert_close(make(space).preprocess(real), whitened)


def test_training_data_are_copies() -> None:
    found = make()
    images, labels = found.training_data()
    images.zero_()
    labels.zero_()
    assert same(found.training_data(), make().training_data())
    assert images.dtype == torch.float32


def test_the_digest_is_of_a_line_of_facts_and_the_tensors() -> None:
    found = make()
    facts = (
        '{"class_names":["cat","dog","owl"],"learning_rate":null,'
        '"preprocessing":{"kind":"standardisation","mean":[0.5,0.4],"std":[0.25,0.2]},'
        '"tensors":[["images","torch.float32",[6,2,3,4]],["labels","torch.int64",[6]]]}\n'
    )
    bytes_ = facts.encode() + found.images.numpy().tobytes() + found.labels.numpy().tobytes()
    assert found.digest == hashlib.sha256(bytes_).hexdigest()
    whitened, space = make(zca(), soft=True), zca()
    facts = (
        '{"class_names":["cat","dog","owl"],"learning_rate":0.01,"preprocessing":{"kind":"zca"},'
        '"tensors":[["images","torch.float32",[6,2,3,4]],["labels","torch.float32",[6,3]],'
        '["zca_mean","torch.float32",[24]],["zca_matrix","torch.float32",[24,24]]]}\n'
    )
    tensors = (whitened.images, whitened.labels, space.mean, space.matrix)
    bytes_ = facts.encode() + b"".join(tensor.numpy().tobytes() for tensor in tensors)
    assert whitened.digest == hashlib.sha256(bytes_).hexdigest()


def test_whatever_changes_training_changes_the_digest_and_nothing_else_does() -> None:
    found, space = make(), zca()
    others = [
        replace(found, images=found.images + 1),
        replace(found, labels=found.labels.flip(0)),
        replace(found, learning_rate=0.5),
        replace(found, class_names=("cat", "dog", "own")),
        replace(found, preprocessing=Standardisation((0.5, 0.4), (0.25, 0.25))),
        replace(found, preprocessing=space),
        replace(found, preprocessing=ZCA(space.mean, space.matrix * 2)),
        replace(found, preprocessing=ZCA(space.mean * 2, space.matrix)),
    ]
    assert len({found.digest, *(other.digest for other in others)}) == len(others) + 1
    assert replace(found, provenance={}, quality={"accuracy": 0.5}).digest == found.digest
    assert replace(found, images=found.images.to(memory_format=torch.channels_last)).digest == found.digest
    assert replace(found, learning_rate=1).digest == replace(found, learning_rate=1.0).digest


@pytest.mark.parametrize("whitened", [False, True])
def test_an_edited_file_is_named(tmp_path: Path, whitened: bool) -> None:
    path = tmp_path / "mine.safetensors"
    make(zca() if whitened else None).save(path)
    tensors = load_file(path)
    changed = "zca_matrix" if whitened else "images"
    tensors[changed][0] += 1
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"mine\.safetensors does not match the digest in its card"):
        DistilledSet.load(path)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, r"mine\.card\.json is not the readable card of a distilled set: .*No such file"),
        ("{", r"mine\.card\.json is not the readable card of a distilled set: Expecting"),
        ("[1]", r"mine\.card\.json is not the card of a distilled set\."),
        ('{"format": 1}', r"mine\.card\.json is not the card of a distilled set\."),
    ],
)
def test_a_set_is_nothing_without_its_card(tmp_path: Path, card: str | None, message: str) -> None:
    path = tmp_path / "mine.safetensors"
    make().save(path)
    if card is None:
        (tmp_path / "mine.card.json").unlink()
    else:
        (tmp_path / "mine.card.json").write_text(card)
    with pytest.raises(UserError, match=message):
        DistilledSet.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocessing", {"kind": "fourier"}),
        ("preprocessing", {"kind": "zca"}),  # the file holds no matrix
        ("preprocessing", {"kind": "standardisation"}),
        ("preprocessing", None),
        ("class_names", None),
        ("class_names", ["cat", "dog"]),
        ("quality", None),
    ],
)
def test_a_card_that_makes_no_sense_is_named(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "mine.safetensors"
    make().save(path)
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    (tmp_path / "mine.card.json").write_text(json.dumps({**card, key: value}))
    with pytest.raises(UserError, match=r"mine\.card\.json does not match its own digest"):
        DistilledSet.load(path)
    write_card(tmp_path / "mine.card.json", {**unsealed(card), key: value}, {"tensors": path})
    with pytest.raises(UserError, match=r"mine\.safetensors is not a readable distilled set"):
        DistilledSet.load(path)


def test_a_card_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    make().save(path)
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    write_card(tmp_path / "mine.card.json", {**unsealed(card), "format": 3}, {"tensors": path})
    with pytest.raises(UserError, match=r"mine\.card\.json is not the card of a distilled set in format 1 or 2\.$"):
        DistilledSet.load(path)


def test_a_set_may_be_renamed_with_its_card(tmp_path: Path) -> None:
    make().save(tmp_path / "mine.safetensors")
    (tmp_path / "mine.safetensors").rename(tmp_path / "yours.safetensors")
    (tmp_path / "mine.card.json").rename(tmp_path / "yours.card.json")
    assert torch.equal(DistilledSet.load(tmp_path / "yours.safetensors").images, make().images)


def unsealed(card: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key not in ("sha256", "card_sha256")}


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    with pytest.raises(UserError, match=r"^There is no distilled set .*mine\.safetensors: name its \.safetensors file"):
        DistilledSet.load(path)
    make().save(path)
    path.write_bytes(b"no safetensors")
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    write_card(tmp_path / "mine.card.json", unsealed(card), {"tensors": path})
    with pytest.raises(UserError, match=r"mine\.safetensors is not a readable distilled set"):
        DistilledSet.load(path)
    path.unlink()
    with pytest.raises(UserError, match=r"^There is no distilled set .*mine\.safetensors: name"):
        DistilledSet.load(path)


def test_a_set_for_other_classes_or_images_is_noticed() -> None:
    found = make()
    found.check_fits(SHAPE, NAMES)
    with pytest.raises(UserError, match=r"has 3 classes \(cat, dog, owl, …\), the data 4 \(cat, dog, owl, …\)"):
        found.check_fits(SHAPE, (*NAMES, "pig"))
    with pytest.raises(UserError, match=r"has 3 classes \(cat, dog, owl, …\), the data 3 \(dog, cat, owl, …\)"):
        found.check_fits(SHAPE, ("dog", "cat", "owl"))
    found.check_fits(SHAPE, ("0", "1", "2"))  # data without names
    with pytest.raises(UserError, match=r"has 3 classes \(cat, dog, owl, …\), the data 4 \(0, 1, 2, …\)"):
        found.check_fits(SHAPE, ("0", "1", "2", "3"))
    with pytest.raises(UserError, match=r"images of shape \(2, 3, 4\), the data \(2, 4, 3\)"):
        found.check_fits((2, 4, 3), NAMES)


@pytest.mark.parametrize("whitened", [False, True])
def test_real_images_meet_the_set_bit_for_bit(tmp_path: Path, whitened: bool) -> None:
    levels = torch.randint(0, 256, (6, *SHAPE), generator=torch.Generator().manual_seed(2))
    space = zca() if whitened else Standardisation((0.4914, 0.4822), (0.2470, 0.2435))
    made = replace(make(space), images=space(levels / 255))
    made.save(tmp_path / "mine.safetensors")
    for found in (made, DistilledSet.load(tmp_path / "mine.safetensors")):
        assert torch.equal(found.preprocess(levels / 255), found.training_data()[0])


def damaged(path: Path, change: Callable[[bytes], bytes]) -> str:
    """Return what a reader is told of the set at `path` with its file changed; then the file is as it was."""
    was = path.read_bytes()
    path.write_bytes(change(was))
    with pytest.raises(UserError) as caught:
        DistilledSet.load(path.with_name("mine.safetensors"))
    path.write_bytes(was)
    return str(caught.value)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_byte_can_be_lost_or_changed_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("sets")
    make(soft=True).with_quality({"accuracy": 0.5}).save(folder / "mine.safetensors")
    path = data.draw(st.sampled_from([folder / "mine.safetensors", folder / "mine.card.json"]))
    size = path.stat().st_size
    at, bit = data.draw(st.integers(0, size - 2)), data.draw(st.integers(0, 7))
    for told in (
        damaged(path, lambda was: was[:at]),
        damaged(path, lambda was: was[:at] + bytes([was[at] ^ (1 << bit)]) + was[at + 1 :]),
    ):
        assert f"{folder}/mine." in told
        assert told.endswith(".")
        assert "\n" not in told
    assert same(DistilledSet.load(folder / "mine.safetensors").training_data(), make(soft=True).training_data())


def test_the_tensors_of_another_set_are_noticed(tmp_path: Path) -> None:
    make().save(tmp_path / "mine.safetensors")
    replace(make(), images=make().images + 1).save(tmp_path / "yours.safetensors")
    (tmp_path / "yours.safetensors").replace(tmp_path / "mine.safetensors")
    with pytest.raises(UserError, match=r"mine\.safetensors does not match the digest in its card"):
        DistilledSet.load(tmp_path / "mine.safetensors")


def test_values_that_decode_differently_elsewhere_are_noticed(tmp_path: Path) -> None:
    """A card with a good seal and good tensors, but of a machine where they meant something else."""
    path = tmp_path / "mine.safetensors"
    make().save(path)
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    assert card["digest"] == make().digest
    write_card(tmp_path / "mine.card.json", {**unsealed(card), "learning_rate": 0.5}, {"tensors": path})
    with pytest.raises(UserError, match=r"mine\.safetensors gives other values here than those that were saved"):
        DistilledSet.load(path)


@pytest.mark.parametrize("whitened", [False, True])
def test_a_set_of_format_1_is_still_read(tmp_path: Path, whitened: bool) -> None:
    made = make(zca() if whitened else None, soft=True)
    tensors = {"images": made.images, "labels": made.labels}
    space: dict[str, Any] = {"kind": "standardisation", "mean": [0.5, 0.4], "std": [0.25, 0.2]}
    if isinstance(made.preprocessing, ZCA):
        tensors |= {"zca_mean": made.preprocessing.mean, "zca_matrix": made.preprocessing.matrix}
        space = {"kind": "zca"}
    path = tmp_path / "old.safetensors"
    save_file(tensors, path)
    card = {
        "format": 1,
        "preprocessing": space,
        "class_names": list(NAMES),
        "images_per_class": 2,
        "learning_rate": 0.01,
        "provenance": {"seed": 3},
    }
    write_card(tmp_path / "old.card.json", card, {"tensors": path})
    old = DistilledSet.load(path)
    assert same(old.training_data(), made.training_data())
    assert (old.digest, dict(old.provenance), dict(old.quality)) == (made.digest, {"seed": 3}, {})
    old.with_quality({"accuracy": 0.5}).update_card(path)
    again = DistilledSet.load(path)
    assert (again.digest, dict(again.quality)) == (made.digest, {"accuracy": 0.5})


def test_quality_is_added_to_a_set_and_to_its_card_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    made = make(zca())
    assert dict(made.quality) == {}
    made.save(path)
    before, written = path.read_bytes(), path.stat().st_mtime_ns
    found = made.with_quality({"convnet": {"accuracy": 0.5}, "seeds": 3}).with_quality({"seeds": 5, "none": None})
    expected = {"convnet": {"accuracy": 0.5}, "seeds": 5, "none": None}
    assert dict(found.quality) == expected
    assert dict(made.quality) == {}
    found.update_card(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, written)
    loaded = DistilledSet.load(path)
    assert (loaded.quality, loaded.provenance, loaded.digest) == (expected, made.provenance, made.digest)
    assert json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))["encoding"] == {
        "images": "float32",
        "labels": "int64",
        "zca_mean": "float32",
        "zca_matrix": "float32, upper triangle",
    }
    assert files_in(tmp_path) == ["mine.card.json", "mine.safetensors"]


def test_the_card_of_another_set_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    make().save(path)
    card = (tmp_path / "mine.card.json").read_bytes()
    with pytest.raises(UserError, match=r"mine\.safetensors holds another distilled set"):
        replace(make(), learning_rate=0.5).with_quality({"accuracy": 1}).update_card(path)
    assert (tmp_path / "mine.card.json").read_bytes() == card
    with pytest.raises(UserError, match=r"^There is no distilled set .*yours\.safetensors"):
        make().update_card(tmp_path / "yours.safetensors")


@pytest.mark.parametrize("value", [float("nan"), torch.tensor(1.0), {"deep": [float("inf")]}])
def test_quality_that_could_not_be_saved_is_refused_at_once(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="JSON"):
        make().with_quality({"accuracy": value})


class FullDisk:
    """Stands for calls that write: the n-th of all leaves half of what it wrote, or nothing, and fails."""

    def __init__(self, patch: pytest.MonkeyPatch, fails: int) -> None:
        self.calls, self.fails = 0, fails
        for owner, name in (
            (Path, "mkdir"),
            (Path, "write_bytes"),
            (Path, "write_text"),
            (os, "fsync"),
            (os, "replace"),
        ):
            patch.setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls != self.fails:
                return call(*args, **options)
            if call.__name__ in ("write_bytes", "write_text"):
                call(args[0], args[1][: len(args[1]) // 2], **options)
            raise OSError(errno.ENOSPC, "No space left on device")

        return counted


def saved_on_a_disk_that_is_full_at_the(call: int, found: DistilledSet, path: Path) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch, call)
        try:
            found.save(path)
        except UserError as error:
            told = str(error)
        else:
            assert disk.calls == call - 1
            return True
    assert told == f"There is no room left on the disk for {path}."
    return False


@pytest.mark.parametrize("overwrites", [False, True])
def test_a_disk_that_is_full_at_any_point_leaves_what_was_there(tmp_path: Path, overwrites: bool) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    path, old, new = folder / "mine.safetensors", make(soft=True), make(zca())
    if overwrites:
        old.save(path)
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    call = 1
    while not saved_on_a_disk_that_is_full_at_the(call, new, path):
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
        call += 1
    assert call > 9  # folder, tensors and card written, each flushed and renamed
    assert DistilledSet.load(path).digest == new.digest
    assert sorted(file.name for file in folder.iterdir()) == ["mine.card.json", "mine.safetensors"]


def test_a_full_disk_leaves_the_old_card(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    make().save(path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for call in (1, 2, 3, 4):
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, call)
            with pytest.raises(UserError, match=r"no room left on the disk for .*mine\.card\.json\.$"):
                make().with_quality({"accuracy": 1}).update_card(path)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_another_trouble_of_the_disk_is_not_called_a_full_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileExistsError):
        make().save(tmp_path / "file" / "mine.safetensors")


def test_whoever_may_read_the_card_may_read_the_tensors(tmp_path: Path) -> None:
    make().save(tmp_path / "mine.safetensors")
    modes = {file.stat().st_mode for file in tmp_path.iterdir()}
    assert len(modes) == 1
