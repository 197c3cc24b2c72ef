"""Trajectory matching and its forms, TESLA and DATM; the gradients themselves are tested in test_unrolling.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from dp_core.data import ImageDataset
from dp_core.distillation import DATM, DistilledSet, Tesla, TrajectoryMatching
from dp_core.distillation.base import Workspace, standardisation_of
from dp_core.distillation.experts import ExpertBuffer, ExpertLibrary
from dp_core.distillation.inner_gradient import InnerGradient, InnerMode, Parameters
from dp_core.distillation.trajectory_matching import matching_loss, squared_distance
from dp_core.errors import UserError
from dp_core.models import ModelSpec, build
from tests.dp_core.small import CLASSES, SHAPE, random_dataset

TINY = {"name": "convnet", "depth": 1, "width": 4, "norm": "instance"}
EXPERTS = {"experts": 2, "epochs": 3, "batch_size": 8, "learning_rate": 0.1, "precision": "float32", "mode": "eager"}
SETTINGS: dict[str, Any] = {
    "iterations": 3,
    "image_rate": 10.0,
    "steps": 3,
    "expert_epochs": 1,
    "max_start_epoch": 2,
    "learned_rate_start": 0.1,
    "augmentation": "none",
    "architectures": TINY,
    "experts": EXPERTS,
    "mode": "eager",
}
EARLY: dict[str, Any] = {**SETTINGS, "first_max_start_epoch": 1}
STILL: dict[str, Any] = {"image_rate": 1e-20, "learned_rate_rate": 1e-20}  # steps that change nothing


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of experts that the tests of this file share, of every set of settings those of its own."""
    return tmp_path_factory.mktemp("experts")


def distil(
    distiller: TrajectoryMatching, folder: Path, ipc: int = 4, source: ImageDataset | None = None, **workspace: Any
) -> tuple[DistilledSet, list[float]]:
    losses: list[float] = []
    told = Workspace(progress=lambda _done, _total, loss: losses.append(loss), experts=folder, **workspace)
    return distiller.distill(source or random_dataset(), ipc, 0, told), losses


def buffer_of(distiller: TrajectoryMatching, folder: Path) -> ExpertBuffer:
    source = random_dataset()
    return ExpertLibrary(folder).get(distiller.plan(0), source, standardisation_of(source))


def start_images(distiller: TrajectoryMatching, folder: Path) -> Tensor:
    """Return the real images that a distillation begins with."""
    made, _ = distil(replace(distiller, iterations=1, **STILL), folder)
    real = made.preprocess(random_dataset().images / 255)
    return torch.cat([real[(real.half().float() == image).all(dim=(1, 2, 3))] for image in made.images])


# --- an iteration ---


def plain_loss(begin: Parameters, goal: Parameters, images: Tensor, labels: Tensor, rate: float, steps: int) -> float:
    """The paper's Eq. 2 after a training by torch's own optimiser."""
    model = build(ModelSpec.from_dict(TINY), SHAPE, CLASSES, seed=0)
    model.load_state_dict(dict(begin))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    apart = sum((value - goal[name]).square().sum() for name, value in model.state_dict().items())
    return float(apart / sum((begin[name] - goal[name]).square().sum() for name in goal))


@pytest.mark.parametrize("kind", [TrajectoryMatching, Tesla])
def test_the_loss_is_that_of_a_plain_training_from_one_epoch_of_an_expert_to_a_later_one(
    kind: type[TrajectoryMatching], experts: Path
) -> None:
    distiller = kind(**{**SETTINGS, **STILL, "iterations": 12, "expert_epochs": 2, "learned_rate_start": 0.05})
    distiller = replace(distiller, max_start_epoch=2)
    _, losses = distil(distiller, experts)
    images, labels = start_images(distiller, experts), torch.arange(CLASSES).repeat_interleave(4)
    buffer = buffer_of(distiller, experts)
    candidates = {
        (expert, epoch): plain_loss(
            buffer.parameters(expert, epoch), buffer.parameters(expert, epoch + 2), images, labels, 0.05, 3
        )
        for expert in (0, 1)
        for epoch in (0, 1)
    }
    met = set()
    for loss in losses:
        nearest, value = min(candidates.items(), key=lambda candidate: abs(candidate[1] - loss))
        assert loss == pytest.approx(value, rel=1e-4)
        met.add(nearest)
    assert met == set(candidates)  # of twelve draws, all of four


