"""Files are damaged between two drivers: the run is as it should be afterwards, and says in one line what it found."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.chaos import evidence
from tests.chaos.battering import resume
from tests.chaos.conftest import Undisturbed
from tests.chaos.damage import flip, flip_high, flip_in_column, half_done, lose_tail, overwrite_page, truncate
from tests.chaos.evidence import Kept
from tests.chaos.figures import Figures
from tests.chaos.runs import Arena, Told, copied, prepared

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

TRIALS = 9
Damage = Callable[[Path], None]


@contextmanager
def _wrecked(folder: Path, *settings: str, database: Path | None = None) -> Iterator[Arena]:
    """Yield a run whose driver was killed when some trials had ended and one was in its middle."""
    with prepared(folder) as arena:
        program = arena.start("search", "tiny.yaml", f"search.trials={TRIALS}", *settings, pause=0.2)

        def in_the_middle() -> bool:
            trials = evidence.kept(arena.run, database)
            return sum(trial.ended for trial in trials.values()) >= 3 and bool(half_done(arena.run, trials))

        program.wait_until(in_the_middle, 240)
        program.kill(everything=True)
        yield arena


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with _wrecked(tmp_path_factory.mktemp("wreck")) as arena:
        yield arena


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with prepared(tmp_path_factory.mktemp("whole")) as arena:
        told = arena.winnow("search", "tiny.yaml", f"search.trials={TRIALS}")
        assert told.status == 0, told.output
        yield arena


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Callable[[Arena], Arena]]:
    with ExitStack() as made:
        yield lambda arena: made.enter_context(copied(arena, tmp_path / "copy"))


def _checkpoint(arena: Arena) -> Path:
    return half_done(arena.run, evidence.kept(arena.run))[0] / "state.pt"


def _journal(arena: Arena) -> Path:
    return arena.run / "study.journal"


def _ticket(file: str) -> Callable[[Arena], Path]:
    return lambda arena: arena.run / "tickets" / f"{evidence.leaderboard(arena.run)[0][0]:05d}" / file


def _table(name: str) -> Callable[[Arena], Path]:
    return lambda arena: arena.run / name


def _model(arena: Arena) -> Path:
    return min((arena.run / "models").glob("[0-9]*")) / "model.safetensors"


def _said_of(told: Told, path: Path) -> list[str]:
    """Return the lines that say of a file, or of the folder that it is a part of, that it is damaged."""
    lines = told.naming(path.name) or told.naming(path.parent.name)
    return [line for line in lines if re.search("damaged|not a readable", line)]


def _as_it_should_be(arena: Arena, told: Told, undisturbed: Undisturbed) -> None:
    assert told.status == 0, told.output
    found = evidence.kept(arena.run)
    assert evidence.disagreements(arena.run, found, TRIALS) == []
    for number, trial in found.items():
        assert evidence.result(trial) == evidence.result(undisturbed.trials[number])
    for number, digests in evidence.tickets(arena.run).items():
        assert digests == undisturbed.tickets[number]


@pytest.mark.parametrize("damage", [truncate, flip])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    wreck: Arena, copy: Callable[[Arena], Arena], undisturbed: Undisturbed, figures: Figures, damage: Damage
) -> None:
    arena = copy(wreck)
    damage(path := _checkpoint(arena))
    told = arena.winnow(*resume(arena))
    _as_it_should_be(arena, told, undisturbed)
    assert len([line for line in told.naming(path.parent.name) if "damaged" in line]) == 1, told.output
    figures.add("damaged checkpoint", how=damage.__name__, trials=TRIALS, lost=0, seconds=round(told.seconds))


@pytest.mark.parametrize("damage", [lose_tail, flip, truncate])
def test_a_damaged_journal_is_mended(
    wreck: Arena, copy: Callable[[Arena], Arena], undisturbed: Undisturbed, figures: Figures, damage: Damage
) -> None:
    arena = copy(wreck)
    before = evidence.kept(arena.run)
    damage(_journal(arena))
    told = arena.winnow(*resume(arena))
    _as_it_should_be(arena, told, undisturbed)
    _nothing_that_had_ended_has_changed(before, evidence.kept(arena.run))
    assert len(told.naming("study.journal")) == 1, told.output
    figures.add("damaged journal", how=damage.__name__, trials=TRIALS, lost=0, seconds=round(told.seconds))


def _nothing_that_had_ended_has_changed(before: dict[int, Kept], after: dict[int, Kept]) -> None:
    assert {number: trial for number, trial in before.items() if trial.ended}.items() <= after.items()


@pytest.mark.parametrize(
    ("where", "damage"),
    [
        (_ticket("mask.safetensors"), flip),
        (_ticket("mask.safetensors"), truncate),
        (_ticket("card.json"), flip),
        (_model, flip),
        (_model, truncate),
        (_table("trials.parquet"), flip_in_column),
        (_table("rounds.parquet"), truncate),
        (_table("leaderboard.parquet"), flip_in_column),
    ],
    ids=["mask", "short mask", "card", "model", "short model", "trials", "short rounds", "leaderboard"],
)
def test_what_is_made_of_the_trials_is_made_again(
    whole: Arena,
    copy: Callable[[Arena], Arena],
    undisturbed: Undisturbed,
    figures: Figures,
    where: Callable[[Arena], Path],
    damage: Damage,
) -> None:
    arena = copy(whole)
    board = evidence.leaderboard(arena.run)
    damage(path := where(arena))
    told = arena.winnow(*resume(arena))
    _as_it_should_be(arena, told, undisturbed)
    assert evidence.leaderboard(arena.run) == board
    assert len(_said_of(told, path)) == 1, told.output
    name = path.name if path.suffix == ".parquet" else f"{path.parent.parent.name}/{path.name}"
    figures.add(f"damaged {name}", how=damage.__name__, trials=TRIALS, lost=0, seconds=round(told.seconds))


def test_a_damaged_table_is_mended_by_a_report_too(whole: Arena, copy: Callable[[Arena], Arena]) -> None:
    arena = copy(whole)
    flip(arena.run / "trials.parquet")
    told = arena.winnow("report", "runs/tiny")
    assert told.status == 0, told.output
    assert evidence.disagreements(arena.run, evidence.kept(arena.run), TRIALS) == []
    assert len(_said_of(told, arena.run / "trials.parquet")) == 1, told.output


@pytest.mark.parametrize("damage", [truncate, flip_high])
@pytest.mark.parametrize("command", ["resume", "status", "report"])
def test_a_damaged_record_is_one_sentence(
    whole: Arena, copy: Callable[[Arena], Arena], damage: Damage, command: str
) -> None:
    arena = copy(whole)
    damage(arena.run / "run.yaml")
    assert "run.yaml" in arena.winnow(command, "runs/tiny").sentence


@pytest.mark.parametrize("damage", [truncate, overwrite_page])
def test_a_damaged_database_is_one_sentence(tmp_path: Path, figures: Figures, damage: Damage) -> None:
    database = tmp_path / "wreck" / "study.db"
    with _wrecked(tmp_path / "wreck", f"search.storage=sqlite:///{database}", database=database) as arena:
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the log yet would hide the damage
        connection.close()
        damage(database)
        for command in ("resume", "status", "report"):
            assert "study.db" in arena.winnow(command, "runs/tiny").sentence
        figures.add("damaged database", storage="sqlite", how=damage.__name__, trials=TRIALS)
