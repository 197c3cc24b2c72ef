"""What the study says of a trial."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from search.study.trials import outcome_of, scale_of, stopped_early
from tests.search.tiny import a_round


@pytest.mark.parametrize(
    ("state", "reason", "outcome"),
    [
        (TrialState.COMPLETE, None, "finished"),
        (TrialState.PRUNED, stopped_early(3), "stopped early"),
        (TrialState.PRUNED, "layer 2 has no weights left", "collapsed"),
        (TrialState.FAIL, "the loss became nan", "failed"),
        (TrialState.RUNNING, None, "running"),
        (TrialState.WAITING, None, "running"),
    ],
)
def test_optunas_states_are_told_apart(state: TrialState, reason: str | None, outcome: str) -> None:
    assert outcome_of(state, reason) == outcome


@pytest.mark.parametrize(
    ("candidate", "rounds", "scale"),
    [
        ({}, [], None),
        ({"source": "subset", "ipc": 4}, [{"fidelity": "subset-1"}, {"fidelity": "subset-4"}], "subset-4"),
        ({"source": "real"}, [{"fidelity": "real"}, {"fidelity": "real-epochs-2"}], "real-epochs-2"),
        # From before rounds told with what they look.
        ({"source": "subset", "ipc": 4}, [{"score": 0.3}], "subset-4"),
        ({"ipc": 7}, [{"score": 0.3}], "distilled-7"),
        ({"source": "real", "ipc": 7}, [{"score": 0.3}], "real"),
    ],
)
def test_the_scale_of_a_score_is_what_its_last_round_looked_with(
    candidate: dict[str, Any], rounds: list[dict[str, Any]], scale: str | None
) -> None:
    told = ("round", "score", "proxy_accuracy", "proxy_loss", "sparsity", "density", "parameters_left", "flops_dense",
            "flops_remaining", "image_gradients", "seconds")  # fmt: skip
    kept = {
        f"round:{number:04d}": {**{name: getattr(a_round(number, 0.5), name) for name in told}, **row}
        for number, row in enumerate(rounds, start=1)
    }
    assert scale_of(create_trial(state=TrialState.FAIL, user_attrs={"candidate": candidate, **kept})) == scale