def test_image_gradients_count_three_passes_a_step(experts: Path) -> None:
    made, _ = distil(TrajectoryMatching(**{**SETTINGS, "batch_size": 5}), experts)
    # Once forwards, and backwards an image whose gradient is differentiated again counts twice.
    assert made.provenance["cost"]["image_gradients"] == 3 * 3 * 5 * 3
    # Two experts saw each of the real images in each of three epochs; they may be another set's, too.
    assert made.provenance["experts"] == {"image_gradients": 2 * 3 * len(random_dataset())}


def test_matching_loss_worked_out_by_hand() -> None:
    begin = {"a": torch.tensor([0.0, 0.0]), "b": torch.tensor([[1.0]])}
    goal = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[5.0]])}
    end = {"a": torch.tensor([2.0, 1.0]), "b": torch.tensor([[5.0]])}
    length = squared_distance(begin, goal, "expert 3")
    loss, gradient = matching_loss(end, goal, length)
    assert loss == pytest.approx((1 + 1 + 0) / (9 + 16))
    assert gradient["a"].tolist() == pytest.approx([-2 / 25, 2 / 25])
    assert gradient["b"].tolist() == [[0]]
    assert length == 25
    assert matching_loss(begin, goal, length)[0] == 1
    with pytest.raises(UserError, match="expert 3 did not move: raise"):
        squared_distance(goal, goal, "expert 3")
    with pytest.raises(UserError, match="The parameters of expert 3 are not finite: remove"):
        squared_distance({**begin, "b": torch.tensor([[torch.inf]])}, goal, "expert 3")


@pytest.mark.parametrize("kind", [TrajectoryMatching, Tesla, DATM])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_learned_rate_stays_positive_however_large_its_steps(
    kind: type[TrajectoryMatching], optimizer: str, experts: Path
) -> None:
    settings = {**(EARLY if kind is DATM else SETTINGS), "optimizer": optimizer, "image_rate": 0.01}
    made, losses = distil(kind(**{**settings, "iterations": 12, "learned_rate_rate": 1e3}), experts)
    assert made.learning_rate is not None
    assert made.learning_rate > 0
    assert made.provenance["divergences"] == 0
    assert len(losses) == 12


def test_a_start_from_which_no_training_is_finite_is_named(experts: Path) -> None:
    with pytest.raises(UserError, match=r"cannot do iteration 1, .* learned rate 1e\+30, .* Take a .*_start"):
        distil(TrajectoryMatching(**{**SETTINGS, "learned_rate_start": 1e30}), experts)


