from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from dp_core.data.preprocessing import ZCA, Preprocessing, Standardisation
from dp_core.distillation.storage import decode, describe_encoding, describe_space, encode
from dp_core.errors import UserError
from tests.dp_core.distillation.sets import SHAPE, make, zca

STANDARD = Standardisation((0.5, 0.4), (0.25, 0.2))
LABELS = torch.arange(3).repeat_interleave(2)
FINITE = arrays.arrays(np.float32, (6, *SHAPE), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
IN_RANGE = arrays.arrays(np.float32, (6, *SHAPE), elements=st.floats(-65504, 65504, width=32))
LEVELS = arrays.arrays(np.uint8, (6, *SHAPE))
# Denormal, signed zero, the largest: what is exact in 16 bits and yet easy to lose.
HALVES = arrays.arrays(np.float16, (6, *SHAPE), elements=st.floats(width=16, allow_nan=False, allow_infinity=False))


def bits(tensor: Tensor) -> bytes:
    return f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes()


def stored_exactly(images: Tensor, labels: Tensor, space: Preprocessing) -> dict[str, str]:
    """Assert that decoding gives back every bit; return how the tensors were stored."""
    tensors = encode(images, labels, space)
    found_images, found_labels, found_space = decode(tensors, describe_space(space))
    assert bits(found_images) == bits(images)
    assert bits(found_labels) == bits(labels)
    if isinstance(space, ZCA):
        assert isinstance(found_space, ZCA)
        assert bits(found_space.mean) == bits(space.mean)
        assert bits(found_space.matrix) == bits(space.matrix)
    else:
        assert found_space == space
    return describe_encoding(tensors)


@settings(max_examples=50, deadline=None)
@given(images=FINITE, whitened=st.booleans())
def test_any_images_come_back_bit_for_bit(images: np.ndarray, whitened: bool) -> None:
    stored_exactly(torch.from_numpy(images), LABELS, zca() if whitened else STANDARD)


unit = st.floats(0, 1)


@settings(max_examples=50, deadline=None)
@given(levels=LEVELS, mean=st.tuples(unit, unit), std=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_real_images_are_stored_in_8_bits(
    levels: np.ndarray, mean: tuple[float, float], std: tuple[float, float]
) -> None:
    space = Standardisation(mean, std)
    images = space(torch.from_numpy(levels) / 255)
    assert stored_exactly(images, LABELS, space)["images"] == "uint8"
    assert encode(images, LABELS, space)["images"].numpy().tobytes() == levels.tobytes()


def test_all_levels_are_told_apart_and_one_bit_off_is_not_one_of_them() -> None:
    levels = torch.arange(256).view(1, 1, 16, 16) / 255
    space = Standardisation((0.4914,), (0.2470,))
    images = space(levels)
    assert stored_exactly(images, LABELS, space)["images"] == "uint8"
    images[0, 0, 3, 5] = torch.nextafter(images[0, 0, 3, 5], torch.tensor(9.0))
    assert stored_exactly(images, LABELS, space)["images"] == "float32"


@settings(max_examples=50, deadline=None)
@given(images=HALVES, whitened=st.booleans())
def test_images_of_16_bits_are_stored_in_16_bits(images: np.ndarray, whitened: bool) -> None:
    space = zca() if whitened else STANDARD
    found = stored_exactly(torch.from_numpy(images).float(), LABELS, space)["images"]
    assert found == "float16" or (found == "uint8" and not whitened)


def test_a_negative_zero_is_not_stored_as_zero() -> None:
    space = Standardisation((0.0, 0.0), (1.0, 1.0))
    assert stored_exactly(torch.zeros(6, *SHAPE), LABELS, space)["images"] == "uint8"
    assert stored_exactly(-torch.zeros(6, *SHAPE), LABELS, space)["images"] == "float16"


def test_white_images_of_a_zca_are_not_stored_as_pixels() -> None:
    """Their matrix product may differ in the last bit on another machine."""
    space = zca()
    images = space(torch.full((6, *SHAPE), 0.6))
    assert stored_exactly(images, LABELS, space)["images"] == "float32"


@pytest.mark.parametrize(
    ("row", "expected"), [([0.5, 0.25, 0.25], "float16"), ([1.0, 0.0, 0.0], "float16"), ([0.8, 0.1, 0.1], "float32")]
)
def test_soft_labels_take_16_bits_where_those_are_enough(row: list[float], expected: str) -> None:
    assert stored_exactly(make().images, torch.tensor([row] * 6), STANDARD)["labels"] == expected
    assert stored_exactly(make().images, LABELS, STANDARD)["labels"] == "int64"


def test_half_of_a_symmetric_matrix_is_stored() -> None:
    matrix = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    images = torch.randn(6, 3, 1, 1)
    space = ZCA(torch.zeros(3), matrix)
    assert encode(images, LABELS, space)["zca_matrix"].tolist() == [1, 2, 3, 4, 5, 6]
    assert stored_exactly(images, LABELS, space)["zca_matrix"] == "float32, upper triangle"
    for row, column, value in ((2, 0, 3.0000002), (0, 1, float("nan"))):
        other = matrix.clone()
        other[row, column] = value
        assert stored_exactly(images, LABELS, ZCA(torch.zeros(3), other))["zca_matrix"] == "float32"
    signed = torch.eye(3)
    signed[0, 1] = -0.0
    assert stored_exactly(images, LABELS, ZCA(torch.zeros(3), signed))["zca_matrix"] == "float32"


def test_a_fitted_matrix_takes_half_the_space_and_whitens_the_same() -> None:
    space, found = zca(), make(zca())
    tensors = encode(found.images, found.labels, space)
    assert tensors["zca_matrix"].shape == (24 * 25 // 2,)
    real = torch.rand(5, *SHAPE)
    assert torch.equal(decode(tensors, describe_space(space))[2](real), space(real))


def test_a_triangle_of_another_size_is_refused() -> None:
    tensors = encode(make().images, LABELS, zca())
    tensors["zca_matrix"] = tensors["zca_matrix"][:-1]
    with pytest.raises(ValueError, match="299 numbers are not the upper triangle of a 24×24 matrix"):
        decode(tensors, {"kind": "zca"})


@settings(max_examples=50, deadline=None)
@given(images=IN_RANGE, soft=arrays.arrays(np.float64, (6, 3), elements=st.floats(1e-6, 1)))
def test_a_rounded_set_is_numpys_rounding_and_is_stored_in_16_bits(images: np.ndarray, soft: np.ndarray) -> None:
    labels = torch.from_numpy(soft / soft.sum(1, keepdims=True)).float()
    found = replace(make(), images=torch.from_numpy(images), labels=labels).rounded()
    assert found.images.numpy().tobytes() == images.astype(np.float16).astype(np.float32).tobytes()
    assert found.labels.numpy().tobytes() == labels.numpy().astype(np.float16).astype(np.float32).tobytes()
    assert np.abs(found.labels.numpy().astype(np.float64).sum(1) - 1).max() < 5.1e-4
    how = stored_exactly(found.images, found.labels, found.preprocessing)
    assert how["images"] in ("float16", "uint8")
    assert how["labels"] == "float16"
    again = found.rounded()
    assert (bits(again.images), bits(again.labels)) == (bits(found.images), bits(found.labels))


def test_rounding_keeps_hard_labels_and_forgets_what_was_measured() -> None:
    found = make().with_quality({"accuracy": 0.5}).rounded()
    assert torch.equal(found.labels, LABELS)
    assert dict(found.quality) == {}
    assert found.provenance == make().provenance


def test_values_that_16_bits_cannot_hold_are_refused() -> None:
    found = make()
    assert replace(found, images=torch.full((6, *SHAPE), -65504.0)).rounded().images.min() == -65504
    with pytest.raises(UserError, match=r"values beyond ±65504"):
        replace(found, images=torch.full((6, *SHAPE), 7e4)).rounded()
