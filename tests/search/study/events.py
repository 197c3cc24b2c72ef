"""A small study, told event by event to a durable record, and what a record says of it."""

from __future__ import annotations

from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.storage.store import TrialStore

CANDIDATE = {"model": {"name": "convnet"}, "sparsity": 0.625}
DISTRIBUTIONS = {"sparsity": FloatDistribution(0.5, 0.8), "source": CategoricalDistribution(["distilled", "real"])}
PARAMS = {"sparsity": 0.625, "source": "real"}


def proposal(**changes: Any) -> FrozenTrial:
    """Return a trial as it is when it was proposed."""
    settings = {
        "state": TrialState.RUNNING,
        "params": PARAMS,
        "distributions": DISTRIBUTIONS,
        "user_attrs": {"candidate": CANDIDATE},
    }
    return create_trial(**{**settings, **changes})


def tell(store: TrialStore) -> None:
    """Tell of four trials: 0 complete, 1 pruned, 2 failed and 3 running, with two rounds, one, none and one."""
    assert [store.add(proposal()) for _ in range(4)] == [0, 1, 2, 3]
    store.keep_round(0, "round:0001", {"score": 0.25}, 1, 0.25)
    store.keep_round(1, "round:0001", {"score": 0.125}, 1, 0.125)
    store.keep_round(0, "round:0002", {"score": 0.75}, 2, 0.75)
    store.end(1, TrialState.PRUNED, None, {"reason": "others were better"}, {})
    store.end(0, TrialState.COMPLETE, [0.75], {}, {"latency": -0.5, "flops": -2.0})
    store.end(2, TrialState.FAIL, None, {"reason": "nan"}, {})
    store.keep_round(3, "round:0001", {"score": None}, 1, None)


def said(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """Return what a record says of its trials, times apart."""
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "params": trial.params,
            "user": trial.user_attrs,
            "system": trial.system_attrs,
            "steps": trial.intermediate_values,
        }
        for trial in trials
    ]


def expected() -> list[dict[str, Any]]:
    """Return what a record has to say of what was told."""
    told: list[tuple[str, list[float] | None, dict[str, Any], dict[str, float], dict[int, float]]] = [
        (
            "COMPLETE",
            [0.75],
            {"round:0001": {"score": 0.25}, "round:0002": {"score": 0.75}},
            {"constraints:latency": -0.5, "constraints:flops": -2.0},
            {1: 0.25, 2: 0.75},
        ),
        ("PRUNED", None, {"round:0001": {"score": 0.125}, "reason": "others were better"}, {}, {1: 0.125}),
        ("FAIL", None, {"reason": "nan"}, {}, {}),
        ("RUNNING", None, {"round:0001": {"score": None}}, {}, {}),
    ]
    return [
        {
            "number": number,
            "state": state,
            "values": values,
            "params": PARAMS,
            "user": {"candidate": CANDIDATE, **user},
            "system": system,
            "steps": steps,
        }
        for number, (state, values, user, system, steps) in enumerate(told)
    ]
