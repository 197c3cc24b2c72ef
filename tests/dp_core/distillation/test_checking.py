from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dp_core.data.preprocessing import Standardisation
from dp_core.errors import UserError
from tests.dp_core.distillation.sets import make, zca


def test_tensors_that_are_no_set_are_refused() -> None:
    found = make()
    with pytest.raises(UserError, match=r"3 classes with 2 images each needs 6 images and labels, not 5 and 6"):
        replace(found, images=found.images[:5])
    with pytest.raises(UserError, match=r"not 6 and 5"):
        replace(found, labels=found.labels[:5])
    with pytest.raises(UserError, match=r"2 classes with 2 images each needs 4"):
        replace(found, class_names=("cat", "dog"))


@pytest.mark.parametrize("ipc", [0, -2])
def test_a_set_has_a_class_and_an_image_of_it(ipc: int) -> None:
    found = make()
    with pytest.raises(UserError, match=rf"one image of each, not 3 classes and {ipc} images of each\.$"):
        replace(found, images_per_class=ipc)
    with pytest.raises(UserError, match=r"at least one class .* not 0 classes"):
        replace(found, images=found.images[:0], labels=found.labels[:0], class_names=())


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 7], [0, 0, 1, 1, 2, -1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 2]])
def test_hard_labels_are_ipc_of_each_class(labels: list[int]) -> None:
    with pytest.raises(UserError, match=r"needs 2 images of each of its 3 classes"):
        replace(make(), labels=torch.tensor(labels))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float64, torch.float16])
def test_labels_of_another_type_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(UserError, match=r"Labels are int64 \[N\] or float32 \[N, classes\], not torch\."):
        replace(make(), labels=torch.full((6, 3), 1 / 3).to(dtype))


def test_soft_labels_have_a_column_for_each_class() -> None:
    replace(make(), labels=torch.full((6, 3), 1 / 3))
    with pytest.raises(UserError, match=r"3 classes has soft labels of 100"):
        replace(make(), labels=torch.full((6, 100), 0.01))


@pytest.mark.parametrize(
    "row",
    [
        [float("nan"), 0.5, 0.5],
        [float("inf"), 0, 0],
        [-0.1, 0.6, 0.5],
        [0.3, 0.3, 0.3985],
        [0.3, 0.3, 0.4015],
        [1, 1, 1],
    ],
)
def test_a_soft_label_is_a_distribution(row: list[float]) -> None:
    labels = torch.full((6, 3), 1 / 3)
    labels[4] = torch.tensor(row)
    with pytest.raises(UserError, match=r"at least 0 and 1 in sum for each image; row 4 is not\.$"):
        replace(make(), labels=labels)


@pytest.mark.parametrize("row", [[1.0, 0.0, 0.0], [0.3, 0.3, 0.3995], [0.3, 0.3, 0.4005]])
def test_a_soft_label_may_be_certain_or_off_by_rounding(row: list[float]) -> None:
    replace(make(), labels=torch.tensor([row] * 6))


@pytest.mark.parametrize("rate", [0.0, -0.01, float("nan"), float("inf")])
def test_a_learning_rate_is_positive_and_finite(rate: float) -> None:
    with pytest.raises(UserError, match=r"learning rate of a distilled set is positive and finite, not"):
        replace(make(), learning_rate=rate)


def test_a_preprocessing_for_other_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"preprocessing of a distilled set is for 5 values, its images have 2"):
        replace(make(), preprocessing=Standardisation((0.5,) * 5, (0.2,) * 5))
    with pytest.raises(UserError, match=r"preprocessing of a distilled set is for 24 values, its images have 18"):
        replace(make(), images=torch.zeros(6, 2, 3, 3), preprocessing=zca())


def test_images_are_finite_float32() -> None:
    found = make()
    with pytest.raises(UserError, match=r"float32 \[N, C, H, W\], not torch\.float64"):
        replace(found, images=found.images.double())
    with pytest.raises(UserError, match="values that are not finite"):
        replace(found, images=found.images / 0)
