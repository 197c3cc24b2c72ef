"""Who is retrained and who in whose place, with trainings that only pretend to be any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.trial import FrozenTrial, TrialState

from dp_core.errors import UserError
from search.config.models import SearchConfig
from search.config.retraining import RetrainSection
from search.pipeline import retraining_phase
from search.pipeline.bad_ends import BadEnd, BadEnds
from search.pipeline.preparation import Preparation
from search.pipeline.promotion_file import read_promotion, set_aside
from search.pipeline.retraining_again import _let_try_again as let_try_again
from search.pipeline.retraining_phase import retrain_chosen, retrain_requested, told_ends
from search.pipeline.retraining_plan import RetrainingPlan
from search.pipeline.retraining_requests import Request, add_request, read_requests
from search.runs.directory import RunDirectory
from search.runs.progress import Progress
from tests.search.pipeline.test_promotion import trial, trials
from tests.search.tiny import config_of

QUIET = Progress(quiet=True)
Outcome = Callable[[str], bool]


class Pretence:
    """Stands in for Ray: notes what is trained, and lets what `comes_to_nothing` names end badly."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.trained: list[list[str]] = []
        self.comes_to_nothing: Outcome = lambda name: False
        self.stops_after = 10**9

    def retrain(
        self, run: Any, prepared: Any, plan: RetrainingPlan, numbers: Sequence[int], ends: BadEnds, *_: Any
    ) -> None:
        done = {path.name for path in run.models()} | ends.retrainings()
        names = [(number, name) for number in numbers for name in plan.names(number) if name not in done]
        self.trained.append([name for _, name in names])
        for number, name in names:
            self.stops_after -= 1
            if self.stops_after < 0:
                raise KeyboardInterrupt
            if self.comes_to_nothing(name):
                ends.add(BadEnd(number, "diverged", "the loss became nan", name))
            else:
                run.model(name).mkdir(parents=True)

    def complete_tickets(
        self, run: Any, prepared: Any, sets: Any, trials: Any, numbers: Sequence[int], ends: BadEnds, *_: Any
    ) -> None:
        for number in numbers:
            if number not in ends.tickets() and self.comes_to_nothing(f"ticket {number}"):
                ends.add(BadEnd(number, "collapsed", "a layer is empty"))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    return run


