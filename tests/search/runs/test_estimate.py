"""What a run is said to take, against sums done by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.distillation import DISTILLERS, DistributionMatching
from dp_core.distillation.base import standardisation_of
from search.pipeline import estimate as module
from search.pipeline.estimate import estimate_search
from search.pipeline.preparation import Preparation, prepare
from search.pipeline.run import wanted_sets
from search.runs.estimate import Estimate, Phase, distilling_phases
from search.runs.timing import Speed, distilling_seconds, speed_of
from tests.search.tiny import config_of, write_images
from trainables import Candidate

# Three rounds (0, 50 and 75 % sparse) of four steps on real images.
ALONE: dict[str, Any] = {
    "space": {"sparsity": 0.75, "source": "real", "ipc": None, "recipe": {"learning_rate": {"float": [0.01, 0.02]}}},
    "search": {"trials": 10, "early_stopping": {"method": "none"}},
    "resources": {"concurrency": 2},
    "promote": {"top": 3, "audit": 0},
    "retrain": {"epochs": 5, "seeds": 2},
}


def prepared(folder: Path, **changes: Any) -> Preparation:
    if not (folder / "images").exists():
        write_images(folder / "images")
    return prepare(config_of(folder, **changes), "tiny.yaml", local=False)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every step take a tenth of a second and every image evaluated a hundredth."""
    monkeypatch.setattr(module, "speed_of", lambda *_: Speed(0.1, 0.01))


def phases(found: Estimate) -> dict[str, Phase]:
    return {phase.name: phase for phase in found.phases}


@pytest.mark.usefixtures("steady")
def test_screening_and_retraining_are_multiplied_out(tmp_path: Path) -> None:
    found = phases(estimate_search(prepared(tmp_path, **ALONE), {}))
    # 12 held-back images: a round is 0.4 + 0.12 + 0.05 s, a trial 1.71 s, ten of them two at a time 8.55 s.
    assert found["screening"].low == pytest.approx(0.9 * 8.55)
    assert found["screening"].high == pytest.approx(1.5 * 8.55)
    # 48 images in batches of 16: an epoch is 0.3 + 0.12 + 0.05 s, a model 5 of them and 15 test images: 2.5 s.
    assert found["retraining"].low == pytest.approx(0.7 * 6 * 2.5 / 2)
    assert found["retraining"].high == pytest.approx(1.5 * 3 * 2.5)
    assert "distilling" not in found


@pytest.mark.usefixtures("steady")
def test_a_space_of_fewer_candidates_has_no_more_trials(tmp_path: Path) -> None:
    few = {**ALONE["space"], "recipe": {"learning_rate": 0.01}, "model": {"width": {"choice": [2, 3, 4, 5]}}}
    preparation = prepared(tmp_path, **{**ALONE, "space": few})
    assert preparation.space.size() == 8  # by the norm, too
    assert phases(estimate_search(preparation, {}))["screening"].rests_on.startswith("8 trials, 2 at a time")


@pytest.mark.usefixtures("steady")
def test_a_search_that_stops_trials_may_take_less(tmp_path: Path) -> None:
    stopping = {**ALONE["search"], "early_stopping": {"first_round": 1, "reduction_factor": 2}}
    found = phases(estimate_search(prepared(tmp_path, **{**ALONE, "search": stopping}), {}))
    # Half go on after round 1, a quarter after round 2: 1.75 of 3 rounds.
    assert found["screening"].low == pytest.approx(0.9 * 8.55 * 1.75 / 3)
    assert found["screening"].low < found["screening"].high < 1.5 * 8.55


def test_what_cannot_be_trained_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Speed:
        raise RuntimeError("a network of the user's")

    monkeypatch.setattr(module, "speed_of", failing)
    found = estimate_search(prepared(tmp_path, **ALONE), {})
    assert found.unknown == ("screening", "retraining")


def test_norms_see_images_before_every_evaluation() -> None:
    assert Speed(0.1, 0.01, calibration=500).judged(100) == pytest.approx(6)


def test_real_steps_are_timed_and_threads_put_back(tmp_path: Path) -> None:
    preparation, threads = prepared(tmp_path, **ALONE), torch.get_num_threads()
    found = estimate_search(preparation, wanted_sets(preparation))
    assert 0 < phases(found)["screening"].low < phases(found)["screening"].high < 600
    assert found.low < found.high
    assert torch.get_num_threads() == threads


def test_a_step_takes_time(tmp_path: Path) -> None:
    preparation = prepared(tmp_path, **ALONE)
    candidate = Candidate.parse(next(preparation.space.corners()), 3)
    train = preparation.splits.train
    speed = speed_of(candidate.model, candidate.recipe, train, standardisation_of(train), 48, torch.device("cpu"))
    assert speed.step > 0
    assert speed.judged(10) > 0
    assert speed.calibration == 0, "it has no norms"


DM: dict[str, Any] = {"architectures": {"name": "convnet", "depth": 1, "width": 4}}


def test_distilling_is_multiplied_from_some_iterations(tmp_path: Path) -> None:
    splits = prepared(tmp_path, **ALONE).splits
    makers = [DistributionMatching(**DM, iterations=number) for number in (2_000, 200_000)]
    few, many = (distilling_seconds(maker, splits, 1, 0, 0.1) for maker in makers)
    assert few is not None
    assert many is not None
    assert 10 < many / few < 1000, "a hundred times as long"


def test_what_is_only_chosen_takes_no_time_worth_telling(tmp_path: Path) -> None:
    splits = prepared(tmp_path, **ALONE).splits
    assert distilling_phases([(DISTILLERS["random_images"](), 2)], splits, 0, 0.1) == ((), ())
    assert distilling_phases([], splits, 0, 0.1) == ((), ())


def test_an_estimate_in_words_and_as_data() -> None:
    parts = (Phase("distilling", 10, 20, "2 sets"), Phase("screening", 50, 100, "4 trials"))
    found = Estimate(parts, ("retraining",))
    assert list(found.lines()) == [
        "about 1 to 2 minutes in all, and retraining, of which nothing is known before",
        "distilling about 10 to 20 s: 2 sets",
        "screening about 0.83 to 1.7 minutes: 4 trials",
    ]
    spans = {"distilling": [10, 20], "screening": [50, 100]}
    assert found.to_dict() == {**spans, "total": None, "unknown": ["retraining"]}
    assert Estimate(parts).to_dict() == {**spans, "total": [60, 120], "unknown": []}
