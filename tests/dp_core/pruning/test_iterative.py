"""Iterative pruning, and that it does not repeat the known mistakes of earlier code."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from dp_core.errors import UserError
from dp_core.pruning import CRITERIA, SNIP, Criterion, Examples, IterativePruning, Mask, PruningPlan, Scope, SynFlow
from dp_core.seeds import derive_seed
from dp_core.training import BatchOrder, Diverged, Recipe, Training, TrainingData, evaluate
from tests.dp_core.small import copy_of, random_data, same, small_model, through_a_file

SPARSITIES = (0.0, 0.3, 0.6, 0.8)
# Every criterion, where a test makes many masks: synflow with fewer iterations, snip with fewer images than there are.
QUICK: dict[str, Criterion] = {**CRITERIA, "synflow": SynFlow(iterations=3), "snip": SNIP(images=6)}
RECIPE = Recipe(steps=6, batch_size=8, learning_rate=0.05, weight_decay=0.01, schedule="cosine", precision="float32")


def plan(rewind_step: int = 0, criterion: str = "magnitude", **recipe: Any) -> PruningPlan:
    return PruningPlan(SPARSITIES, QUICK[criterion], replace(RECIPE, **recipe), rewind_step)


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
    for criterion in CRITERIA.values():
        process, masks = pruning(replace(plan(), criterion=criterion)), list[Mask]()
        for sparsity in SPARSITIES:
            assert not process.finished
            process.run_round()
            masks.append(process.mask)
            assert process.mask.total - process.mask.kept == round(sparsity * 144)
            assert all((process.model.get_parameter(k)[~kept] == 0).all() for k, kept in process.mask.items())
            # One batch of 20 images has no order, so counted are the images that a criterion says it takes.
            pruned = process.image_gradients - process.rounds_done * 6 * 8
            assert pruned == (process.rounds_done - 1) * criterion.image_gradients
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
    for criterion in QUICK:
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


@settings(max_examples=60)
@given(
    st.integers(0, 4),
    st.sampled_from([0, 2]),
    st.sampled_from(["sgd", "adamw"]),
    st.sampled_from(list(QUICK)),
    st.booleans(),
)
def test_going_on_after_an_interruption_changes_not_a_bit(
    stop: int, rewind_step: int, optimizer: Any, criterion: str, pruned_already: bool
) -> None:
    chosen = plan(rewind_step, criterion, optimizer=optimizer, augmentation="flip_crop")
    whole, first, second = pruning(chosen), pruning(chosen), pruning(chosen, model_seed=99)
    losses = run(whole)
    for _ in range(stop):
        first.run_round()
    if pruned_already:
        first.prune()
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


@pytest.mark.parametrize("sparsities", [(), (-0.1, 0.5), (0.0, 0.8, 0.5), (0.0, 1.0), (0.0, float("nan"))])
def test_the_sparsities_of_a_plan_rise(sparsities: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"sparsities of a plan rise from 0 to below 1, which \(.*\) do not"):
        PruningPlan(sparsities, CRITERIA["magnitude"], Recipe(steps=1))


@pytest.mark.parametrize("sparsities", [(0.5, 0.8), (0.004, 0.8)])
def test_without_a_mask_a_plan_starts_dense(sparsities: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=rf"that of the mask it starts from, 0\.0000, not {sparsities[0]:.4f}\."):
        pruning(replace(plan(), sparsities=sparsities))


def start_mask() -> Mask:
    """Return a mask without every second weight, whatever their magnitude: sparsity 72 / 144."""
    return Mask(
        {name: torch.arange(one.numel()).view(one.shape) % 2 == 0 for name, one in Mask.ones(small_model()).items()}
    )


LATE = (0.5, 0.6, 0.8)


@pytest.mark.parametrize("rewind_step", [0, 2])
def test_starting_from_a_mask_is_pruning_on_after_it(rewind_step: int) -> None:
    process, start = (
        IterativePruning(
            small_model(), random_data(), replace(plan(rewind_step), sparsities=LATE), seed=7, mask=start_mask()
        ),
        start_mask(),
    )
    dense = copy_of(process.model)
    assert same(dict(process.prune()), dict(start))  # nothing is pruned before the first round
    loss = process.run_round()

    model = small_model()  # the first round by hand: the network, masked and trained
    training = Training(model, random_data(), plan().recipe, seed=derive_seed(7, "round", 0), mask=start)
    assert training.run(rewind_step) + training.run() != 0
    assert same(copy_of(process.model), copy_of(model))
    assert (
        rewind_step
        or loss
        == Training(small_model(), random_data(), plan().recipe, seed=derive_seed(7, "round", 0), mask=start).run()
    )
    expected = torch.cat([w.abs()[start[name]] for name, w in model.named_parameters() if name in start])
    masks = [start, process.prune()]
    kept = torch.cat([model.get_parameter(name)[kept].abs() for name, kept in process.mask.items()])
    assert torch.equal(kept.sort().values, expected.sort().values[-(144 - round(0.6 * 144)) :])

    run(process)
    masks.append(process.mask)
    assert [mask.total - mask.kept for mask in masks] == [72, 86, 115]
    assert all((a[name] | ~b[name]).all() for a, b in itertools.pairwise(masks) for name in b)
    if rewind_step == 0:  # to the initial weights, which no mask has touched
        assert same(process.rewind_weights, dense)


def test_distilled_and_then_real_is_the_combination() -> None:
    distilled, real = random_data(6, seed=1), random_data(20)
    first = IterativePruning(small_model(), distilled, replace(plan(), sparsities=(0.0, 0.5)), seed=7)
    first.run_round()
    found = first.prune()
    second = IterativePruning(small_model(), real, replace(plan(), sparsities=LATE), seed=8, mask=found)
    run(second)
    assert (found.total - found.kept, second.mask.total - second.mask.kept) == (72, 115)
    assert all((found[name] | ~kept).all() for name, kept in second.mask.items())
    assert first.image_gradients == 6 * 6  # full batches of six
    assert second.image_gradients == 3 * 6 * 8


@pytest.mark.parametrize("sparsities", [(0.0, 0.8), (0.6, 0.8), (0.504, 0.8), (0.496, 0.8)])
def test_a_plan_that_does_not_start_where_its_mask_does_is_refused(sparsities: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=rf"the mask it starts from, 0\.5000, not {sparsities[0]:.4f}\.$"):
        IterativePruning(
            small_model(), random_data(), replace(plan(), sparsities=sparsities), seed=7, mask=start_mask()
        )


def test_a_mask_of_another_network_or_scope_is_refused() -> None:
    def start(mask: Mask, scope: Scope) -> None:
        IterativePruning(small_model(), random_data(), replace(plan(), scope=scope), seed=7, mask=mask)

    start(Mask.ones(small_model()), Scope())
    with pytest.raises(UserError, match="another model"):
        start(Mask.ones(nn.Sequential(nn.Linear(3, 2))), Scope())
    with pytest.raises(UserError, match=r"they differ in blocks\.0\.weight"):
        start(Mask.ones(small_model()), LINEAR)
    with pytest.raises(UserError, match=r"they differ in blocks\.0\.weight"):
        start(Mask.ones(small_model(), LINEAR), Scope())


@pytest.mark.parametrize("criterion", list(QUICK))
def test_pruning_ahead_gives_the_mask_that_the_next_round_uses_once(criterion: str) -> None:
    ahead, plain = pruning(plan(2, criterion)), pruning(plan(2, criterion))
    assert ahead.prune().kept == 144  # before the first round there is nothing to judge by
    for round_ in range(4):
        assert ahead.run_round() == plain.run_round()
        spent, weights = ahead.image_gradients, copy_of(ahead.model)
        once = ahead.prune()
        twice = ahead.prune()
        assert same(dict(once), dict(twice))
        assert once.total - once.kept == round(SPARSITIES[min(round_ + 1, 3)] * 144)
        assert ahead.image_gradients - spent == (QUICK[criterion].image_gradients if round_ < 3 else 0)
        assert same(copy_of(ahead.model), weights)  # a mask is made, the network is not touched
        assert ahead.rounds_done == plain.rounds_done == round_ + 1
    assert same(ahead.state_dict(), plain.state_dict())


def test_the_last_mask_needs_no_training_under_it() -> None:
    process, whole = pruning(plan()), pruning(plan())
    for _ in SPARSITIES[:-1]:
        process.run_round()
    mask = process.prune()
    assert not process.finished
    run(whole)
    assert same(dict(mask), dict(whole.mask))


def test_a_state_after_pruning_is_not_pruned_again() -> None:
    chosen = plan(2, "snip", optimizer="adamw", augmentation="siamese")
    whole, first, second = pruning(chosen), pruning(chosen), pruning(chosen, model_seed=99)
    losses = run(whole)
    first.run_round()
    pruned = first.prune()
    second.load_state_dict(through_a_file(first.state_dict()))
    assert same(dict(second.prune()), dict(pruned))
    assert second.image_gradients == 6 * 8 + 6
    assert run(second) == losses[1:]
    assert same(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize(("rewind_step", "expected"), [(0, [48, 102, 156, 210]), (2, [48, 86, 124, 162])])
def test_the_images_that_a_criterion_looks_at_count_too(rewind_step: int, expected: list[int]) -> None:
    # As without: 48 and then 48 or 32 a round; and from the second round on the six images of SNIP.
    process, seen = pruning(plan(rewind_step, "snip")), list[int]()
    process.model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    for total in expected:
        process.run_round()
        assert process.image_gradients == sum(seen) == total


def test_every_round_of_a_criterion_sees_other_images_of_the_rounds_data() -> None:
    seen: list[torch.Tensor] = []

    class Noting:
        image_gradients = 6

        def __call__(
            self, model: nn.Module, mask: Mask, sparsity: float, generator: torch.Generator, examples: Examples
        ) -> Mask:
            images, labels = examples(6)
            seen.append(torch.cat([images.flatten(1), labels[:, None]], 1))
            return QUICK["magnitude"](model, mask, sparsity, generator, examples)

    data = random_data()
    for seed in (7, 7, 8):
        run(IterativePruning(small_model(), data, replace(plan(), criterion=Noting()), seed=seed))
    labelled = torch.cat([data.images.flatten(1), data.labels[:, None]], 1)
    for batch in seen:
        assert all((labelled == row).all(1).any() for row in batch)
    one, again, other = (torch.stack(seen[i : i + 3]) for i in (0, 3, 6))
    assert torch.equal(one, again)
    assert len({batch.numpy().tobytes() for batch in (*one, *other)}) == 6


def test_snip_round_by_round_is_that_of_the_trained_network() -> None:
    process = pruning(plan(criterion="snip"))
    process.run_round()
    order = BatchOrder(20, 6, derive_seed(7, "examples", 1))
    images, labels = random_data().batch(order(0))
    weights = {name: process.model.get_parameter(name) for name in process.mask}
    model = small_model()
    model.load_state_dict(copy_of(process.model))
    nn.functional.cross_entropy(model.train()(images), labels).backward()
    gradients = [model.get_parameter(name).grad for name in weights]
    scores = torch.cat(
        [(w * g).abs().flatten() for w, g in zip(weights.values(), gradients, strict=True) if g is not None]
    )
    mask = process.prune()
    kept = torch.cat([kept.flatten() for kept in mask.values()])
    assert scores[kept].min() >= scores[~kept].max()
    assert int(kept.sum()) == 144 - 43


LINEAR = Scope(("classifier.*",))


@pytest.mark.parametrize("criterion", list(QUICK))
def test_weights_out_of_scope_are_never_masked(criterion: str) -> None:
    process = pruning(replace(plan(criterion=criterion), scope=LINEAR))
    for sparsity in SPARSITIES:
        process.run_round()
        assert list(process.mask) == ["classifier.weight"]
        assert process.mask.total - process.mask.kept == round(sparsity * 108)
        assert (process.model.get_parameter("classifier.weight") == 0).sum() == round(sparsity * 108)
        assert (process.model.get_parameter("blocks.0.weight") != 0).all()
    state = through_a_file(process.state_dict())
    with pytest.raises(UserError, match="another model"):
        pruning(plan(criterion=criterion)).load_state_dict(state)
    resumed = pruning(replace(plan(criterion=criterion), scope=LINEAR), model_seed=9)
    resumed.load_state_dict(state)
    assert same(resumed.state_dict(), process.state_dict())


def test_a_scope_that_fits_no_weight_is_refused_before_any_round() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'classifier\.weight'\?"):
        pruning(replace(plan(), scope=Scope(("clasifier.weight",))))