@pytest.fixture
def pretence(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> Pretence:
    found = Pretence(run)
    monkeypatch.setattr(retraining_phase, "retrain", found.retrain)
    monkeypatch.setattr(retraining_phase, "complete_tickets", found.complete_tickets)
    monkeypatch.setattr(retraining_phase, "identify_by", lambda prepared: lambda trial: trial.number)
    monkeypatch.setattr(
        retraining_phase, "has_sound_ticket", lambda run, number: number not in BadEnds(run.bad_ends).tickets()
    )
    return found


class Prepared:
    """The part of a preparation that is looked at."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config


def advance(run: RunDirectory, found: Sequence[FrozenTrial] = (), **changes: Any) -> list[int]:
    """Drive the phase to its end; return whose models there are."""
    settings = {"promote": {"top": 2, "audit": 1}, "retrain": {"epochs": 3}, **changes}
    prepared = cast("Preparation", Prepared(config_of(run.path, **settings)))
    retrain_chosen(run, prepared, found or trials(0.9, 0.8, 0.7, 0.6, 0.5, 0.4), {}, cast("Any", None), QUIET)
    retrain_requested(run, prepared, cast("Any", None), QUIET)
    return sorted({int(path.name[:5]) for path in run.models()})


def numbers_of(names: Sequence[str]) -> list[int]:
    return [int(name[:5]) for name in names]


def test_what_came_to_nothing_is_replaced_and_not_tried_again(run: RunDirectory, pretence: Pretence) -> None:
    pretence.comes_to_nothing = lambda name: name.startswith("00001-")
    models = advance(run)
    promotion = read_promotion(run.promotion)
    assert promotion is not None
    assert (promotion.promoted, promotion.replaced) == ((0, 2), (1,))
    assert models == sorted([0, 2, *promotion.audited])
    assert sum(1 in numbers_of(names) for names in pretence.trained) == 1
    pretence.trained.clear()
    assert advance(run) == models
    assert pretence.trained == [[]]


def test_a_ticket_that_collapsed_in_the_audit_has_another_drawn_beside_it(
    run: RunDirectory, pretence: Pretence
) -> None:
    advance(run)
    first = read_promotion(run.promotion)
    assert first is not None
    (audited,) = first.audited
    pretence.comes_to_nothing = lambda name: name == f"ticket {audited}"
    for path in (*run.models(), run.promotion):
        path.rmdir() if path.is_dir() else path.unlink()
    models = advance(run)
    promotion = read_promotion(run.promotion)
    assert promotion is not None
    assert (promotion.audited, promotion.lost, len(promotion.further)) == ((audited,), (audited,), 1)
    assert models == sorted([0, 1, *promotion.further])


def test_a_driver_that_was_killed_in_between_loses_no_end(run: RunDirectory, pretence: Pretence) -> None:
    pretence.comes_to_nothing = lambda name: name.startswith("00000-")
    pretence.stops_after = 2
    with pytest.raises(KeyboardInterrupt):
        advance(run)
    pretence.stops_after = 10**9
    advance(run)
    assert [numbers_of(names).count(0) for names in pretence.trained] == [1, 0]
    tried = [name for names in pretence.trained for name in names]
    assert all(tried.count(path.name) in (1, 2) for path in run.models())


def test_what_a_run_that_goes_on_knows_to_have_come_to_nothing_is_not_promoted_again(
    run: RunDirectory, pretence: Pretence
) -> None:
    pretence.comes_to_nothing = lambda name: name.startswith("00000-")
    advance(run)
    set_aside(run.promotion)
    advance(run, trials(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.85))
    promotion = read_promotion(run.promotion)
    assert promotion is not None
    assert promotion.promoted == (6, 1)
    assert 0 not in promotion.chosen
    assert sum(0 in numbers_of(names) for names in pretence.trained) == 1


def test_another_recipe_begins_anew_and_keeps_what_there_is(run: RunDirectory, pretence: Pretence) -> None:
    pretence.comes_to_nothing = lambda name: name.startswith("00001-") and "-3epochs-" in name
    advance(run)
    names = {path.name for path in run.models()}
    pretence.trained.clear()
    advance(run, retrain={"epochs": 6})
    assert names < {path.name for path in run.models()}
    promotion = read_promotion(run.promotion)
    assert promotion is not None
    assert promotion.promoted == (0, 1)
    assert numbers_of(pretence.trained[0]) == list(promotion.chosen)
    assert all("-6epochs-" in name for name in pretence.trained[0])


def test_what_came_to_nothing_by_one_recipe_is_promoted_by_another(run: RunDirectory, pretence: Pretence) -> None:
    pretence.comes_to_nothing = lambda name: "-6epochs-" in name
    advance(run)
    first = read_promotion(run.promotion)
    assert advance(run, retrain={"epochs": 6}) == sorted(first.chosen if first else ())
    pretence.trained.clear()
    advance(run)
    assert pretence.trained == [[]]
    again = read_promotion(run.promotion)
    assert first is not None
    assert again is not None
    assert (again.promoted, again.audited, again.further, again.replaced) == (first.promoted, first.audited, (), ())


def test_if_everything_comes_to_nothing_it_is_not_for_the_tickets(run: RunDirectory, pretence: Pretence) -> None:
    pretence.comes_to_nothing = lambda name: not name.startswith("ticket")
    found = trials(*(1 - number / 100 for number in range(60)))
    for _ in range(2):
        assert advance(run, found, search={"failures_in_a_row": 5}) == []
    assert 5 <= len({number for names in pretence.trained for number in numbers_of(names)}) <= 7
    assert "came to nothing, the last with: diverged: the loss became nan." in told_ends(
        run, RetrainingPlan.of(RetrainSection(epochs=3, recipe={"batch_size": 16, "learning_rate": 0.05})).key
    )


def test_a_request_is_gone_when_it_is_done(run: RunDirectory, pretence: Pretence) -> None:
    request = Request((4, 5), RetrainSection(epochs=9, recipe={"learning_rate": 0.5}))
    add_request(run, request)
    add_request(run, Request((4,), RetrainSection(epochs=2)))
    add_request(run, request)
    assert len(read_requests(run)) == 2
    pretence.stops_after = 4  # three of the promotion, one of the first request
    with pytest.raises(KeyboardInterrupt):
        advance(run)
    assert len(read_requests(run)) in (1, 2)
    pretence.stops_after = 10**9
    assert {4, 5} <= set(advance(run))
    assert set(request.names) <= {path.name for path in run.models()}
    assert not run.requests.exists()


def test_a_search_without_tickets_names_the_folder_with_its_tracebacks(run: RunDirectory, pretence: Pretence) -> None:
    failed = [trial(0, None, state=TrialState.FAIL, reason="RuntimeError: no such layer")]
    with pytest.raises(UserError, match=r"1 failed, the last with: RuntimeError: no such layer\.$"):
        advance(run, failed)
    run.error(0).parent.mkdir()
    run.error(0).write_text("Traceback")
    with pytest.raises(UserError, match=r"no such layer\. Tracebacks are in .*run/errors\.$"):
        advance(run, failed)


@pytest.mark.parametrize("content", ["", "[", '[{"trials": [1]}]'])
def test_damaged_requests_are_none(run: RunDirectory, content: str) -> None:
    run.requests.write_text(content)
    assert read_requests(run) == ()


def test_what_came_to_nothing_begins_anew_when_it_is_asked_for(run: RunDirectory) -> None:
    prepared = cast("Preparation", Prepared(config_of(run.path)))
    request = Request((3,), RetrainSection(epochs=2, seeds=2))
    failed, other = request.names[0], "00004-seed0-2epochs-abc123"
    for name in (failed, other):
        (run.path / "retraining" / "session-000" / name / "checkpoint_000000").mkdir(parents=True)
        BadEnds(run.bad_ends).add(BadEnd(int(name[:5]), "failed", "its worker was lost", name))
    let_try_again(run, prepared, request)
    assert BadEnds(run.bad_ends).retrainings() == {other}
    assert [path.name for path in (run.path / "retraining" / "session-000").iterdir()] == [other]
