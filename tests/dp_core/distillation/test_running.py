"""The loop of all iterative distillers, on an objective whose course is worked out by hand."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dp_core.distillation.base import Workspace
from dp_core.distillation.broken import Broken
from dp_core.distillation.checkpoint import load_states, save_state
from dp_core.distillation.identity import Identity
from dp_core.distillation.learned_rate import LearnedRate
from dp_core.distillation.length import Length
from dp_core.distillation.recovery import DistillationDiverged
from dp_core.distillation.running import Choice, Outcome, Running
from dp_core.distillation.synthetic import Synthetic
from dp_core.errors import UserError
from dp_core.seeds import generator
from dp_core.training.schedule import SCHEDULES
from tests.dp_core.data.shard_files import files_in
from tests.dp_core.small import same

NEWEST, PREVIOUS = "state.safetensors", "state.previous.safetensors"


def nothing(*_: object) -> None:
    """Go on."""


class Bowl:
    """½ Σ x², whose step is x ← (1 − rate)·x; not a number where an image is beyond `edge`, or at `fails`."""

    def __init__(self, edge: float = float("inf"), fails: Mapping[int, float] | None = None) -> None:
        self.image_gradients = 0
        self.edge, self.fails = edge, dict(fails or {})
        self.before: Callable[[int], None] = nothing

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        self.before(iteration)
        assert synthetic.images.grad is None
        self.image_gradients += len(synthetic.images)
        loss = 0.5 * synthetic.images.square().sum()
        loss.backward()
        bad = bool(synthetic.images.detach().abs().max() > self.edge)
        if self.fails.get(iteration, 0) > 0:
            self.fails[iteration] -= 1
            bad = True
        return float("nan") if bad else loss.item()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class Wandering:
    """Pulls the images towards a place that walks at random and is carried from step to step.

    The eighth step is not finite if the one before it moved an image by more than `STRIDE`.
    """

    STRIDE = 0.15

    def __init__(self) -> None:
        self.image_gradients = 0
        self.before: Callable[[int], None] = nothing
        self.place = torch.zeros(4, 1, 1, 1)
        self.seen = torch.zeros(4, 1, 2, 2)
        self.scales: list[float] = []

    def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
        self.scales.append(scale)
        self.before(iteration)
        assert synthetic.rate is not None
        self.place = self.place + torch.randn(4, 1, 1, 1, generator=generator(0, "walk", iteration))
        loss = (synthetic.images - self.place).square().mean() + synthetic.probabilities().square().sum()
        loss.backward()
        synthetic.rate.follow(2 * (synthetic.rate.value - 0.5))
        self.image_gradients += 4
        stride = (synthetic.images.detach() - self.seen).abs().max().item()
        self.seen = synthetic.images.detach().clone()
        return float("inf") if iteration == 7 and stride > self.STRIDE else loss.item()

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place.clone(), "seen": self.seen.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.place, self.seen = state["place"].clone(), state["seen"].clone()


def ones(*, learns: bool = False) -> Synthetic:
    rate = LearnedRate(0.01, 0.5, "sgd") if learns else None
    return Synthetic(torch.ones(4, 1, 2, 2), torch.tensor([0, 0, 1, 1]), 2, learn_labels=learns, rate=rate)


class Case:
    """A distillation and what was seen of it."""

    def __init__(
        self,
        objective: Bowl | Wandering,
        workspace: Workspace | None = None,
        *,
        rate: float = 0.5,
        iterations: int = 8,
        schedule: str = "constant",
        choice: Choice | None = None,
        identity: str = "this",
        folder: Path | None = None,
        every: int = 2,
    ) -> None:
        self.said: list[str] = []
        self.shown: list[int] = []
        self.done: list[int] = []
        self.objective = objective
        self.synthetic = ones(learns=isinstance(objective, Wandering))
        groups = [{"params": [leaf], "name": name} for name, leaf in self.synthetic.leaves().items()]
        sizes = dict.fromkeys(self.synthetic.leaves(), rate)
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(groups) if isinstance(objective, Wandering) else torch.optim.SGD(groups)
        )
        space = workspace or Workspace(
            progress=lambda done, total, loss: self.done.append(done),
            say=self.said.append,
            folder=folder,
            checkpoint_every=every,
        )
        self.running = Running(
            self.synthetic,
            objective,
            self.optimizer,
            lambda: sizes,
            Length(iterations),
            SCHEDULES[schedule],
            choice,
            Identity(f"{identity} at {rate}", identity, {"image_rate": rate}),
            space,
        )

    def run(self) -> Outcome:
        return self.running.run(self.shown.append)

    @property
    def value(self) -> float:
        """What all pixels of all images are."""
        assert bool((self.synthetic.images == self.synthetic.images.flatten()[0]).all())
        return self.synthetic.images.flatten()[0].item()


# --- steps ---


def test_every_step_follows_the_gradient_at_the_schedules_rate() -> None:
    case = Case(Bowl(), rate=0.5, iterations=4, schedule="half_step")
    outcome = case.run()
    # Rates 0.5, 0.5, 0.05, 0.05; 16 pixels of value x have the loss 8·x².
    places = [1, 0.5, 0.25, 0.25 * 0.95, 0.25 * 0.95**2]
    assert case.value == pytest.approx(places[-1])
    assert outcome.losses == pytest.approx([8 * place**2 for place in places[:4]])
    assert (outcome.image_gradients, outcome.divergences, outcome.iteration, outcome.score) == (16, 0, 4, None)
    assert outcome.seconds > 0


def test_progress_and_snapshots_come_when_they_are_due(tmp_path: Path) -> None:
    case = Case(Bowl(), iterations=8, every=3, folder=tmp_path)
    case.run()
    assert case.done == [1, 2, 3, 4, 5, 6, 7, 8]
    assert case.shown == [3, 6, 8]
    kept = load_states(tmp_path)
    assert [state["iteration"] for state in kept if isinstance(state, dict)] == [8, 6]


# --- divergence ---


def test_a_divergence_is_taken_back_and_the_steps_are_halved() -> None:
    seen: list[tuple[int, float]] = []
    case = Case(Bowl(edge=50), rate=5, iterations=8, every=2)
    case.objective.before = lambda iteration: seen.append((iteration, case.optimizer.param_groups[0]["lr"]))
    outcome = case.run()
    # At rate 5 a step multiplies by -4: 1, -4, 16, -64, which is beyond the edge when iteration 4 (from 1 on) looks.
    # From 16 at 2.5, a factor of -1.5: -24, 36, -54. From 36 at 1.25, a factor of -1/4: -9, 2.25, -0.5625, 0.140625.
    rates = [(0, 5.0), (1, 5.0), (2, 5.0), (3, 5.0)]
    rates += [(2, 2.5), (3, 2.5), (4, 2.5), (5, 2.5)]
    rates += [(4, 1.25), (5, 1.25), (6, 1.25), (7, 1.25)]
    assert seen == rates
    assert case.value == 36 / 4**4
    assert outcome.losses == tuple(8 * x**2 for x in (1, 4, 16, 24, 36, 9, 2.25, 0.5625))
    assert outcome.divergences == 2
    assert case.said == [
        "diverged at iteration 4, as the loss is nan: back to iteration 2, with all steps 0.5 times as large",
        "diverged at iteration 6, as the loss is nan: back to iteration 4, with all steps 0.25 times as large",
    ]
    assert outcome.image_gradients == 4 * len(rates)  # also what was taken back has cost


def test_after_the_third_halving_the_distillation_gives_up() -> None:
    seen: list[float] = []
    case = Case(Bowl(fails={3: float("inf")}), rate=0.8, every=2)
    case.objective.before = lambda iteration: seen.append(case.optimizer.param_groups[0]["lr"])
    with pytest.raises(
        DistillationDiverged,
        match=r"^The distillation diverged again at iteration 4, though all its steps had been halved 3 times: "
        r"the loss is nan\. Take a smaller image_rate\.$",
    ):
        case.run()
    # From iteration 2 twice, then from the one before it, which comes to another iteration 2.
    assert seen == [0.8] * 4 + [0.4] * 2 + [0.2] * 4 + [0.1] * 2


def test_three_divergences_are_survived_wherever_they_are() -> None:
    case = Case(Bowl(fails={1: 1, 3: 1, 7: 1}), rate=0.5, every=2)
    outcome = case.run()
    # Two steps at 1/4, then from iteration 2 four at 1/8, and the last two at 1/16.
    assert case.value == pytest.approx(0.75**2 * 0.875**4 * 0.9375**2)
    assert outcome.divergences == 3
    assert len(outcome.losses) == 8


def test_where_no_step_leads_to_what_is_broken_it_goes_back_further() -> None:
    case = Case(Bowl(fails={4: 1}), rate=0.5, every=2)
    outcome = case.run()
    assert case.value == pytest.approx(0.5**2 * 0.75**6)  # iteration 4 is the first from the checkpoint there
    assert outcome.losses[:3] == pytest.approx([8, 8 * 0.25, 8 * 0.25**2])
    assert "back to iteration 2, with all steps 0.5 times" in case.said[0]


def test_where_there_is_no_step_to_make_smaller_that_is_said_at_once() -> None:
    seen: list[int] = []
    case = Case(Bowl(fails={0: float("inf")}), rate=0.5, every=2)
    case.objective.before = seen.append
    with pytest.raises(
        DistillationDiverged,
        match=r"^The distillation cannot do iteration 1, whatever the size of its steps: the loss is nan\. Take a ",
    ):
        case.run()
    assert seen == [0]


def test_all_steps_are_halved_and_the_objective_is_told() -> None:
    objective = Wandering()
    case = Case(objective, rate=0.5)
    case.run()
    rates = {group["name"]: group["lr"] for group in case.optimizer.param_groups}
    assert rates == {"images": 0.125, "logits": 0.125, "log_rate": 0.125}
    assert (objective.scales[0], objective.scales[-1]) == (1, 0.25)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "the loss is nan"),
        (float("inf"), "the loss is inf"),
        (2e5, r"the images have values of 1.88e\+05, beyond the 65504 that can be stored"),
    ],
)
def test_images_that_cannot_be_stored_are_a_divergence(value: float, reason: str) -> None:
    case = Case(Bowl(), iterations=1)

    def spoil(iteration: int) -> None:
        with torch.no_grad():
            case.synthetic.images[0, 0, 0, 0] = value

    case.objective.before = spoil
    with pytest.raises(DistillationDiverged, match=f"iteration 1, .*: {reason}"):
        case.run()


def test_what_an_objective_says_is_broken_is_the_reason() -> None:
    case = Case(Bowl())

    def breaking(iteration: int) -> None:
        if iteration == 3:
            raise Broken("its network sees nothing", "another network")

    case.objective.before = breaking
    with pytest.raises(DistillationDiverged, match=r"at iteration 4, .*: its network sees nothing\. Take another net"):
        case.run()


# --- which state is kept ---


def test_the_state_of_the_highest_score_is_kept() -> None:
    scores = iter([0.3, 0.8, 0.5, 0.8])
    case = Case(Bowl(), choice=Choice(lambda synthetic: next(scores), every=2))
    outcome = case.run()
    assert (outcome.iteration, outcome.score) == (4, 0.8)  # the first of two that are equal
    assert case.value == 0.5**4
    assert len(outcome.losses) == 8


def test_the_last_state_is_looked_at_too() -> None:
    looked: list[float] = []

    def score(synthetic: Synthetic) -> float:
        looked.append(-synthetic.images.flatten()[0].item())
        return looked[-1]

    outcome = Case(Bowl(), choice=Choice(score, every=3)).run()
    assert looked == [-(0.5**3), -(0.5**6), -(0.5**8)]
    assert outcome.iteration == 8


def test_a_score_that_was_taken_back_does_not_count() -> None:
    # The state at iteration 3 of the course that diverges scores highest, but it is no longer on the way.
    case = Case(Bowl(edge=50), rate=5, every=2, choice=Choice(lambda s: s.images.abs().flatten()[0].item(), every=1))
    outcome = case.run()
    assert (outcome.iteration, outcome.score, case.value) == (4, 36.0, 36.0)


# --- interruption ---


class Killed(Exception):
    pass


def killer(at: int) -> Callable[..., None]:
    """Return what raises when it is called for the `at`th time."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed

    return count


