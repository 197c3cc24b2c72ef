"""The study that several drivers, one after another, write into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from dp_core.errors import UserError
from search.config.models import SearchConfig
from search.study.record import Proposal, StudyRecord
from search.study.storage.store import read_trials as stored_trials
from search.study.trials import STUDY, is_rejected, reason_of, rounds_of, written_candidate
from tests.search.tiny import a_round, config_of, study_of
from trainables import Candidate


def opened(folder: Path, **changes: Any) -> StudyRecord:
    config: SearchConfig = config_of(folder, **changes)
    return study_of(folder, config)


def stock_study(folder: Path) -> optuna.Study:
    """Open the journal with nothing but Optuna."""
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))))


def read_journal(journal: Path) -> list[FrozenTrial]:
    return stored_trials(journal, None, STUDY)


def proposed(record: StudyRecord) -> Proposal:
    proposal = record.propose()
    assert proposal is not None
    return proposal


def run(record: StudyRecord, scores: Sequence[float]) -> int:
    """Take a new trial through its rounds to its end; return its number."""
    number = proposed(record).number
    for round_number, score in enumerate(scores, start=1):
        record.report(number, a_round(round_number, score))
    record.finish(number, TrialState.COMPLETE, None)
    return number


def test_proposals_are_numbered_from_zero_until_the_target(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"trials": 3})
    assert [proposed(record).number for _ in range(3)] == [0, 1, 2]
    assert record.propose() is None
    assert (record.target, record.unfinished) == (3, 3)


def test_a_proposal_is_a_candidate_of_the_space(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"trials": 12})
    proposals = [proposed(record) for _ in range(12)]
    candidates = [proposal.candidate for proposal in proposals]
    for proposal in proposals:
        params = record.running(proposal.number).params
        assert params == record.trials()[proposal.number].params
        assert params["source"] == proposal.candidate.source
    for candidate in candidates:
        assert 0.5 <= candidate.sparsity <= 0.8
        assert ("ipc" in candidate.written) == (candidate.source == "distilled")
        assert candidate.recipe.steps == 4
    assert {candidate.source for candidate in candidates} == {"distilled", "real"}


def test_a_finished_trial_has_its_last_score_and_all_of_its_rounds(tmp_path: Path) -> None:
    record = opened(tmp_path)
    number = run(record, [0.7, 0.6, 0.65])
    (trial,) = record.trials(TrialState.COMPLETE)
    assert (trial.number, trial.value) == (number, 0.65)
    assert trial.intermediate_values == {1: 0.7, 2: 0.6, 3: 0.65}
    assert rounds_of(trial) == [a_round(1, 0.7), a_round(2, 0.6), a_round(3, 0.65)]
    assert reason_of(trial) is None
    assert record.unfinished == 3


def test_trials_of_a_lost_driver_are_proposed_again_before_new_ones(tmp_path: Path) -> None:
    lost = opened(tmp_path)
    first, second = proposed(lost), proposed(lost)
    third = run(lost, [0.5])
    lost.report(first.number, a_round(1, 0.4))
    record = opened(tmp_path)
    assert record.unfinished == 3
    again = [record.propose(), record.propose()]
    assert again == [resumed(first), resumed(second)]
    fresh = proposed(record)
    assert fresh.number == third + 1 == 3
    assert record.propose() is None


def test_a_third_driver_still_finds_the_first_ones_trials(tmp_path: Path) -> None:
    first = proposed(opened(tmp_path))
    second = opened(tmp_path)
    assert second.propose() == resumed(first)
    assert opened(tmp_path).propose() == resumed(first)


@pytest.mark.parametrize("asked", [True, False])
def test_what_others_put_into_the_study_is_ended_and_not_counted(tmp_path: Path, asked: bool) -> None:
    opened(tmp_path)
    study = stock_study(tmp_path)
    study.enqueue_trial({"sparsity": 0.625})
    if asked:
        study.ask()
    record = opened(tmp_path, search={"trials": 1})
    assert (record.counts(), record.unfinished) == ({"REJECTED": 1}, 1)
    assert proposed(record).number == 1
    foreign = record.trials()[0]
    assert (foreign.state, reason_of(foreign)) == (TrialState.FAIL, "it was not proposed by Winnow")


def test_a_space_that_proposes_no_candidate_is_a_mistake_that_names_the_key(tmp_path: Path) -> None:
    record = opened(tmp_path, space={"recipe": {"momentum": {"float": [1.5, 2.0]}}})
    with pytest.raises(UserError, match=r"'space\.recipe': A recipe needs a momentum from 0 to below 1"):
        record.propose()


def test_a_candidate_of_another_version_is_ended_if_it_cannot_be_read(tmp_path: Path) -> None:
    lost = opened(tmp_path, search={"trials": 2})
    written = {**proposed(lost).candidate.written, "recipe": {"no_longer": 1}}
    study = stock_study(tmp_path)
    study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"candidate": written}))
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"candidate": written}))
    record = opened(tmp_path, search={"trials": 2})
    assert record.counts() == {"RUNNING": 1, "REJECTED": 1, "FAIL": 1}
    assert reason_of(record.trials()[1]) == "its candidate cannot be read"
    assert proposed(record).number == 0
    assert record.propose() is None


def test_a_round_that_is_known_changes_nothing(tmp_path: Path) -> None:
    record = opened(tmp_path)
    number = proposed(record).number
    record.report(number, a_round(1, 0.5))
    size = (tmp_path / "study.journal").stat().st_size
    record.report(number, a_round(1, 0.9, seconds=9.0))
    assert rounds_of(record.trials()[number]) == [a_round(1, 0.5)]
    assert record.trials()[number].intermediate_values == {1: 0.5}
    assert (tmp_path / "study.journal").stat().st_size == size


def test_a_resumed_trial_may_report_its_rounds_again(tmp_path: Path) -> None:
    lost = opened(tmp_path)
    number = proposed(lost).number
    lost.report(number, a_round(1, 0.5))
    lost.report(number, a_round(2, 0.6))
    record = opened(tmp_path)
    assert proposed(record).number == number
    for round_number, score in ((1, 0.1), (2, 0.2), (3, 0.7)):
        record.report(number, a_round(round_number, score))
    record.finish(number, TrialState.COMPLETE, None)
    (trial,) = record.trials(TrialState.COMPLETE)
    assert trial.intermediate_values == {1: 0.5, 2: 0.6, 3: 0.7}
    assert trial.value == 0.7


def test_a_second_end_changes_nothing(tmp_path: Path) -> None:
    record = opened(tmp_path)
    number = run(record, [0.5])
    record.finish(number, TrialState.FAIL, "too late")
    record.finish(99, TrialState.FAIL, "never there")
    (trial,) = record.trials()
    assert (trial.state, trial.value, reason_of(trial)) == (TrialState.COMPLETE, 0.5, None)


def test_a_trial_stopped_early_is_pruned_with_its_intermediate_values(tmp_path: Path) -> None:
    record = opened(tmp_path)
    number = proposed(record).number
    record.report(number, a_round(1, 0.5))
    record.report(number, a_round(2, 0.4))
    record.finish(number, TrialState.PRUNED, "others were better")
    (trial,) = record.trials()
    assert (trial.state, reason_of(trial)) == (TrialState.PRUNED, "others were better")
    assert trial.intermediate_values == {1: 0.5, 2: 0.4}


def test_a_score_that_is_no_number_fails_with_its_reason(tmp_path: Path) -> None:
    record = opened(tmp_path)
    number = proposed(record).number
    record.report(number, a_round(1, math.nan, proxy_loss=math.inf))
    record.finish(number, TrialState.FAIL, "the loss became nan by step 3 of 4")
    (trial,) = record.trials()
    assert (trial.state, reason_of(trial)) == (TrialState.FAIL, "the loss became nan by step 3 of 4")
    assert trial.intermediate_values == {}
    none = {"score": None, "proxy_accuracy": None, "proxy_loss": None}
    assert trial.user_attrs["round:0001"] == {**a_round(1, 0.0).to_row(), **none}
    (found,) = rounds_of(trial)
    assert all(math.isnan(value) for value in (found.score, found.proxy_accuracy, found.proxy_loss))
    assert stock_study(tmp_path).trials[0].state == TrialState.FAIL


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.FAIL])
def test_a_trial_may_end_before_its_first_round(tmp_path: Path, state: TrialState) -> None:
    record = opened(tmp_path)
    record.finish(proposed(record).number, state, "its worker was lost")
    assert [trial.state for trial in opened(tmp_path).trials()] == [state]


def test_nothing_is_running_once_it_has_ended_and_the_counts_add_up(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"trials": 5})
    run(record, [0.5])
    for state in (TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL):
        record.finish(proposed(record).number, state, "for a reason")
    assert record.counts() == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 2}
    assert record.unfinished == 1
    proposed(record)
    assert record.counts() == {"COMPLETE": 1, "PRUNED": 1, "FAIL": 2, "RUNNING": 1}


def test_stock_optuna_opens_the_journal(tmp_path: Path) -> None:
    record = opened(tmp_path)
    candidate = proposed(record).candidate
    record.report(0, a_round(1, 0.5))
    record.finish(0, TrialState.COMPLETE, None)
    run(record, [0.9])
    study = stock_study(tmp_path)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert (study.best_trial.number, study.best_value) == (1, 0.9)
    params = study.trials[0].params
    assert params["sparsity"] == candidate.sparsity
    assert params["model.pooling"] == candidate.model.hyperparameters["pooling"]
    assert "recipe.steps" not in params  # a constant


def test_reading_changes_nothing_and_agrees(tmp_path: Path) -> None:
    record = opened(tmp_path)
    proposal = proposed(record)
    record.report(0, a_round(1, 0.5))
    journal = tmp_path / "study.journal"
    before = journal.read_bytes()
    (trial,) = read_journal(journal)
    assert (trial.state, written_candidate(trial)) == (TrialState.RUNNING, proposal.candidate.written)
    assert rounds_of(trial) == [a_round(1, 0.5)]
    assert journal.read_bytes() == before


def test_reading_where_nothing_is_makes_nothing(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "study.journal") == []
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_something_else_is_named(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    optuna.create_study(storage=storage, study_name="mine")
    with pytest.raises(UserError, match=r"study\.journal has no study 'winnow'"):
        read_journal(journal)


@pytest.mark.parametrize("torn", [b'{"op_code": 8, "wor', b"{ ", b'{"op_code": 47'])
def test_half_a_last_line_is_taken_away(tmp_path: Path, torn: bytes) -> None:
    record = opened(tmp_path)
    run(record, [0.5])
    running = proposed(record)
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + torn)
    assert [trial.state for trial in read_journal(journal)] == [TrialState.COMPLETE, TrialState.RUNNING]
    mended = opened(tmp_path)
    assert journal.read_bytes().startswith(whole)
    assert torn not in journal.read_bytes()[len(whole) :]
    assert mended.propose() == resumed(running)
    run(mended, [0.8])
    assert [trial.value for trial in stock_study(tmp_path).get_trials(states=(TrialState.COMPLETE,))] == [0.5, 0.8]


def test_a_driver_killed_in_its_first_line_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_bytes(b'{"op_code": 0, "worker_id"')
    assert run(opened(tmp_path), [0.5]) == 0


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_lock_that_a_killed_driver_left_is_removed(tmp_path: Path, kind: str) -> None:
    run(opened(tmp_path), [0.5])
    journal = tmp_path / "study.journal"
    lock = tmp_path / "study.journal.lock"
    if kind == "link":
        lock.symlink_to(journal)
    else:
        lock.write_text("")
    assert run(opened(tmp_path), [0.6]) == 1
    assert not lock.exists()
    assert not lock.is_symlink()


# Sources take turns and are judged apart; what they are judged by is seen best with one.
ONE_SOURCE = {"source": "real", "ipc": None}
SAMPLERS = ["random", "tpe", "qmc"]


def sampled(folder: Path, sampler: str, space: dict[str, Any], drivers: Sequence[int]) -> list[dict[str, Any]]:
    """Return what is proposed by one driver after another, each going on up to so many trials."""
    folder.mkdir()
    for total in drivers:
        record = opened(folder, search={"trials": 15, "sampler": sampler, "startup_trials": 20}, space=space)
        while len(record.trials()) < total:
            run(record, [0.5])
    return [trial.params for trial in stock_study(folder).trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_sampler_proposes_nothing_a_second_time(tmp_path: Path, sampler: str) -> None:
    found = sampled(tmp_path / "run", sampler, {}, (1, 5, 10, 15))
    assert len({(params["source"], params["sparsity"]) for params in found}) == 15


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_sampler_draws_no_conditional_value_a_second_time(tmp_path: Path, sampler: str) -> None:
    momentum = {"float": [0.5, 0.9], "when": {"recipe.optimizer": "sgd"}}
    space = {**ONE_SOURCE, "recipe": {"optimizer": {"choice": ["adam", "sgd"]}, "momentum": momentum}}
    found = sampled(tmp_path / "run", sampler, space, (1, 4, 7, 11, 15))
    values = [params["recipe.momentum"] for params in found if "recipe.momentum" in params]
    assert len(set(values)) == len(values) > 3


def test_a_quasi_random_sequence_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = sampled(tmp_path / "whole", "qmc", {}, (15,))
    assert sampled(tmp_path / "resumed", "qmc", {}, (5, 15)) == whole


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_decides_what_is_proposed(tmp_path: Path, sampler: str) -> None:
    def candidates(name: str, seed: int) -> list[Candidate]:
        (tmp_path / name).mkdir()
        record = opened(tmp_path / name, run={"seed": seed}, search={"sampler": sampler, "startup_trials": 2})
        found = []
        while (proposal := record.propose()) is not None:
            found.append(proposal.candidate)
            record.report(proposal.number, a_round(1, proposal.candidate.sparsity))
            record.finish(proposal.number, TrialState.COMPLETE, None)
        return found

    one = candidates("one", 3)
    assert candidates("same", 3) == one
    assert candidates("other", 4) != one


HALVING = {"method": "successive_halving", "first_round": 2, "reduction_factor": 2}


def test_successive_halving_stops_what_is_not_in_the_upper_half_of_its_rung(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"early_stopping": HALVING, "trials": 4}, space=ONE_SOURCE)
    numbers = [proposed(record).number for _ in range(4)]
    stops = {}
    for number, scores in zip(
        numbers, [(0.9, 0.5, 0.5, 0.5), (0.1, 0.3), (0.1, 0.7, 0.7, 0.4), (0.8, 0.2)], strict=True
    ):
        stops[number] = [record.report(number, a_round(step, score)) for step, score in enumerate(scores, start=1)]
    # The rungs are at rounds 2 and 4. Round 1 is no rung, however bad (0.1). At round 2 the first is alone, 0.3 is
    # below 0.5, 0.7 is the best of three, 0.2 the worst of four. At round 4 the first is alone and 0.4 is below 0.5.
    assert stops == {0: [False] * 4, 1: [False, True], 2: [False, False, False, True], 3: [False, True]}


def test_trials_of_an_earlier_driver_still_compete(tmp_path: Path) -> None:
    lost = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    number = proposed(lost).number
    lost.report(number, a_round(1, 0.9))
    lost.report(number, a_round(2, 0.9))
    record = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    proposed(record)
    other = proposed(record).number
    record.report(other, a_round(1, 0.4))
    assert record.report(other, a_round(2, 0.4)) is True


def test_median_stops_what_is_below_the_median_of_finished_trials(tmp_path: Path) -> None:
    stopping = {"method": "median", "first_round": 2}
    record = opened(tmp_path, search={"early_stopping": stopping, "startup_trials": 3, "trials": 9}, space=ONE_SOURCE)
    for score in (0.2, 0.5, 0.6):
        run(record, [score, score])
    low, high = proposed(record).number, proposed(record).number
    assert record.report(low, a_round(1, 0.1)) is False  # before first_round
    assert record.report(low, a_round(2, 0.49))
    record.report(high, a_round(1, 0.1))
    assert not record.report(high, a_round(2, 0.51))


def test_none_stops_nothing(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"early_stopping": {"method": "none"}, "startup_trials": 1}, space=ONE_SOURCE)
    run(record, [0.9, 0.9, 0.9, 0.9])
    number = proposed(record).number
    assert not any(record.report(number, a_round(step, 0.01)) for step in range(1, 9))


def test_what_was_said_of_a_round_is_said_again(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    run(record, [0.9, 0.9])
    number = proposed(record).number
    record.report(number, a_round(1, 0.1))
    assert record.report(number, a_round(2, 0.1))
    assert record.report(number, a_round(2, 0.1)), "a worker that is lost before it was stopped tells its round again"
    assert not record.report(number, a_round(1, 0.1))


def test_a_trial_that_was_to_be_stopped_when_its_driver_was_lost_is_stopped(tmp_path: Path) -> None:
    lost = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    run(lost, [0.9, 0.9])
    number = proposed(lost).number
    lost.report(number, a_round(1, 0.1))
    lost.report(number, a_round(2, 0.1))
    record = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    assert record.counts() == {"COMPLETE": 1, "PRUNED": 1}
    assert reason_of(record.trials()[number]) == "stopped early after round 2: others were better"
    assert proposed(record).number == number + 1


def test_a_last_round_is_never_stopped(tmp_path: Path) -> None:
    lost = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    run(lost, [0.9, 0.9])
    number = proposed(lost).number
    lost.report(number, a_round(1, 0.1))
    assert not lost.report(number, a_round(2, 0.1), last=True)
    record = opened(tmp_path, search={"early_stopping": HALVING}, space=ONE_SOURCE)
    assert proposed(record).number == number


def test_a_lower_target_leaves_nothing_running(tmp_path: Path) -> None:
    begun = opened(tmp_path, search={"trials": 4})
    first = [proposed(begun).number for _ in range(3)]
    record = opened(tmp_path, search={"trials": 1})
    assert record.unfinished == 3
    for number in first:
        assert proposed(record).number == number
        record.finish(number, TrialState.FAIL, "for a reason")
    assert record.propose() is None
    assert (record.unfinished, record.counts()) == (0, {"FAIL": 3})


def test_a_sampler_that_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = opened(tmp_path)

    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError("in the\n sampler")

    monkeypatch.setattr("optuna.samplers.RandomSampler.sample_independent", fail)
    with pytest.raises(
        UserError, match=r"'random' \(search\.sampler\) has failed with ZeroDivisionError: in the sampler"
    ):
        record.propose()


def test_points_are_tried_first_and_each_once(tmp_path: Path) -> None:
    def drawn(record: StudyRecord) -> tuple[str, float]:
        candidate = proposed(record).candidate
        return candidate.source, candidate.sparsity

    first = {"start": {"points": [{"sparsity": 0.625}, {"sparsity": 0.75, "source": "real"}]}}
    assert drawn(opened(tmp_path, search=first)) == ("distilled", 0.625)
    more = {"start": {"points": [{"sparsity": 0.5}, *first["start"]["points"]]}, "trials": 5}
    record = opened(tmp_path, search=more)
    assert drawn(record) == ("distilled", 0.625), "the one that the lost driver had begun"
    assert [drawn(record) for _ in range(2)] == [("real", 0.5), ("real", 0.75)]
    assert drawn(record)[1] not in (0.5, 0.625, 0.75)


def test_what_breaks_a_constraint_is_recorded_and_costs_no_trial(tmp_path: Path) -> None:
    # 307 parameters, of which 300 are prunable: 0.7 leaves 97, and what is sparser fewer.
    record = opened(tmp_path, search={"trials": 6, "constraints": {"min_sparsity": 0.7}})
    found = [proposed(record).candidate.sparsity for _ in range(6)]
    assert all(sparsity >= 0.69 for sparsity in found)
    rejected = [trial for trial in record.trials() if is_rejected(trial)]
    assert len(rejected) == record.counts()["REJECTED"] == len(record.trials()) - 6 > 0
    for trial in rejected:
        assert trial.state == TrialState.PRUNED
        assert trial.constraints["min_sparsity"] > 0
        assert "less than search.constraints.min_sparsity 0.7" in str(reason_of(trial))
    again = opened(tmp_path, search={"trials": 6, "constraints": {"min_sparsity": 0.7}})
    assert again.counts() == record.counts()
    assert again.unfinished == 6


def test_a_search_that_finds_nothing_within_its_constraints_ends(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"constraints": {"max_parameters": 10}})
    with pytest.raises(UserError, match="The last 100 proposals all broke a constraint"):
        record.propose()
    assert record.counts() == {"REJECTED": 100}


def test_several_objectives_are_what_the_study_optimises(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"objectives": ["accuracy", "parameters"], "early_stopping": HALVING})
    number = proposed(record).number
    for step, score in enumerate((0.5, 0.4, 0.45), start=1):
        record.report(number, a_round(step, score, parameters_left=300 - 50 * step))
    record.finish(number, TrialState.COMPLETE, None)
    stopped = proposed(record).number
    record.report(stopped, a_round(1, 0.1))
    record.finish(stopped, TrialState.PRUNED, "stopped early after round 1: others were better")
    study = stock_study(tmp_path)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [trial.values for trial in study.trials] == [[0.45, 150], None]
    assert [trial.number for trial in study.best_trials] == [0]


def test_an_objective_that_is_no_number_fails_a_trial_that_finished(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"objectives": ["accuracy", "seconds"]})
    number = proposed(record).number
    record.report(number, a_round(1, 0.5, seconds=math.inf))
    record.finish(number, TrialState.COMPLETE, None)
    (trial,) = record.trials()
    assert (trial.state, reason_of(trial)) == (TrialState.FAIL, "its seconds is nan")


def test_failures_in_a_row_halt_the_search(tmp_path: Path) -> None:
    record = opened(tmp_path, search={"failures_in_a_row": 2, "trials": 9})
    for state in (TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL):
        record.finish(proposed(record).number, state, "ValueError: no such thing")
    assert record.halted is None
    record.finish(proposed(record).number, TrialState.FAIL, "ValueError: no such thing")
    assert "2 trials in a row failed, the last with: ValueError: no such thing" in str(record.halted)


def resumed(proposal: Proposal | None) -> Proposal:
    """Return the same proposal as a later driver makes it."""
    assert proposal is not None
    return replace(proposal, resumed=True)
