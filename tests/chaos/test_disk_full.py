"""The disk fills up: the run stops by itself, with a sentence, and goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import evidence
from tests.chaos.battering import resume
from tests.chaos.conftest import Undisturbed
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena, told_by

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

TRIALS = 24


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], Path]]:
    """Return a function that makes a folder a disk of 24 MB; the test is skipped where that is not allowed."""
    mounted: list[Path] = []

    def mount(folder: Path) -> Path:
        folder.mkdir(parents=True)
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its brim; return the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("what", ["run", "database", "checkpoints"])
def test_a_full_disk_stops_the_run_until_there_is_room(
    arena: Arena, small_disk: Callable[[Path], Path], undisturbed: Undisturbed, figures: Figures, what: str
) -> None:
    began = figures.seconds
    disk = small_disk(arena.folder / ("runs" if what == "run" else "disk"))
    database = disk / "study.db" if what == "database" else None
    settings = {
        "run": [],
        "database": [f"search.storage=sqlite:///{database}"],
        "checkpoints": [f"run.storage={disk}/checkpoints"],
    }[what]
    program = arena.start("search", "tiny.yaml", f"search.trials={TRIALS}", *settings, pause=0.1)

    def some_ended() -> bool:
        return sum(trial.ended for trial in evidence.kept(arena.run, database).values()) >= 4

    program.wait_until(some_ended, 240)
    arena.hold.touch()
    filler = fill(disk)
    arena.hold.unlink()
    told = told_by(program, 240)
    assert "no room" in told.sentence.lower() or "no space left" in told.sentence.lower()
    assert program.survivors() == []
    assert [path.name for path in arena.folder.rglob("*.tmp")] == []
    filler.unlink()
    before = evidence.kept(arena.run, database)
    assert 4 <= sum(trial.ended for trial in before.values()) < TRIALS
    told = arena.winnow(*resume(arena))
    assert told.status == 0, told.output
    after = evidence.kept(arena.run, database)
    for number, trial in after.items():
        assert evidence.result(trial) == evidence.result(undisturbed.trials[number])
    assert {number: trial for number, trial in before.items() if trial.ended}.items() <= after.items()
    for number, digests in evidence.tickets(arena.run).items():
        assert digests == undisturbed.tickets[number]
    figures.add(
        "disk full",
        storage="sqlite" if database else "journal",
        how=f"the disk of the {what}",
        kills=1,
        trials=len(after),
        lost=TRIALS - len(after),
        seconds=round(figures.seconds - began),
    )