def in_the_end(case: Case, folder: Path) -> tuple[Any, ...]:
    """Run and return all that there is at the end but the time that it took."""
    outcome = case.run()
    state = load_states(folder)[0]
    assert isinstance(state, dict)
    del state["seconds"]
    return (
        {name: leaf.detach() for name, leaf in case.synthetic.leaves().items()},
        case.optimizer.state_dict()["state"],
        (outcome.losses, outcome.image_gradients, outcome.divergences, outcome.iteration, outcome.score),
        state,
    )


def wandering(folder: Path, before: Callable[..., None] = nothing, progress: Callable[..., None] = nothing) -> Case:
    objective = Wandering()
    objective.before = before
    space = Workspace(progress=progress, folder=folder, checkpoint_every=3)
    choice = Choice(lambda synthetic: synthetic.images.std().item(), every=2)
    return Case(objective, space, iterations=10, rate=0.5, schedule="cosine", choice=choice)


@pytest.mark.parametrize("place", ["objective", "progress", "snapshot"])
def test_a_killed_distillation_goes_on_to_the_same_end_bit_for_bit(tmp_path: Path, place: str) -> None:
    whole = in_the_end(wandering(tmp_path / "whole"), tmp_path / "whole")
    assert whole[2][2] == 1  # it diverges once on its way
    at = 0
    while True:
        at += 1
        folder = tmp_path / f"killed at {at}"
        calls: dict[str, Callable[..., None]] = {"objective": nothing, "progress": nothing, "snapshot": nothing}
        calls[place] = killer(at)
        try:
            wandering(folder, calls["objective"], calls["progress"]).running.run(calls["snapshot"])
        except Killed:
            assert same(in_the_end(wandering(folder), folder), whole)
        else:
            break
    # Ten iterations and checkpoints at 3, 6, 9 and 10; those at 7 and 8 (from 1 on) were taken back once, the one at 7
    # after it had told its progress.
    assert at - 1 == {"objective": 12, "progress": 11, "snapshot": 4}[place]


