"""What the command line does around the work: stopping, and telling mistakes from defects."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import typer

from dp_core.errors import UserError
from search.cli.interrupts import stoppable
from tests.search.conftest import Outcome

SENTENCE = "\nStopped. Nothing that was finished is lost; go on with: winnow resume runs/tiny\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_work_and_says_how_to_go_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(typer.Exit) as caught, stoppable("runs/tiny"):
        signal.raise_signal(number)
    assert caught.value.exit_code == 130
    assert capsys.readouterr() == ("", SENTENCE)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_library_that_stumbles_over_the_signal_does_not_hide_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Optuna's journal, interrupted while it gives its lock back, tries again and does not find the lock."""

    def stumble() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            raise FileNotFoundError("study.journal.lock.rename") from None

    with pytest.raises(typer.Exit) as caught, stoppable("runs/tiny"):
        stumble()
    assert caught.value.exit_code == 130
    assert capsys.readouterr() == ("", SENTENCE)


@pytest.mark.parametrize("error", [UserError("a mistake"), ZeroDivisionError("a defect")])
def test_errors_pass_through(error: Exception) -> None:
    with pytest.raises(type(error)), stoppable("runs/tiny"):
        raise error


def test_help_is_no_mistake_and_an_unknown_command_is_one(winnow: Callable[..., Outcome]) -> None:
    found = winnow("--help")
    assert found.status == 0
    for command in ("search", "distill", "resume", "status", "report", "bench", "doctor"):
        assert command in found.out
    assert winnow("serch").status == 2
    assert winnow("search").status == 2
