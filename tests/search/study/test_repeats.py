"""No candidate is trained twice, whatever proposes it, and a space that is used up ends the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.output.tables import read_rows
from search.pipeline.leaderboard import write_tables
from search.runs.directory import RunDirectory
from search.study.record import StudyRecord
from search.study.sampling.kinds import PATIENCE
from search.study.trials import is_rejected, reason_of, state_of
from tests.search.tiny import a_round, config_of, study_of
from trainables import Candidate
from trainables.trials.identity import identity_of

SIX: dict[str, Any] = {
    "model": {"width": {"choice": [4, 8, 12]}, "norm": "none"},
    "sparsity": {"float": [0.5, 0.7], "step": 0.2},
    "source": "real",
    "ipc": None,
}
"""Three widths of either pooling at two sparsities: twelve; with the pooling fixed, six."""


def opened(folder: Path, space: dict[str, Any], **search: Any) -> StudyRecord:
    return study_of(folder, config_of(folder, space=space, search=search))


def six(**model: Any) -> dict[str, Any]:
    return {**SIX, "model": {**SIX["model"], "pooling": "max", **model}}


def train(record: StudyRecord) -> Candidate | None:
    """Take the next candidate to its end and return it."""
    proposal = record.propose()
    if proposal is None:
        return None
    score = width(proposal.candidate) / 100 + proposal.candidate.sparsity / 10
    record.report(proposal.number, a_round(1, score, parameters_left=round(1000 * score)))
    record.finish(proposal.number, TrialState.COMPLETE, None)
    return proposal.candidate


def width(candidate: Candidate) -> int:
    return int(candidate.model.hyperparameters["width"])


def train_all(record: StudyRecord) -> list[Candidate]:
    found = []
    while (candidate := train(record)) is not None:
        found.append(candidate)
    return found


def identities(found: list[Candidate]) -> set[str]:
    return {identity_of(candidate, 3) for candidate in found}


@pytest.mark.parametrize("sampler", ["random", "tpe", "auto", "gp", "nsga2", "qmc", "grid", "stubborn:sampler"])
def test_a_small_space_is_tried_once_by_every_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    (tmp_path / "stubborn.py").write_text(
        "from optuna.samplers import RandomSampler\n\n\n"
        "class sampler(RandomSampler):\n"
        "    def sample_independent(self, study, trial, name, distribution):\n"
        "        return distribution.choices[0] if hasattr(distribution, 'choices') else distribution.low\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    record = opened(tmp_path, six(), sampler=sampler, trials=20)
    assert record.target == 6
    assert "has 6 candidates, fewer than the 20 trials of 'search.trials'" in str(record.used_up)
    found = train_all(record)
    assert len(found) == len(identities(found)) == 6
    assert "all 6 candidates of the space have been tried" in str(record.used_up)
    assert (record.target, record.ended, record.unfinished) == (6, 6, 0)
    assert record.counts().get("REPEATED", 0) <= 6 * PATIENCE


@pytest.mark.parametrize("objectives", [["score"], ["accuracy", "parameters"]])
@pytest.mark.parametrize("storage", [None, "database"])
def test_a_resumed_search_knows_what_was_tried(tmp_path: Path, objectives: list[str], storage: str | None) -> None:
    url = None if storage is None else f"sqlite:///{tmp_path}/study.db"
    settings = {"sampler": "tpe", "trials": 20, "objectives": objectives, "storage": url}
    found = []
    for _ in range(8):  # every driver is lost after one trial
        if (candidate := train(opened(tmp_path, six(), **settings))) is not None:
            found.append(candidate)
    assert len(found) == len(identities(found)) == 6
    assert opened(tmp_path, six(), **settings).unfinished == 0


def test_what_is_running_is_not_begun_again(tmp_path: Path) -> None:
    record = opened(tmp_path, six(), trials=20)
    begun = [record.propose() for _ in range(6)]
    assert len(identities([proposal.candidate for proposal in begun if proposal is not None])) == 6
    assert record.propose() is None
    assert record.unfinished == 6


def test_a_repeat_is_recorded_with_the_trial_that_it_repeats_and_costs_none(tmp_path: Path) -> None:
    points = [{"model": {"width": 8}, "sparsity": 0.5}, {"sparsity": 0.5, "model.width": 8}]
    record = opened(tmp_path, six(), trials=3, start={"points": points})
    found = train_all(record)
    assert len(found) == len(identities(found)) == 3
    repeat = record.trials()[1]
    assert (repeat.state, state_of(repeat), reason_of(repeat)) == (TrialState.PRUNED, "REPEATED", "repeats trial 0")
    assert is_rejected(repeat)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    write_tables(run, record.trials())
    row = read_rows(run.trials)[1]
    assert (row["state"], row["reason"], row["seconds"]) == ("REPEATED", "repeats trial 0", None)
    again = opened(tmp_path, six(), trials=3, start={"points": points})
    assert (again.counts(), again.unfinished) == (record.counts(), 0)


def test_a_point_that_leaves_something_open_is_completed_with_something_new(tmp_path: Path) -> None:
    record = opened(tmp_path, six(), trials=3, start={"points": [{"model": {"width": 12}}] * 2})
    found = train_all(record)
    assert len(identities(found)) == 3
    assert [width(candidate) for candidate in found[:2]] == [12, 12]


def test_choices_that_come_to_the_same_network_are_one_candidate(tmp_path: Path) -> None:
    # Batch size 60 and 600 are one, as the subset has six images; so is a keyword that is the default.
    space = {
        "model": {"width": {"choice": [4, 8]}, "pooling": "max", "norm": "none", "initialisation": "default"},
        "sparsity": 0.5,
        "source": "subset",
        "ipc": 2,
        "recipe": {"batch_size": {"choice": [60, 600]}},
    }
    record = opened(tmp_path, space, trials=9)
    assert record.target == 2
    assert len(train_all(record)) == 2


def test_sources_with_nothing_left_give_up_their_turns(tmp_path: Path) -> None:
    space = {
        "model": {"width": {"choice": [4, 8, 12]}, "pooling": "max"},
        "sparsity": 0.5,
        "ipc": {"choice": [1, 2], "when": {"source": "distilled"}},
    }
    record = opened(tmp_path, space, trials=30)
    found = train_all(record)
    # Three widths on real images, and on two sets each.
    assert [sum(one.source == source for one in found) for source in ("real", "distilled")] == [3, 6]
    assert len(identities(found)) == 9
    assert [one.source for one in found[:4]] == ["distilled", "real"] * 2


def test_a_range_that_makes_no_difference_ends_the_search(tmp_path: Path) -> None:
    space = six()
    space |= {"sparsity": 0.5, "recipe": {"optimizer": "adam", "momentum": {"float": [0.1, 0.9]}}}
    record = opened(tmp_path, space, trials=9)
    found = train_all(record)
    assert len(found) == len(identities(found)) == 3
    assert "no other candidate of the space was found" in str(record.used_up)
    assert opened(tmp_path, space, trials=9).unfinished == 0


def test_candidates_that_break_a_constraint_are_tried_once_too(tmp_path: Path) -> None:
    record = opened(tmp_path, six(), trials=20, constraints={"min_sparsity": 0.6})
    found = train_all(record)
    assert len(found) == 3
    assert all(candidate.sparsity == 0.7 for candidate in found)
    assert record.counts()["REJECTED"] == 3
    assert "all 6 candidates of the space have been tried" in str(record.used_up)


def test_a_large_space_has_its_full_number_of_trials(tmp_path: Path) -> None:
    record = opened(tmp_path, {}, trials=5)
    assert (record.target, record.used_up) == (5, None)
    assert len(train_all(record)) == 5
    assert set(record.counts()) == {"COMPLETE"}


def test_what_earlier_versions_trained_twice_stays_and_is_not_trained_a_third_time(tmp_path: Path) -> None:
    record = opened(tmp_path, six(), trials=20)
    first = train(record)
    stored = record.trials()[0]
    study = optuna.load_study(
        study_name=None,
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
        ),
    )
    study.add_trial(optuna.trial.create_trial(params=stored.params, distributions=stored.distributions,
                                              value=stored.value, user_attrs=stored.user_attrs))  # fmt: skip
    again = opened(tmp_path, six(), trials=20)
    assert again.counts() == {"COMPLETE": 2}
    found = train_all(again)
    assert len(found) == 5
    assert first not in found