def test_a_distillation_may_be_killed_again_and_again(tmp_path: Path) -> None:
    whole = in_the_end(wandering(tmp_path / "whole"), tmp_path / "whole")
    kills = 0
    while True:
        try:
            found = in_the_end(wandering(tmp_path / "killed", killer(6)), tmp_path / "killed")
            break
        except Killed:
            kills += 1
    assert kills == 3
    assert same(found, whole)


def test_a_finished_distillation_is_not_done_again(tmp_path: Path) -> None:
    case = Case(Bowl(), folder=tmp_path)
    outcome = case.run()
    again = Case(Bowl(fails=dict.fromkeys(range(8), 9)), folder=tmp_path)
    found = again.run()
    assert (found.losses, found.image_gradients) == (outcome.losses, 32)
    assert again.value == case.value
    assert (again.done, again.shown) == ([], [])
    assert again.said == ["goes on from iteration 8 of 8"]


def stopped_at_7(folder: Path) -> None:
    """Leave the checkpoints of iterations 6 and 4."""
    case = Case(Bowl(), folder=folder)
    case.objective.before = killer(8)
    with pytest.raises(Killed):
        case.run()
    assert sorted(files_in(folder)) == [PREVIOUS, NEWEST]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_checkpoint_before_a_damaged_one_is_taken_and_it_is_said(tmp_path: Path) -> None:
    stopped_at_7(tmp_path)
    damage(tmp_path / NEWEST)
    case = Case(Bowl(), folder=tmp_path)
    case.run()
    assert case.done == [5, 6, 7, 8]
    assert case.value == 0.5**8
    assert case.said == [
        f"{tmp_path / NEWEST} does not match its own digest, and is not used",
        "goes on from iteration 4 of 8",
    ]


