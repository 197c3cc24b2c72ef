"""Weights from early in training, the space of the rounds, and scores after few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dp_core.data.preprocessing import ZCA
from dp_core.pruning import Mask
from dp_core.seeds import derive_seed
from dp_core.training import Training, TrainingData
from tests.dp_core.small import same
from tests.trainables.driving import dataset, distilled_set
from tests.trainables.laboratory.comparisons import (
    CPU,
    DENSE,
    DISTILLED,
    RETRAINING,
    find,
    laboratory,
    method,
    train,
    untrained,
)
from trainables.laboratory import Cell

REWOUND = untrained("rewound", "rewound", parent="distilled", rewind_step=3, sparsities=DISTILLED.sparsities)
DENSE_REWOUND = untrained("dense_rewound", "rewound", parent="dense", rewind_step=3, sparsities=(0.0,))


def test_rewound_is_the_parents_mask_on_the_dense_networks_weights_at_that_step(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, [DENSE, DISTILLED, REWOUND, DENSE_REWOUND])
    model = lab.network("tiny", 0, CPU)
    order = derive_seed(lab.cell_seed("tiny", 0), "training", "rewinding")
    Training(model, lab.real_data(CPU), RETRAINING, seed=order, mask=Mask.ones(model)).run(3)
    parents = find(lab, "distilled").tickets
    find(lab, "dense")
    for name in ("rewound", "dense_rewound"):
        for target, ticket in find(lab, name).tickets.items():
            assert same(dict(ticket.weights), dict(model.state_dict()))
            assert ticket.provenance["start_step"] == 3
            if name == "rewound":
                assert same(dict(ticket.mask), dict(parents[target].mask))


def test_a_ticket_of_real_images_goes_on_from_the_step_that_it_was_rewound_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One step of 16 images of a round is one of the final training's nine.
    lab = laboratory(tmp_path, [method("imp", rewind_step=1), method("init"), replace(DISTILLED, rewind_step=1)])
    done: list[tuple[int, int | None]] = []
    run = Training.run

    def told(self: Training, steps: int | None = None) -> float:
        done.append((self.step, steps))
        return run(self, steps)

    monkeypatch.setattr(Training, "run", told)
    for name, first in (("imp", 1), ("init", 0), ("distilled", 0)):
        find(lab, name)
        done.clear()
        found = train(lab, name, 0.5)
        assert done[0][0] == first
        assert sum(steps or 0 for _, steps in done) == 9 - first
        assert found["train_image_gradients"] == 9 * 16  # with those before the ticket


def test_tickets_from_a_mask_start_from_weights_that_no_mask_has_touched(tmp_path: Path) -> None:
    combined = method("combined", parent="imp", start_sparsity=0.5, sparsities=(0.75,))
    shuffled = untrained("shuffled", "shuffled", parent="combined", sparsities=(0.75,))
    lab = laboratory(tmp_path, [method("imp"), combined, shuffled])
    find(lab, "imp")
    initial = dict(lab.network("tiny", 0, CPU).state_dict())
    for name in ("combined", "shuffled"):
        assert same(dict(find(lab, name).tickets[0.75].weights), initial)


def test_real_images_can_be_put_into_the_space_of_a_set(tmp_path: Path) -> None:
    images = dataset(16, 1).images.float() / 255
    whitened = replace(distilled_set(), preprocessing=ZCA.fit(images, 0.1))
    lab = laboratory(tmp_path, [DENSE], sets={"mtt": whitened})
    subset = method("subset", source="subset", images_per_class=2)
    plain, usual = lab.data(subset, 4, CPU)
    moved, space = lab.data(replace(subset, space="mtt"), 4, CPU)
    assert (usual, space) == (lab.space, whitened.preprocessing)
    assert isinstance(plain, TrainingData)
    assert isinstance(moved, TrainingData)
    assert torch.equal(plain.images, moved.images)  # the same draw
    torch.testing.assert_close(moved.batch(slice(None))[0], whitened.preprocess(plain.images.float() / 255))
    everything, space = lab.data(method("real", space="mtt"), 4, CPU)
    assert space is whitened.preprocessing
    assert len(everything) == 48


def test_a_damaged_state_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, other = (laboratory(tmp_path / name, [method("imp")]) for name in ("one", "two"))
    expected = find(lab, "imp")
    state = other.files.state(Cell("tiny", 0, "imp"), "search")
    state.mkdir(parents=True)
    (state / "state.pt").write_bytes(b"half")
    (state / "state.sha256").write_text("0" * 64)
    found = find(other, "imp")
    assert all(same(dict(found.tickets[at].mask), dict(one.mask)) for at, one in expected.tickets.items())
    assert not state.exists()
