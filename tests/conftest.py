"""What holds for every test: one thread each, no time limit on single examples, Ray clusters one after another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

from search.environment import prepare_environment

# Ray reads its settings when it is first imported, which any test module may do.
prepare_environment()
# Two test processes share the machine, and a busy machine must not fail a test that is merely slow.
torch.set_num_threads(1)
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.xdist_group("ray"))