def test_where_all_checkpoints_are_damaged_it_starts_over(tmp_path: Path) -> None:
    stopped_at_7(tmp_path)
    damage(tmp_path / PREVIOUS)
    (tmp_path / NEWEST).write_bytes(b"")
    case = Case(Bowl(), folder=tmp_path)
    case.run()
    assert case.done == list(range(1, 9))
    assert case.value == 0.5**8
    assert case.said == [
        f"{tmp_path / NEWEST} is not a readable checkpoint, and is not used",
        f"{tmp_path / PREVIOUS} does not match its own digest, and is not used",
        "starts over: no checkpoint can be used",
    ]


def test_other_step_sizes_are_taken_from_the_checkpoint_on(tmp_path: Path) -> None:
    stopped_at_7(tmp_path)  # at the rate 0.5
    case = Case(Bowl(), rate=0.25, folder=tmp_path)
    outcome = case.run()
    assert case.value == 0.5**6 * 0.75**2
    assert outcome.changes == ({"until_iteration": 6, "image_rate": 0.5},)
    assert case.said == ["goes on from iteration 6 of 8"]


def test_a_checkpoint_from_before_the_logarithm_of_the_rate_is_gone_on_from(tmp_path: Path) -> None:
    def case(folder: Path, before: Callable[..., None] = nothing) -> Case:
        objective = Wandering()
        objective.before = before
        return Case(objective, rate=0.01, iterations=6, folder=folder)

    with pytest.raises(Killed):
        case(tmp_path, killer(6)).run()
    state = load_states(tmp_path)[0]
    assert isinstance(state, dict)
    reached = state["synthetic"].pop("log_rate").exp()
    for name in ("lasting", "step_sizes", "changes"):
        del state[name]
    save_state(tmp_path, {**state, "synthetic": {**state["synthetic"], "rate": reached.float()}})
    with pytest.raises(UserError, match="holds the checkpoint of another distillation"):
        Case(Wandering(), rate=0.02, iterations=6, folder=tmp_path).run()
    found = case(tmp_path)
    assert found.run().changes == ()
    assert found.said == ["goes on from iteration 4 of 6"]
    whole = case(tmp_path / "whole")
    whole.run()
    assert found.synthetic.rate is not None
    assert whole.synthetic.rate is not None
    assert found.synthetic.rate.value == pytest.approx(whole.synthetic.rate.value, rel=1e-6)


