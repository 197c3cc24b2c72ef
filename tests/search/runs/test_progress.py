from __future__ import annotations

import pytest

from search.runs.progress import Pace, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("search.runs.progress.time.monotonic", found)
    return found


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""  # which --json needs for itself
    return captured.err.splitlines()


def test_a_line_has_the_time_since_the_start(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    clock.now += 125
    progress.say("screening", "trial [red]1[/red] of 3")
    assert lines(capsys) == ["  2:05 screening  trial [red]1[/red] of 3"]


def test_steps_are_told_now_and_then_and_the_last_always(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for done in range(1, 101):
        progress.step("distilling", done, 100, "iterations", every=5.0)
        clock.now += 0.25
    found = lines(capsys)
    # 100 steps of a quarter of a second each; a line every 5 s, so every 20 steps, beginning 5 s after the first.
    assert [line.split()[2] for line in found] == ["21/100", "41/100", "61/100", "81/100", "100/100"]
    assert found[0].endswith("21/100 iterations, about 20 s left")  # 79 steps of 0.25 s
    assert found[-1].endswith("100/100 iterations")


def test_work_that_is_done_again_is_timed_anew(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.step("distilling", 1, 1, "iterations")
    clock.now += 600
    progress.step("distilling", 1, 100, "iterations")
    clock.now += 10
    progress.step("distilling", 11, 100, "iterations")
    assert [line.split(maxsplit=2)[2] for line in lines(capsys)] == [
        "1/1 iterations",
        "11/100 iterations, about 89 s left",
    ]


def test_phases_do_not_silence_each_other(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for phase in ("distilling", "retraining"):
        progress.step(phase, 1, 9, "steps")
    clock.now += 6
    progress.step("distilling", 2, 9, "steps")
    progress.step("retraining", 3, 9, "steps")
    assert [line.split()[1] for line in lines(capsys)] == ["distilling", "retraining"]


def test_quiet_is_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.say("run", "something")
    progress.step("run", 1, 1, "something")
    assert lines(capsys) == []


def test_work_that_goes_on_from_its_middle_is_timed_from_there(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    progress.step("distilling", 801, 1000, "iterations")
    clock.now += 10
    progress.step("distilling", 821, 1000, "iterations")
    assert lines(capsys)[0].endswith("821/1000 iterations, about 90 s left")  # 179 steps of half a second


def test_a_phase_of_other_length_is_timed_anew(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.step("distilling", 1, 50, "epochs")
    clock.now += 600
    progress.step("distilling", 30, 100, "iterations")
    clock.now += 10
    progress.step("distilling", 40, 100, "iterations")
    assert [line.split(maxsplit=2)[2] for line in lines(capsys)] == ["40/100 iterations, about 60 s left"]


def test_jobs_of_several_kinds_are_expected_to_take_what_their_kind_took() -> None:
    pace = Pace(at_once=2)
    assert pace.left({"find": 3}) == ""
    pace.done("find", 10)
    pace.done("find", 30)
    assert pace.left({"find": 3, "train": 0}) == "about 30 s left"
    assert pace.left({"find": 3, "train": 1}) == "", "nobody knows how long a training takes"
    pace.done("train", 100)
    assert pace.left({"find": 3, "train": 1}) == "about 80 s left"
    assert pace.left({"find": 0}) == ""
