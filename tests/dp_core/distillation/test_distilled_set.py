from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from dp_core.files import digest_of_file
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import same

NAMES = ("cat", "dog", "owl")
SHAPE = (2, 3, 4)


def zca() -> ZCA:
    return ZCA.fit(torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(1)))


def make(preprocessing: Preprocessing | None = None, *, soft: bool = False) -> DistilledSet:
    labels = torch.arange(3).repeat_interleave(2)
    return DistilledSet(
        images=torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0)),
        labels=torch.eye(3)[labels] * 0.7 + 0.1 if soft else labels,
        preprocessing=preprocessing or Standardisation((0.5, 0.4), (0.25, 0.2)),
        class_names=NAMES,
        images_per_class=2,
        learning_rate=0.01 if soft else None,
        provenance={"distiller": {"method": "by hand"}, "seed": 3},
    )


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


def test_the_digest_is_of_images_and_labels_alone() -> None:
    found = make()
    bytes_ = found.images.numpy().tobytes() + found.labels.numpy().tobytes()
    assert found.digest == hashlib.sha256(bytes_).hexdigest()
    assert replace(found, images=found.images + 1).digest != found.digest
    assert replace(found, labels=found.labels.flip(0)).digest != found.digest
    assert replace(found, learning_rate=0.5, provenance={}).digest == found.digest
    strided = replace(found, images=found.images.to(memory_format=torch.channels_last))
    assert strided.digest == found.digest


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
        (None, r"set .*mine\.safetensors has no readable card"),
        ("{", r"set .*mine\.safetensors has no readable card"),
        ("[1]", r"mine\.card\.json is not the card of a distilled set in format 1"),
        ('{"format": 2}', r"mine\.card\.json is not the card of a distilled set in format 1"),
        ('{"format": 1}', r"mine\.safetensors is not a readable distilled set"),
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
    ],
)
def test_a_card_that_makes_no_sense_is_named(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "mine.safetensors"
    make().save(path)
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    (tmp_path / "mine.card.json").write_text(json.dumps({**card, key: value}))
    with pytest.raises(UserError, match=r"mine\.safetensors is not a readable distilled set"):
        DistilledSet.load(path)


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    with pytest.raises(UserError, match=r"mine\.safetensors has no readable card"):
        DistilledSet.load(path)
    make().save(path)
    path.write_bytes(b"no safetensors")
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    (tmp_path / "mine.card.json").write_text(json.dumps({**card, "sha256": digest_of_file(path)}))
    with pytest.raises(UserError, match=r"mine\.safetensors is not a readable distilled set"):
        DistilledSet.load(path)
    path.unlink()
    with pytest.raises(UserError, match=r"mine\.safetensors is not a readable distilled set"):
        DistilledSet.load(path)


def test_a_set_for_other_classes_or_images_is_noticed() -> None:
    found = make()
    found.check_fits(SHAPE, NAMES)
    with pytest.raises(UserError, match=r"has 3 classes \(cat, dog, owl, …\), the data 4 \(cat, dog, owl, …\)"):
        found.check_fits(SHAPE, (*NAMES, "pig"))
    with pytest.raises(UserError, match=r"has 3 classes \(cat, dog, owl, …\), the data 3 \(dog, cat, owl, …\)"):
        found.check_fits(SHAPE, ("dog", "cat", "owl"))
    with pytest.raises(UserError, match=r"images of shape \(2, 3, 4\), the data \(2, 4, 3\)"):
        found.check_fits((2, 4, 3), NAMES)


def test_tensors_that_are_no_set_are_refused() -> None:
    found = make()
    with pytest.raises(UserError, match=r"3 classes with 2 images each needs 6 images and labels, not 5 and 6"):
        replace(found, images=found.images[:5])
    with pytest.raises(UserError, match=r"not 6 and 5"):
        replace(found, labels=found.labels[:5])
    with pytest.raises(UserError, match=r"2 classes with 2 images each needs 4"):
        replace(found, class_names=("cat", "dog"))
    with pytest.raises(UserError, match=r"float32 \[N, C, H, W\], not torch\.float64"):
        replace(found, images=found.images.double())
    with pytest.raises(UserError, match="values that are not finite"):
        replace(found, images=found.images / 0)