def batches_seen(monkeypatch: pytest.MonkeyPatch, distiller: TrajectoryMatching, folder: Path) -> list[list[int]]:
    """Return which images (by their place in the set) the network met in each step of the first iteration."""
    images, seen = start_images(distiller, folder), []
    gradient = InnerGradient.gradient

    def looking(self: InnerGradient, parameters: Parameters, batch: Tensor, labels: Tensor) -> Parameters:
        places = [int((images == image).all(dim=(1, 2, 3)).nonzero()) for image in batch]
        assert labels.tolist() == [place // 4 for place in places]
        seen.append(places)
        return gradient(self, parameters, batch, labels)

    monkeypatch.setattr(InnerGradient, "gradient", looking)
    distil(replace(distiller, iterations=1), folder)
    return seen


@pytest.mark.parametrize(("size", "together"), [(4, 3), (6, 2), (5, 2)])
def test_batches_are_passes_over_the_set_without_repeats(
    monkeypatch: pytest.MonkeyPatch, experts: Path, size: int, together: int
) -> None:
    distiller = TrajectoryMatching(**{**SETTINGS, "batch_size": size, "steps": 3 * together})
    seen = batches_seen(monkeypatch, distiller, experts)
    assert [len(batch) for batch in seen] == [size] * (3 * together)
    passes = [list(chain(*seen[first : first + together])) for first in range(0, len(seen), together)]
    assert all(len(set(one)) == size * together for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_a_small_set_is_taken_whole_in_every_step(monkeypatch: pytest.MonkeyPatch, experts: Path) -> None:
    seen = batches_seen(monkeypatch, TrajectoryMatching(**SETTINGS), experts)
    assert seen == [list(range(12))] * 3


# --- the whole ---


@pytest.mark.parametrize("kind", [TrajectoryMatching, Tesla, DATM])
def test_the_loss_goes_down_and_the_rate_is_learned(kind: type[TrajectoryMatching], experts: Path) -> None:
    settings = {**SETTINGS, "iterations": 60, "learned_rate_rate": 1e-3}
    if kind is DATM:
        settings["first_max_start_epoch"] = 2  # the same epochs from the first iteration to the last
    made, losses = distil(kind(**settings), experts)
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])
    assert made.learning_rate is not None
    assert abs(made.learning_rate - 0.1) > 0.001
    assert made.labels.is_floating_point() is (kind is DATM)


def test_tesla_is_trajectory_matching_where_there_is_one_step(experts: Path) -> None:
    for steps, alike in ((1, True), (3, False)):
        exact, constant = (
            distil(kind(**{**SETTINGS, "steps": steps}), experts)[0] for kind in (TrajectoryMatching, Tesla)
        )
        apart = (exact.images - constant.images).abs().max()
        assert bool(apart < 1e-3) is alike
        assert exact.learning_rate is not None
        assert (exact.learning_rate == pytest.approx(constant.learning_rate, rel=1e-6)) is alike


def test_a_set_of_a_pool_meets_experts_of_its_architectures(experts: Path) -> None:
    pool = {**TINY, "width": [2, 3, 4, 5]}
    distiller = TrajectoryMatching(**{**SETTINGS, "architectures": pool, "experts": {**EXPERTS, "experts": 5}})
    made, losses = distil(distiller, experts)
    buffer = buffer_of(distiller, experts)
    widths = [buffer.spec(expert).hyperparameters["width"] for expert in range(5)]
    assert widths == [distiller.pool.draw(0, "expert", expert).hyperparameters["width"] for expert in range(5)]
    assert len(set(widths)) > 1
    assert len(losses) == 3
    assert made.provenance["distiller"]["architectures"]["width"] == [2, 3, 4, 5]


# --- experts ---


def test_all_forms_share_experts_that_are_trained_once(tmp_path: Path) -> None:
    said: list[str] = []
    for distiller in (TrajectoryMatching(**SETTINGS), Tesla(**SETTINGS), DATM(**EARLY)):
        distil(distiller, tmp_path, say=said.append)
        assert [sentence.split(",")[0] for sentence in said] == [
            "Training expert 0 of 2",
            "Training expert 1 of 2",
        ]
        assert len(list(tmp_path.iterdir())) == 1


def test_other_images_spaces_and_seeds_have_experts_of_their_own(tmp_path: Path) -> None:
    distiller = TrajectoryMatching(**SETTINGS)
    distil(distiller, tmp_path)
    distil(distiller, tmp_path, source=random_dataset(seed=1))
    distil(replace(distiller, space="zca"), tmp_path)
    distiller.distill(random_dataset(), 4, 1, Workspace(experts=tmp_path))
    assert len(list(tmp_path.iterdir())) == 4


