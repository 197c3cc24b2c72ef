"""What holds for every test: one thread each, no time limit on single examples, Ray clusters one after another."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from search.cli.environment import prepare_environment

# Ray reads its settings when it is first imported, which any test module may do.
prepare_environment()
# Two test processes share the machine, and a busy machine must not fail a test that is merely slow.
torch.set_num_threads(1)
settings.register_profile("winnow", deadline=None)
settings.load_profile("winnow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give all files with tests marked `ray` to one process; they come first, as the largest group.

    pytest-xdist's own groups do not do it: 3.8 writes them into node ids, which pytest 9.2 no longer lets it.
    """
    return _RayTogether(config, log)


class _RayTogether(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return "ray" if _starts_ray(nodeid.partition("::")[0]) else nodeid


@functools.cache
def _starts_ray(path: str) -> bool:
    return "pytest.mark.ray" in (Path(__file__).parents[1] / path).read_text(encoding="utf-8")