def test_with_other_step_sizes_none_is_halved_yet(tmp_path: Path) -> None:
    case = Case(Bowl(fails={1: 1, 3: float("inf")}), rate=0.8, folder=tmp_path)
    with pytest.raises(DistillationDiverged):
        case.run()
    seen: list[float] = []
    again = Case(Bowl(), rate=0.1, folder=tmp_path)
    again.objective.before = lambda iteration: seen.append(again.optimizer.param_groups[0]["lr"])
    assert again.run().divergences > 0
    assert set(seen) == {0.1}


def going_further_back(folder: Path, before: Callable[..., None] = nothing) -> Case:
    """Return a distillation whose seventh iteration is not finite until it comes from iteration 3 at a quarter."""

    class Poisoned(Bowl):
        def __call__(self, synthetic: Synthetic, iteration: int, scale: float) -> float:
            loss = super().__call__(synthetic, iteration, scale)
            return float("nan") if iteration == 7 and scale > 0.25 else loss

    objective = Poisoned()
    objective.before = before
    return Case(objective, rate=0.5, iterations=10, every=3, folder=folder)


def test_a_distillation_that_goes_further_back_ends_the_same_when_it_is_killed(tmp_path: Path) -> None:
    seen: list[int] = []
    whole = going_further_back(tmp_path / "whole", seen.append)
    expected = in_the_end(whole, tmp_path / "whole")
    # Iteration 7 comes twice from the checkpoint at 6, and then from that at 3.
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 6, 7, 3, 4, 5, 6, 7, 8, 9]
    assert whole.value == pytest.approx(0.5**3 * 0.875**7)
    for at in range(1, len(seen) + 1):
        folder = tmp_path / f"killed at {at}"
        with pytest.raises(Killed):
            going_further_back(folder, killer(at)).run()
        assert same(in_the_end(going_further_back(folder), folder), expected)


def test_a_checkpoint_of_another_distillation_is_refused(tmp_path: Path) -> None:
    stopped_at_7(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=f"^{tmp_path} holds the checkpoint of another distillation: remove it or"):
        Case(Bowl(), folder=tmp_path, identity="another").run()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Case(Bowl()).run()
    assert files_in(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_the_checkpoints_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    case = Case(Bowl(), folder=tmp_path)
    case.objective.before = lambda iteration: monkeypatch.setattr(os, "fsync", full) if iteration == 5 else None
    with pytest.raises(UserError, match=f"^There is no room left on the disk for {tmp_path / NEWEST}"):
        case.run()
    monkeypatch.undo()
    assert sorted(files_in(tmp_path)) == [PREVIOUS, NEWEST]
    assert [state["iteration"] for state in load_states(tmp_path) if isinstance(state, dict)] == [4, 2]
    rest = Case(Bowl(), folder=tmp_path)
    rest.run()
    assert (rest.done, rest.value) == ([5, 6, 7, 8], 0.5**8)
