from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.linalg import fractional_matrix_power

from dp_core.data.preprocessing import ZCA, Standardisation
from dp_core.errors import UserError


def images(n: int = 200, shape: tuple[int, int, int] = (2, 3, 2), seed: int = 0) -> npt.NDArray[np.float64]:
    """Return images whose pixels are correlated, in [0, 1]."""
    draw = np.random.default_rng(seed)
    mixed = draw.random((n, *shape)) + draw.random((n, 1, 1, 1))
    return mixed / 2


def test_standardisation_equals_numpys() -> None:
    x = images(5, (3, 4, 6))
    found = Standardisation((0.5, 0.4, 0.3), (0.25, 0.2, 0.1))(torch.from_numpy(x))
    expected = np.stack([(x[:, 0] - 0.5) / 0.25, (x[:, 1] - 0.4) / 0.2, (x[:, 2] - 0.3) / 0.1], axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert Standardisation((0.5,) * 3, (0.25,) * 3)(torch.from_numpy(x).float()).dtype == torch.float32


def test_the_images_own_statistics_give_mean_zero_and_deviation_one() -> None:
    x = images(50, (3, 4, 6))
    space = Standardisation(tuple(x.mean((0, 2, 3)).tolist()), tuple(x.std((0, 2, 3)).tolist()))
    found = space(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(found.std((0, 2, 3)), 1, atol=1e-12)


def test_the_inverse_of_standardisation_gives_the_pixels_back() -> None:
    space, x = Standardisation((0.5, 0.4), (0.25, 0.2)), torch.from_numpy(images(5))
    torch.testing.assert_close(space.inverse(space(x)), x)
    torch.testing.assert_close(space(space.inverse(x)), x)


def test_zca_is_the_inverse_square_root_of_the_covariance() -> None:
    x = images()
    space = ZCA.fit(torch.from_numpy(x), eps=0.1)
    covariance = np.cov(x.reshape(200, 12), rowvar=False, bias=True)
    expected = fractional_matrix_power(covariance + 0.1 * np.eye(12), -0.5)
    np.testing.assert_allclose(space.matrix.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(space.mean.numpy(), x.mean(0).reshape(12), rtol=1e-6)
    other = images(7, seed=1)
    whitened = (other.reshape(7, 12) - x.mean(0).reshape(12)) @ expected
    np.testing.assert_allclose(
        space(torch.from_numpy(other).float()).numpy(), whitened.reshape(other.shape), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("eps", "tolerance"), [(1e-9, 1e-3), (1e-3, None), (0.1, None)])
def test_whitened_images_are_uncorrelated_as_eps_vanishes(eps: float, tolerance: float | None) -> None:
    x = torch.from_numpy(images(2000))
    whitened = ZCA.fit(x, eps)(x).flatten(1).numpy()
    covariance = np.cov(whitened, rowvar=False, bias=True)
    np.testing.assert_allclose(whitened.mean(0), 0, atol=1e-4)
    if tolerance is not None:
        np.testing.assert_allclose(covariance, np.eye(12), atol=tolerance)
    # A variance s along an axis of the data becomes s / (s + eps).
    variances = np.linalg.eigvalsh(np.cov(x.flatten(1).numpy(), rowvar=False, bias=True))
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), np.sort(variances / (variances + eps)), atol=1e-3)


@pytest.mark.parametrize("n", [3, 50, 400])
def test_a_fitted_matrix_is_symmetric_to_the_last_bit(n: int) -> None:
    matrix = ZCA.fit(torch.from_numpy(images(n, (3, 6, 5))).float(), 1e-6).matrix.numpy()
    assert matrix.tobytes() == np.ascontiguousarray(matrix.T).tobytes()


def test_zca_of_fewer_images_than_pixels_is_finite() -> None:
    x = torch.from_numpy(images(3))
    space = ZCA.fit(x)
    assert space.matrix.isfinite().all()
    torch.testing.assert_close(space.matrix, space.matrix.T)
    assert space(x).isfinite().all()


def test_impossible_preprocessings_are_refused() -> None:
    with pytest.raises(UserError, match="one mean and one std a channel"):
        Standardisation((0.5, 0.5), (0.2,))
    with pytest.raises(UserError, match="one mean and one std a channel"):
        Standardisation((), ())
    with pytest.raises(UserError, match=r"positive std for every channel, not \(0\.2, 0\.0\)"):
        Standardisation((0.5, 0.5), (0.2, 0.0))
    with pytest.raises(UserError, match=r"mean of D numbers and a D×D matrix, not \(4,\) and \(4, 3\)"):
        ZCA(torch.zeros(4), torch.zeros(4, 3))


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (3, 4, 4), (2, 4, 4, 3)])
def test_images_of_another_kind_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"images \[N, 3, H, W\], not for a tensor \[" + ", ".join(map(str, shape))):
        Standardisation((0.5,) * 3, (0.2,) * 3)(torch.zeros(shape))
    with pytest.raises(UserError, match=r"whitening is for images of 20 values"):
        ZCA(torch.zeros(20), torch.eye(20))(torch.zeros(shape))


@pytest.mark.parametrize("space", [Standardisation((0.5,), (0.2,)), ZCA(torch.zeros(4), torch.eye(4))])
def test_images_that_are_still_bytes_are_refused(space: Standardisation | ZCA) -> None:
    with pytest.raises(UserError, match=r"takes float images in \[0, 1\], not torch\.uint8"):
        space(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))


def test_spaces_that_would_give_nan_are_refused() -> None:
    with pytest.raises(UserError, match="positive std"):
        Standardisation((0.5,), (float("nan"),))
    with pytest.raises(UserError, match="eps above 0"):
        ZCA.fit(torch.zeros(3, 1, 2, 2), eps=0)
