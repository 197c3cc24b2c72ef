from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import nn

from dp_core.errors import UserError
from dp_core.pruning import Mask, Scope
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import copy_of, same, small_model

# The same folder serves every example: each overwrites the file of the one before.
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def random_mask(shapes: list[tuple[int, ...]], seed: int = 0, density: float = 0.5) -> Mask:
    draw = torch.Generator().manual_seed(seed)
    return Mask({f"layer{i}.weight": torch.rand(shape, generator=draw) < density for i, shape in enumerate(shapes)})


def test_densities_are_over_the_whole_model_and_not_means_of_layers() -> None:
    mask = Mask({"a": torch.tensor([[True, False], [False, False]]), "b": torch.ones(96, dtype=torch.bool)})
    assert (mask.total, mask.kept) == (100, 97)
    assert mask.density == 0.97
    assert mask.sparsity == pytest.approx(0.03)
    assert mask.layer_densities() == {"a": 0.25, "b": 1.0}
    assert mask.empty_layers() == []
    assert Mask({"a": torch.zeros(3, dtype=torch.bool), "b": torch.ones(1, dtype=torch.bool)}).empty_layers() == ["a"]


def test_the_dense_mask_counts_prunable_weights_only() -> None:
    mask = Mask.ones(small_model())
    # 1·3²·4 in the convolution and 4·3·3·3 in the linear layer; biases and norm are not counted.
    assert {name: tuple(tensor.shape) for name, tensor in mask.items()} == {
        "blocks.0.weight": (4, 1, 3, 3),
        "classifier.weight": (3, 36),
    }
    assert (mask.total, mask.sparsity) == (36 + 108, 0.0)


def test_a_mask_is_of_bools_and_not_empty() -> None:
    with pytest.raises(ValueError, match=r"mask of a is torch\.uint8, not bool"):
        Mask({"a": torch.ones(3, dtype=torch.uint8)})
    with pytest.raises(ValueError, match="at least one parameter"):
        Mask({})


def test_applying_sets_exactly_the_removed_weights_to_zero_even_from_nan() -> None:
    model = small_model()
    mask = random_mask([(4, 1, 3, 3), (3, 36)])
    mask = Mask(dict(zip(Mask.ones(model), mask.values(), strict=True)))
    with torch.no_grad():
        model.get_parameter("classifier.weight")[~mask["classifier.weight"]] = torch.nan
    before = copy_of(model)
    mask.apply_(model)
    for name, value in model.state_dict().items():
        expected = np.where(mask[name].numpy(), before[name].numpy(), 0) if name in mask else before[name].numpy()
        assert np.array_equal(value.numpy(), expected)


@SHARED_FOLDER
@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4),
    st.integers(0, 999),
)
def test_a_mask_survives_being_saved(tmp_path: Path, shapes: list[tuple[int, ...]], seed: int) -> None:
    mask = random_mask(shapes, seed)
    mask.save(tmp_path / "mask.safetensors")
    loaded = Mask.load(tmp_path / "mask.safetensors")
    assert list(loaded) == list(mask)
    assert same(dict(loaded), dict(mask))


def test_a_saved_mask_takes_one_bit_a_weight_and_stock_numpy_reads_it(tmp_path: Path) -> None:
    mask = random_mask([(100, 100), (333, 7)], density=0.2)
    path = tmp_path / "mask.safetensors"
    mask.save(path)
    bytes_needed = 10_000 / 8 + 292  # 333·7 = 2331 bits
    assert bytes_needed < path.stat().st_size < bytes_needed + 400
    bits = np.unpackbits(load_file(path)["layer1.weight"], count=2331, bitorder="little")
    assert np.array_equal(bits.reshape(333, 7).astype(bool), mask["layer1.weight"].numpy())
    assert files_in(tmp_path) == ["mask.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "not a mask"])
def test_a_damaged_mask_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "mask.safetensors"
    random_mask([(100, 100)]).save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "not a mask":
        save_file({"images": np.zeros(3, dtype=np.float32)}, path)
    else:
        path.write_bytes({"empty": b"", "text": b"hello, I am no mask", "cut": whole[:-1]}[damage])
    with pytest.raises(UserError, match=r"mask\.safetensors is not a readable mask"):
        Mask.load(path)


def test_a_mask_of_another_model_is_refused() -> None:
    model = small_model()
    Mask.ones(model).check(model)
    with pytest.raises(UserError, match=r"another model: they differ in 0\.weight, blocks\.0\.weight"):
        Mask.ones(nn.Sequential(nn.Linear(4, 2))).check(model)
    narrow = Mask({"blocks.0.weight": torch.ones(4, 1, 3, 3).bool(), "classifier.weight": torch.ones(3, 35).bool()})
    with pytest.raises(UserError, match=r"classifier\.weight is \[3, 36\] in the model and \[3, 35\] in the mask"):
        narrow.check(model)


LINEAR = Scope(("classifier.*",))


def test_a_mask_of_a_scope_has_its_parameters_and_counts_no_others() -> None:
    model = small_model()
    mask = Mask.ones(model, LINEAR)
    assert {name: tuple(tensor.shape) for name, tensor in mask.items()} == {"classifier.weight": (3, 36)}
    assert (mask.total, mask.kept, mask.sparsity) == (108, 108, 0.0)
    half = Mask({"classifier.weight": torch.arange(108).view(3, 36) % 2 == 0})
    assert half.sparsity == 0.5  # of 108 in scope, not of 144
    before = copy_of(model)
    half.apply_(model)
    changed = {name for name, value in copy_of(model).items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight"}


def test_a_mask_fits_the_scope_that_it_is_of_and_no_other() -> None:
    model = small_model()
    for scope, names in (
        (None, ["blocks.0.weight", "classifier.weight"]),
        (Scope(), ["blocks.0.weight", "classifier.weight"]),
        (LINEAR, ["classifier.weight"]),
        (Scope(exclude=("classifier.*",)), ["blocks.0.weight"]),
    ):
        mask = Mask.ones(model, scope)
        assert list(mask) == names
        for other in (None, Scope(), LINEAR, Scope(("blocks.*",))):
            odd = sorted(set(names) ^ set(Mask.ones(model, other)))
            if not odd:
                mask.check(model, other)
                continue
            with pytest.raises(UserError, match=rf"another model: they differ in {', '.join(odd)}\.$"):
                mask.check(model, other)
    with pytest.raises(UserError, match=r"pattern 'clasifier\.\*'"):
        Mask.ones(model).check(model, Scope(("clasifier.*",)))


@pytest.mark.parametrize("shapes", ["[1]", '{"w": [100]}', '{"w": "wide"}', '{"v": [8]}'])
def test_a_file_whose_shapes_do_not_fit_its_bits_is_refused(tmp_path: Path, shapes: str) -> None:
    save_file({"w": np.zeros(1, dtype=np.uint8)}, tmp_path / "mask.safetensors", {"shapes": shapes})
    with pytest.raises(UserError, match=r"mask\.safetensors is not a readable mask"):
        Mask.load(tmp_path / "mask.safetensors")
