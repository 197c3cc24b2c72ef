"""Methods that are controls of others, and the space of a method's images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dp_core.data.preprocessing import ZCA
from dp_core.distillation import DistilledSet
from dp_core.errors import UserError
from tests.search.comparison.tiny_comparison import methods, ready_made

BASE = {
    "dense": {"kind": "dense"},
    "snip": {"kind": "at_initialisation", "criterion": "snip"},
    "base": {"source": "subset", "ipc": 2, "steps": 4, "prune_fraction": 0.5},
}


def whitened() -> DistilledSet:
    return replace(ready_made(), preprocessing=ZCA(torch.zeros(192), torch.eye(192)))


def test_controls_have_what_they_need_of_their_parents() -> None:
    found = methods(
        {
            **BASE,
            "shuffled": {"kind": "shuffled", "of": "snip"},
            "reinitialised": {"kind": "reinitialised", "of": "base"},
            "rewound": {"kind": "rewound", "of": "base", "rewind_step": 2},
            "dense_rewound": {"kind": "rewound", "of": "dense", "rewind_epochs": 0.5},
        }
    )
    facts = {name: method.facts() for name, method in found.items()}
    assert (facts["shuffled"]["criterion"], facts["shuffled"]["parent"]) == ("snip", "snip")
    for name in ("reinitialised", "rewound"):
        assert facts[name] == {**facts["base"], "method": name, "family": name, "kind": name, "parent": "base"}
        assert found[name].sparsities == found["base"].sparsities
    assert found["rewound"].rewind_step == 2
    # Half an epoch of 48 images in batches of 16, in the final training.
    assert (found["dense_rewound"].rewind_step, found["dense_rewound"].sparsities) == (2, (0.0,))


def test_real_images_may_live_in_the_space_of_a_set() -> None:
    given = {"x": {"source": "subset", "ipc": 2, "steps": 4, "space": "mtt"}}
    assert methods(given, sets={"mtt": whitened()})["x"].space == "mtt"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"kind": "rewound", "of": "base"}, "a rewound control needs 'rewind_step' or 'rewind_epochs'."),
        ({"kind": "rewound", "of": "base", "rewind_step": 3}, "step 3 is not possible in a round of 3 steps."),
        ({"kind": "rewound", "rewind_step": 1}, "a rewound control needs 'of'"),
        ({"kind": "rewound", "of": "base", "rewind_step": 1, "ipc": 2}, "the key 'ipc' has no meaning"),
        ({"source": "real", "steps": 4, "rewind_epochs": 0.01}, "'rewind_epochs' of 0.01 is less than one step."),
        ({"source": "real", "steps": 4, "space": "mt"}, "'space' is for the sources real and subset"),
        ({"source": "mtt", "steps": 4, "space": "mtt"}, "'space' is for the sources real and subset"),
        ({"source": "mtt", "steps": 4, "rewind_step": 1}, "weights of whitened images cannot be rewound to"),
        ({"source": "real", "space": "mtt", "steps": 4, "rewind_step": 1}, "weights of whitened images cannot be"),
        ({"kind": "at_initialisation", "ipc": 2}, "without a source a method has no use for 'ipc'."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as told:
        methods({**BASE, "wrong": given}, sets={"mtt": whitened()})
    assert str(told.value).startswith("'methods.wrong': ")
    assert sentence in str(told.value)
