"""Where chaos happens: folders that are cleared of processes afterwards, an undisturbed run, and the figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos import evidence
from tests.chaos.evidence import Kept
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena, prepared

TRIALS = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, help="write what the chaos scenarios measured into this JSON file")


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    found = Figures(request.config)
    yield found
    if path := request.config.getoption("--figures", default=None):
        found.write(path)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    with prepared(tmp_path) as found:
        yield found


@dataclass(frozen=True)
class Undisturbed:
    """What a run of TRIALS trials comes to if nothing happens to it."""

    trials: dict[int, Kept]
    tickets: dict[int, tuple[str, str]]
    leaderboard: list[tuple[int, float]]
    passes: int


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, figures: Figures) -> Iterator[Undisturbed]:
    with prepared(tmp_path_factory.mktemp("undisturbed")) as arena:
        told = arena.winnow("search", "tiny.yaml", f"search.trials={TRIALS}")
        assert told.status == 0, told.output
        found = evidence.kept(arena.run)
        assert evidence.disagreements(arena.run, found, TRIALS) == []
        figures.say(f"undisturbed: {TRIALS} trials in {told.seconds:.0f} s")
        yield Undisturbed(found, evidence.tickets(arena.run), evidence.leaderboard(arena.run), arena.passes)