def test_a_buffer_of_another_data_set_in_the_place_of_the_right_one_is_noticed(tmp_path: Path) -> None:
    distiller, other = TrajectoryMatching(**SETTINGS), random_dataset(seed=1)
    distil(distiller, tmp_path)
    (there,) = tmp_path.iterdir()
    place = ExpertLibrary(tmp_path).path(distiller.plan(0), other, standardisation_of(other))
    shutil.copytree(there, place)
    with pytest.raises(UserError, match=r"The expert trajectories in .* are of another data set\.$"):
        distil(distiller, tmp_path, source=other)


def test_experts_that_nobody_wants_to_keep_are_as_good(
    experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    distiller = TrajectoryMatching(**SETTINGS)
    assert distiller.distill(random_dataset(), 4, 0).digest == distil(distiller, experts)[0].digest
    assert list(tmp_path.iterdir()) == []


# --- DATM ---


def test_the_window_of_datm_worked_out_by_hand() -> None:
    distiller = DATM(**{
        **EARLY, "iterations": 100, "min_start_epoch": 1, "first_max_start_epoch": 2, "max_start_epoch": 6,
        "experts": {"epochs": 6},
    })  # fmt: skip
    # The bound rises from 2 to 6 over 50 iterations, by one epoch every 12.5.
    for iteration, bound in ((0, 2), (12, 2), (13, 3), (24, 3), (25, 4), (37, 4), (38, 5), (49, 5), (50, 6), (99, 6)):
        assert distiller.epochs_at(iteration) == (1, bound)
    assert replace(distiller, expansion=0.0).epochs_at(0) == (1, 6)
    slow = replace(distiller, expansion=1.0)
    assert [slow.epochs_at(iteration)[1] for iteration in (0, 24, 25, 50, 75, 99)] == [2, 2, 3, 4, 5, 5]


def test_datm_begins_with_early_epochs_and_comes_to_later_ones(monkeypatch: pytest.MonkeyPatch, experts: Path) -> None:
    read: list[int] = []
    parameters = ExpertBuffer.parameters

    def reading(self: ExpertBuffer, expert: int, epoch: int, *device: Any) -> dict[str, Tensor]:
        read.append(epoch)
        return parameters(self, expert, epoch, *device)

    monkeypatch.setattr(ExpertBuffer, "parameters", reading)
    distil(DATM(**{**EARLY, **STILL, "iterations": 40, "max_start_epoch": 3, "labels": "hard"}), experts)
    starts, goals = read[::2], read[1::2]
    assert goals == [start + 1 for start in starts]
    # The bound is 1 for ten iterations, 2 for ten, then 3.
    assert set(starts[:10]) == {0}
    assert set(starts[10:20]) == {0, 1}
    assert set(starts[20:]) == {0, 1, 2}


def test_labels_of_datm_start_as_what_the_first_expert_predicts_in_the_end(experts: Path) -> None:
    distiller = DATM(**{**EARLY, **STILL, "iterations": 1, "label_rate": 1e-20})
    made, _ = distil(distiller, experts)
    model = build(ModelSpec.from_dict(TINY), SHAPE, CLASSES, seed=0)
    model.load_state_dict(buffer_of(distiller, experts).parameters(0, 3))
    with torch.no_grad():
        expected = model(start_images(distiller, experts)).softmax(1)
    torch.testing.assert_close(made.labels, expected, rtol=2**-10, atol=1e-4)
    assert expected.std() > 0.05  # they are not just any labels
    hard, _ = distil(replace(distiller, labels="hard"), experts)
    assert hard.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


# --- compiled ---


def products(mode: InnerMode, *, soft: bool, hessian: bool) -> dict[str, Tensor]:
    """Return all that there is of a smooth network, by what it is: derivatives by parameters as one vector."""
    model = build(ModelSpec.from_dict({**TINY, "activation": "sigmoid"}), (3, 8, 8), CLASSES, seed=0)
    draws = torch.Generator().manual_seed(0)
    point = {name: value.detach() for name, value in model.named_parameters()}
    vector = {name: torch.randn(value.shape, generator=draws) for name, value in point.items()}
    images, labels = torch.randn(6, 3, 8, 8, generator=draws), torch.arange(6) % CLASSES
    given = torch.randn(6, CLASSES, generator=draws).softmax(1) if soft else labels
    found = InnerGradient(model, mode=mode).products(point, images, given, vector, hessian=hessian)
    flat = {"images": found.images, "gradient": torch.cat([found.gradient[name].flatten() for name in point])}
    if found.labels is not None:
        flat["labels"] = found.labels
    if found.hessian is not None:
        flat["hessian"] = torch.cat([found.hessian[name].flatten() for name in point])
    return flat


@pytest.mark.parametrize(("bfloat16", "most"), [(False, 1e-5), (True, 0.02)])
@pytest.mark.parametrize(("soft", "hessian"), [(False, True), (True, True), (True, False)])
def test_what_is_compiled_gives_the_eager_gradients(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, most: float, soft: bool, hessian: bool
) -> None:
    # The compiler takes half a minute and is torch's; what is handed to it is ours and can be executed as it is.
    executed: list[str] = []

    def uncompiled(graph: fx.GraphModule, arguments: list[Tensor]) -> Callable[..., Any]:
        def execute(*given: Tensor) -> Any:
            found = graph(*given)
            executed.append(graph.code)
            return found

        return execute

    monkeypatch.setattr("torch._inductor.compile", uncompiled)
    monkeypatch.setattr("dp_core.distillation.lowering.uses_bfloat16", lambda *_, **__: bfloat16)
    found = products("compiled", soft=soft, hessian=hessian)
    assert len(executed) == 2  # once on trial: what fails there is done eagerly
    assert ("bfloat16" in executed[0]) is bfloat16
    wanted = products("eager", soft=soft, hessian=hessian)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert value.norm() > 0.01
        assert (found[name] - value).norm() < most * value.norm(), name


# --- mistakes ---


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (TrajectoryMatching, {"steps": 0}, "trajectory_matching needs steps at least 1, not 0"),
        (Tesla, {"batch_size": 0}, "tesla needs batch_size at least 1"),
        (TrajectoryMatching, {"expert_epochs": 0}, "needs expert_epochs at least 1"),
        (TrajectoryMatching, {"learned_rate_start": 0.0}, "needs learned_rate_start above 0"),
        (TrajectoryMatching, {"learned_rate_rate": -1.0}, "needs learned_rate_rate above 0"),
        (TrajectoryMatching, {"min_start_epoch": 2}, r"min_start_epoch below max_start_epoch, not 2 and 2\."),
        (TrajectoryMatching, {"min_start_epoch": -1}, "start epochs from 0 on"),
        (TrajectoryMatching, {"mode": "fast"}, "no mode 'fast'"),
        (TrajectoryMatching, {"experts": {"epoch": 3}}, r"no setting 'epoch' of its experts\. Did you mean 'epochs'"),
        (TrajectoryMatching, {"experts": {"seed": 3}}, "no setting 'seed' of its experts"),
        (TrajectoryMatching, {"expert_epochs": 3}, "matches up to epoch 4, but its experts are trained for 3"),
        (DATM, {"first_max_start_epoch": 3}, "above min_start_epoch 0 and at most max_start_epoch 2, not 3"),
        (DATM, {"first_max_start_epoch": 0}, "above min_start_epoch 0"),
        (DATM, {"expansion": 1.5}, "datm needs expansion from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(kind: type[TrajectoryMatching], given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(**{**(EARLY if kind is DATM else SETTINGS), **given})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("epochs", "ten", "a whole number"),
        ("experts", 2.5, "a whole number"),
        ("experts", True, "a whole number"),
        ("batch_size", [1], "a whole number"),
        ("learning_rate", "0.1", "a number"),
        ("augmentation", 1, "a text"),
    ],
)
def test_settings_of_experts_of_another_type_are_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UserError, match=f"needs {wanted} as {name} of its experts, not "):
        TrajectoryMatching(**{**SETTINGS, "experts": {**EXPERTS, name: value}})
