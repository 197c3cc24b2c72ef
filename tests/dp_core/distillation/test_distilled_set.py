from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dp_core.cards import write_card
from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
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
    write_card(tmp_path / "mine.card.json", {**unsealed(card), "format": 2}, {"tensors": path})
    with pytest.raises(UserError, match=r"mine\.card\.json is not the card of a distilled set in format 1"):
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
    with pytest.raises(UserError, match=r"mine\.card\.json is not the readable card"):
        DistilledSet.load(path)
    make().save(path)
    path.write_bytes(b"no safetensors")
    card = json.loads((tmp_path / "mine.card.json").read_text(encoding="utf-8"))
    write_card(tmp_path / "mine.card.json", unsealed(card), {"tensors": path})
    with pytest.raises(UserError, match=r"mine\.safetensors is not a readable distilled set"):
        DistilledSet.load(path)
    path.unlink()
    with pytest.raises(UserError, match=r"mine\.safetensors of the distilled set cannot be read"):
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


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 7], [0, 0, 1, 1, 2, -1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 2]])
def test_hard_labels_are_ipc_of_each_class(labels: list[int]) -> None:
    with pytest.raises(UserError, match=r"needs 2 images of each of its 3 classes"):
        replace(make(), labels=torch.tensor(labels))


def test_soft_labels_have_a_column_for_each_class() -> None:
    replace(make(), labels=torch.full((6, 3), 1 / 3))
    with pytest.raises(UserError, match=r"3 classes has soft labels of 100"):
        replace(make(), labels=torch.full((6, 100), 0.01))


def test_a_preprocessing_for_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match=r"preprocessing of a distilled set is for 5 values, its images have 2"):
        replace(make(), preprocessing=Standardisation((0.5,) * 5, (0.2,) * 5))


def test_images_are_finite_float32() -> None:
    found = make()
    with pytest.raises(UserError, match=r"float32 \[N, C, H, W\], not torch\.float64"):
        replace(found, images=found.images.double())
    with pytest.raises(UserError, match="values that are not finite"):
        replace(found, images=found.images / 0)
