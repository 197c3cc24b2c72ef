"""Iterative pruning, and that it does not repeat the known mistakes of earlier code."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from dp_core.errors import UserError
from dp_core.pruning import CRITERIA, IterativePruning, Mask, PruningPlan
from dp_core.seeds import derive_seed
from dp_core.training import BatchOrder, Diverged, Recipe, Training, TrainingData, evaluate
from tests.dp_core.small import copy_of, random_data, same, small_model, through_a_file

SPARSITIES = (0.0, 0.3, 0.6, 0.8)
RECIPE = Recipe(steps=6, batch_size=8, learning_rate=0.05, weight_decay=0.01, schedule="cosine", precision="float32")


def plan(rewind_step: int = 0, criterion: str = "magnitude", **recipe: Any) -> PruningPlan:
    return PruningPlan(SPARSITIES, CRITERIA[criterion], replace(RECIPE, **recipe), rewind_step)


def pruning(chosen: PruningPlan, seed: int = 7, model_seed: int = 0) -> IterativePruning:
    return IterativePruning(small_model(seed=model_seed), random_data(), chosen, seed=seed)


def run(process: IterativePruning) -> list[float]:
    losses = []
    while not process.finished:
        losses.append(process.run_round())
    return losses


@pytest.mark.parametrize("rewind_step", [0, 2])
def test_the_whole_process_is_the_one_written_by_hand_with_torchs_pruning(rewind_step: int) -> None:
    process = pruning(plan(rewind_step))
    run(process)

    model, data = small_model(), random_data()
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    rewind: tuple[dict[str, torch.Tensor], list[torch.Tensor | None]] = ({}, [])
    for round_, sparsity in enumerate(SPARSITIES):
        if round_ > 0:
            amount = round(sparsity * 144) - round(SPARSITIES[round_ - 1] * 144)
            prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=amount)
            _load(model, rewind[0])
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
        for parameter, buffer in zip(_in_order(model), rewind[1], strict=round_ > 0):
            if buffer is not None:
                optimizer.state[parameter]["momentum_buffer"] = buffer.clone()
        order = BatchOrder(20, 8, derive_seed(7, "round", round_))
        for step in range(rewind_step if round_ else 0, 6):
            if round_ == 0 and step == rewind_step:
                rewind = (copy_of(model), [_momentum(optimizer, p) for p in model.parameters()])
            optimizer.param_groups[0]["lr"] = RECIPE.learning_rate_at(step, 6)
            images, labels = data.batch(order(step))
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    final = {name.removesuffix("_orig"): value for name, value in model.state_dict().items() if "_mask" not in name}
    for name, value in process.model.state_dict().items():
        kept = process.mask[name] if name in process.mask else torch.ones_like(value, dtype=torch.bool)
        torch.testing.assert_close(value, torch.where(kept, final[name], torch.zeros_like(value)), rtol=1e-4, atol=1e-6)
    masks = [layer.get_buffer("weight_mask").bool() for layer in layers]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(process.mask.values(), masks, strict=True))


def _load(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put dense weights under the masks of torch's pruning, and everything else back as it was."""
    state = dict(model.state_dict())
    model.load_state_dict({name: weights.get(name.removesuffix("_orig"), value) for name, value in state.items()})


def _in_order(model: nn.Module) -> list[nn.Parameter]:
    """The parameters in the order they had before torch's pruning put its `weight_orig` behind the biases."""
    by_name = {name.removesuffix("_orig"): p for name, p in model.named_parameters()}
    return [by_name[name] for name, _ in small_model().named_parameters()]


