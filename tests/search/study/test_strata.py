"""Sources take turns, and no trial is judged by trials of another source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.config.models import PromoteSection, SearchConfig
from search.retraining import promote
from search.space import Space
from search.study.record import StudyRecord
from search.study.strata import WithinSourcePruner, WithinSourceSampler, source_of

SPACE = {
    "model": {"name": "convnet", "width": {"choice": [4, 8]}},
    "sparsity": {"float": [0.5, 0.9]},
    "source": {"choice": ["distilled", "subset", "real"]},
    "ipc": {"choice": [1, 2], "when": {"source": ["distilled", "subset"]}},
}


def record(folder: Path, trials: int = 9, **search: Any) -> StudyRecord:
    config = SearchConfig.model_validate(
        {"run": {"name": "x"}, "data": {"root": "."}, "space": SPACE, "search": {"trials": trials, **search}}
    )
    return StudyRecord(folder / "study.journal", config, Space.parse(SPACE))


def row(score: float, round_: int) -> dict[str, Any]:
    return {"round": round_, "score": score}


def test_sources_take_turns_and_go_on_taking_them_after_a_restart(tmp_path: Path) -> None:
    first = record(tmp_path)
    proposed = [first.propose() for _ in range(4)]
    sources = [proposal.candidate["source"] for proposal in proposed if proposal]
    assert sources == ["distilled", "subset", "real", "distilled"]
    for proposal in proposed:
        assert proposal
        first.finish(proposal.number, TrialState.PRUNED, "stopped")
    second = record(tmp_path)
    assert [proposal.candidate["source"] for proposal in iter(second.propose, None) if proposal] == [
        "subset",
        "real",
        "distilled",
        "subset",
        "real",
    ]


def test_a_trial_that_was_enqueued_but_never_asked_for_is_the_next_and_is_counted_once(tmp_path: Path) -> None:
    first = record(tmp_path, trials=2)
    first._study.enqueue_trial({"source": "distilled"})  # what a driver killed between the two calls leaves
    second = record(tmp_path, trials=2)
    proposals = list(iter(second.propose, None))
    assert [(proposal.number, proposal.candidate["source"]) for proposal in proposals if proposal] == [
        (0, "distilled"),
        (1, "subset"),
    ]


def test_a_source_of_lower_scores_keeps_its_best_trials(tmp_path: Path) -> None:
    study = record(tmp_path, early_stopping={"method": "successive_halving", "first_round": 1, "reduction_factor": 2})
    numbers: dict[str, list[int]] = {"distilled": [], "subset": [], "real": []}
    for proposal in iter(study.propose, None):
        assert proposal
        numbers[proposal.candidate["source"]].append(proposal.number)
    assert {source: len(found) for source, found in numbers.items()} == {"distilled": 3, "subset": 3, "real": 3}
    for number, score in zip(numbers["real"], (0.9, 0.8, 0.7), strict=True):
        study.report(number, row(score, 1))
    # By hand: the first is alone at its rung and goes on, the second is better than it and goes on, the third is worse.
    assert [study.report(n, row(s, 1)) for n, s in zip(numbers["distilled"], (0.2, 0.3, 0.1), strict=True)] == [
        False,
        False,
        True,
    ]


def test_promotion_takes_the_best_of_each_source_before_the_second_of_any() -> None:
    def trial(number: int, source: str, score: float) -> FrozenTrial:
        space = optuna.distributions.CategoricalDistribution(["distilled", "subset", "real"])
        created = optuna.trial.create_trial(params={"source": source}, distributions={"source": space}, value=score)
        created.number = number
        return created

    trials = [
        trial(0, "real", 0.9),
        trial(1, "real", 0.8),
        trial(2, "distilled", 0.3),
        trial(3, "distilled", 0.4),
        trial(4, "subset", 0.1),
    ]
    assert promote(trials, PromoteSection(top=3)) == [0, 3, 4]
    assert promote(trials, PromoteSection(top=4)) == [0, 3, 4, 1]
    assert promote(trials, PromoteSection(top=9)) == [0, 3, 4, 1, 2]


class _Spy(RandomSampler):
    def __init__(self) -> None:
        super().__init__(seed=0)
        self.seen: list[list[str | None]] = []

    def sample_independent(self, study: Study, trial: FrozenTrial, *rest: Any) -> Any:
        self.seen.append([source_of(other) for other in study.get_trials(deepcopy=False)])
        return super().sample_independent(study, trial, *rest)


class _SpyPruner(BasePruner):
    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self.seen = [source_of(other) for other in study.get_trials(deepcopy=False)]
        return False


@pytest.mark.parametrize("source", ["distilled", "real"])
def test_samplers_and_pruners_see_one_source(source: str) -> None:
    made: list[_Spy] = []

    def make(source: str | None) -> _Spy:
        made.append(_Spy())
        return made[-1]

    pruner = _SpyPruner()
    study = optuna.create_study(
        direction="maximize", sampler=WithinSourceSampler(make), pruner=WithinSourcePruner(pruner)
    )
    for each in ("distilled", "real", "distilled", "real", source):
        study.enqueue_trial({"source": each})
        trial = study.ask()
        trial.suggest_categorical("source", ["distilled", "subset", "real"])
        trial.suggest_float("sparsity", 0.5, 0.9)
        trial.report(0.5, 1)
        trial.should_prune()
    assert pruner.seen == [source] * 3
    assert len(made) == 2, "one sampler for each source that was met"
    assert all(len(set(view)) == 1 for spy in made for view in spy.seen)
