from __future__ import annotations

import pytest
import torch

from dp_core.data import ImageDataset
from dp_core.data.preprocessing import ZCA
from dp_core.distillation.base import standardisation_of
from dp_core.errors import UserError
from tests.dp_core.small import with_constant_channel


def test_a_constant_channel_is_of_deviation_one() -> None:
    source = with_constant_channel()
    space = standardisation_of(source)
    pixels = source.images.double() / 255
    assert space.mean == pytest.approx((float(pixels[:, 0].mean()), 0.4))
    assert space.std == pytest.approx((float(pixels[:, 0].std(correction=0)), 1.0))
    standardised = space(pixels)
    assert standardised[:, 1].abs().max() < 1e-12
    assert torch.allclose(space.inverse(standardised), pixels)


def test_images_of_one_colour_are_refused() -> None:
    images = torch.full((4, 3, 2, 2), 9, dtype=torch.uint8)
    with pytest.raises(UserError, match="of one and the same colour"):
        standardisation_of(ImageDataset(images, torch.tensor([0, 1, 0, 1]), ("a", "b")))


def test_whitening_maps_a_constant_channel_to_nothing() -> None:
    pixels = with_constant_channel(30).images.float() / 255
    whitened = ZCA.fit(pixels)(pixels)
    assert torch.isfinite(whitened).all()
    assert whitened[:, 1].abs().max() < 1e-3
    assert 0.3 < float(whitened[:, 0].std()) < 1
