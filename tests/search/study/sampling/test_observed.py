"""What trials have had of a conditional space."""

from __future__ import annotations

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from search.study.sampling.observed import Branches, Points
from search.study.sampling.parzen import Box

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["a", "b"]),
    "x": FloatDistribution(0, 1),
    "y": FloatDistribution(0, 1),
    "one": CategoricalDistribution(["only"]),
}


def trial(**params: object) -> FrozenTrial:
    return create_trial(value=0.0, params=params, distributions={name: DISTRIBUTIONS[name] for name in params})


def test_parameters_that_trials_have_together_share_a_box() -> None:
    branches = Branches()
    assert branches.learn(trial(kind="a", x=0.1, y=0.2, one="only"))
    assert [list(box.space) for box in branches.boxes] == [["kind", "x", "y"]]
    assert branches.learn(trial(kind="b", x=0.1, one="only"))
    assert [list(box.space) for box in branches.boxes] == [["kind", "x"], ["y"]]
    assert branches.places == {"kind": 0, "x": 0, "y": 1}
    assert not branches.learn(trial(kind="b", x=0.3, one="only"))


def test_a_box_has_the_points_of_trials_that_have_all_of_it() -> None:
    points = Points()
    points.append(trial(kind="a", x=0.1, y=0.2))
    points.append(trial(kind="b", x=0.3))
    points.append(trial(kind="a", x=0.5, y=0.6))
    box = Box({name: DISTRIBUTIONS[name] for name in ("kind", "y")})
    np.testing.assert_array_equal(points.of(box, [0, 1, 2]), [[0, 0.2], [0, 0.6]])
    more = points.rows([trial(kind="b", y=0.9), trial(kind="b", x=0.9)])
    np.testing.assert_array_equal(points.of(box, [2], more), [[0, 0.6], [1, 0.9]])
    assert points.of(box, [1]).shape == (0, 2)


def test_more_trials_and_parameters_than_there_was_room_for() -> None:
    points = Points()
    for number in range(200):
        params = {f"p{number % 40}": number / 200}
        distributions: dict[str, BaseDistribution] = {name: FloatDistribution(0, 1) for name in params}
        points.append(create_trial(value=0.0, params=params, distributions=distributions))
    box = Box({"p7": FloatDistribution(0, 1)})
    assert points.of(box, range(200)).ravel().tolist() == [number / 200 for number in range(7, 200, 40)]
