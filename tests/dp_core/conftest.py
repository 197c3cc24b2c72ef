from __future__ import annotations

import pytest

from dp_core.kernels import block_library


@pytest.fixture(scope="session")
def kernels() -> None:
    """Skip a test of the compiled kernels where there is no compiler to make them."""
    if block_library() is None:
        pytest.skip("the kernels cannot be compiled here")