def _momentum(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> torch.Tensor | None:
    buffer = optimizer.state[parameter].get("momentum_buffer") if parameter in optimizer.state else None
    return None if buffer is None else buffer.clone()


def test_sparsities_are_the_plans_and_masks_nest() -> None:
    for criterion in CRITERIA:
        process, masks = pruning(plan(criterion=criterion)), []
        for sparsity in SPARSITIES:
            assert not process.finished
            process.run_round()
            masks.append(process.mask)
            assert process.mask.total - process.mask.kept == round(sparsity * 144)
            assert all((process.model.get_parameter(k)[~kept] == 0).all() for k, kept in process.mask.items())
        assert process.finished
        assert process.rounds_done == 4
        for denser, sparser in itertools.pairwise(masks):
            assert all((denser[name] | ~sparser[name]).all() for name in sparser)


class Spy(nn.Module):
    """A network that notes its complete state before every step."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_model()
        self.starts: list[dict[str, torch.Tensor]] = []
        self.inner.register_forward_pre_hook(lambda module, _inputs: self.starts.append(copy_of(module)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)


@pytest.mark.parametrize("rewind_step", [0, 3])
def test_rewinding_restores_biases_norms_and_buffers_too(rewind_step: int) -> None:
    spy = Spy()
    process = IterativePruning(spy, random_data(), plan(rewind_step), seed=7)
    first_of_round = [rewind_step]
    for _ in SPARSITIES:
        process.run_round()
        first_of_round.append(len(spy.starts))
        mask = {name.removeprefix("inner."): kept for name, kept in process.mask.items()}
        start, rewound = spy.starts[first_of_round[-2]], spy.starts[rewind_step]
        assert {"blocks.0.bias", "blocks.1.weight", "blocks.1.running_var"} < set(start)
        for name, value in start.items():
            kept = mask[name] if name in mask else torch.ones_like(value, dtype=torch.bool)
            assert torch.equal(value, torch.where(kept, rewound[name], torch.zeros_like(value))), name
    trained = copy_of(spy.inner)
    assert all(not torch.equal(trained[name], spy.starts[rewind_step][name]) for name in trained)  # all had moved
    assert int(spy.starts[first_of_round[2]]["blocks.1.num_batches_tracked"]) == rewind_step


@pytest.mark.parametrize(
    ("optimizer", "slots"), [("sgd", {"momentum_buffer"}), ("adamw", {"exp_avg", "exp_avg_sq", "step"})]
)
def test_rewinding_restores_the_optimiser(optimizer: Any, slots: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    load = Training.load_state_dict

    def noting(self: Training, state: Any) -> None:
        load(self, state)
        loaded.append(through_a_file(self.state_dict()["optimizer"]))

    monkeypatch.setattr(Training, "load_state_dict", noting)
    process = pruning(plan(3, optimizer=optimizer))
    run(process)

    model = small_model()  # the first three steps of a dense training, done apart
    recipe = plan(optimizer=optimizer).recipe
    training = Training(model, random_data(), recipe, seed=derive_seed(7, "round", 0), mask=None)
    training.run(3)
    expected = training.state_dict()["optimizer"]["state"]
    assert set(expected[0]) == slots
    assert len(loaded) == 3
    assert all(same(state["state"], expected) for state in loaded)
    assert same(process.rewind_weights, copy_of(model))


def test_rewinding_to_initialisation_means_the_initial_network_and_a_fresh_optimiser() -> None:
    process = pruning(plan(0, optimizer="adamw"))
    initial = copy_of(process.model)
    run(process)
    assert same(process.rewind_weights, initial)
    assert process.state_dict()["rewind"]["optimizer"]["state"] == {}
    assert process.state_dict()["rewind"]["step"] == 0


def test_evaluating_between_rounds_changes_nothing_later() -> None:
    undisturbed, disturbed = pruning(plan(2)), pruning(plan(2))
    held_back = random_data(31, seed=5)
    for _ in SPARSITIES:
        loss = undisturbed.run_round()
        assert disturbed.run_round() == loss
        evaluate(disturbed.model, held_back, batch_size=7)
    assert same(disturbed.state_dict(), undisturbed.state_dict())


def test_not_even_training_the_network_between_rounds_reaches_beyond_the_next_mask() -> None:
    clean, leaked = pruning(plan(criterion="random")), pruning(plan(criterion="random"))
    clean.run_round()
    leaked.run_round()
    Training(leaked.model, random_data(seed=9), RECIPE, seed=1, mask=None).run()
    assert leaked.run_round() == clean.run_round()  # the random criterion does not look at the weights
    assert same(copy_of(leaked.model), copy_of(clean.model))


def test_the_learning_rate_is_honoured_in_every_round() -> None:
    def moves(rate: float) -> list[torch.Tensor]:
        process = pruning(plan(criterion="random", learning_rate=rate, momentum=0, weight_decay=0, steps=1))
        found = []
        for _ in SPARSITIES:
            process.run_round()
            bias = process.model.get_parameter("classifier.bias").detach()
            found.append(bias - process.rewind_weights["classifier.bias"])
        return found

    for fast, slow in zip(moves(0.5), moves(0.05), strict=True):
        assert slow.abs().min() > 0
        torch.testing.assert_close(fast, 10 * slow, rtol=1e-4, atol=1e-6)


def test_the_seed_and_nothing_else_decides() -> None:
    for criterion in CRITERIA:
        runs = []
        for seed in (7, 7, 8):
            process = pruning(plan(criterion=criterion, augmentation="siamese"), seed=seed)
            torch.rand(1)  # move the global generator on
            before = torch.get_rng_state()
            run(process)
            assert torch.equal(torch.get_rng_state(), before)
            runs.append(process.state_dict())
        assert same(runs[0], runs[1])
        assert not same(runs[0]["model"], runs[2]["model"])
        assert not same(runs[0]["mask"], runs[2]["mask"])


def test_rounds_see_the_data_in_different_orders() -> None:
    seen: list[bytes] = []
    process = pruning(plan())
    process.model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].numpy().tobytes()))
    run(process)
    assert len(seen) == 24
    assert len(set(seen)) == 24


@given(st.integers(0, 4), st.sampled_from([0, 2]), st.sampled_from(["sgd", "adamw"]), st.sampled_from(list(CRITERIA)))
def test_going_on_after_an_interruption_changes_not_a_bit(
    stop: int, rewind_step: int, optimizer: Any, criterion: str
) -> None:
    chosen = plan(rewind_step, criterion, optimizer=optimizer, augmentation="flip_crop")
    whole, first, second = pruning(chosen), pruning(chosen), pruning(chosen, model_seed=99)
    losses = run(whole)
    for _ in range(stop):
        first.run_round()
    second.load_state_dict(through_a_file(first.state_dict()))
    assert (second.rounds_done, second.finished) == (stop, stop == 4)
    assert run(second) == losses[stop:]
    assert same(second.state_dict(), whole.state_dict())


def test_a_state_of_another_network_is_refused() -> None:
    process = pruning(plan())
    process.run_round()
    state = process.state_dict()
    state["mask"] = dict(Mask.ones(nn.Sequential(nn.Linear(3, 2))))
    with pytest.raises(UserError, match="another model"):
        pruning(plan()).load_state_dict(state)


@pytest.mark.parametrize(("rewind_step", "expected"), [(0, [48, 96, 144, 192]), (2, [48, 80, 112, 144])])
def test_image_gradients_are_counted_as_computed(rewind_step: int, expected: list[int]) -> None:
    # Six steps of eight images in the first round; later rounds start from the rewind step.
    process, counted, seen = pruning(plan(rewind_step)), [], []
    process.model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    for _ in SPARSITIES:
        process.run_round()
        counted.append(process.image_gradients)
        assert sum(seen) == counted[-1]
    assert counted == expected


def test_small_data_count_the_images_they_have() -> None:
    process = IterativePruning(small_model(), random_data(5), plan(steps=3), seed=0)
    process.run_round()
    assert process.image_gradients == 15


@pytest.mark.parametrize("rewind_step", [-1, 6, 7])
def test_a_rewind_step_outside_the_training_is_refused(rewind_step: int) -> None:
    with pytest.raises(UserError, match=rf"Rewinding to step {rewind_step} is not possible in a training of 6 steps"):
        pruning(plan(rewind_step))


def test_divergence_ends_the_round() -> None:
    data = random_data()
    data.images[0] = torch.nan
    process = IterativePruning(small_model(), TrainingData(data.images, data.labels), plan(), seed=0)
    with pytest.raises(Diverged):
        process.run_round()
    assert process.rounds_done == 0


@pytest.mark.parametrize("sparsities", [(), (0.5, 0.8), (0.0, 0.8, 0.5), (0.0, 1.0)])
def test_a_plan_starts_dense_and_rises(sparsities: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="start with 0 and rise"):
        PruningPlan(sparsities, CRITERIA["magnitude"], Recipe(steps=1))
