"""What holds for every criterion."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.errors import UserError
from dp_core.pruning import CRITERIA, SNIP, GraSP, Mask, NOfM, SynFlow, criterion_named
from tests.dp_core.pruning.criteria.calling import draw, pruned
from tests.dp_core.small import copy_of, random_data, same, small_model

EVERY = pytest.mark.parametrize("name", CRITERIA)
FEW = settings(max_examples=10, deadline=None)
sparsities = st.lists(st.floats(0, 0.99), min_size=1, max_size=3).map(sorted)


@EVERY
@FEW
@given(sparsities, st.integers(0, 99))
def test_masks_nest_and_have_exactly_the_zeros_asked_for(name: str, rising: list[float], seed: int) -> None:
    model = small_model(seed=seed)
    mask = Mask.ones(model)
    for sparsity in rising:
        before = mask
        mask = pruned(CRITERIA[name], model, before, sparsity, seed)
        mask.check(model)
        assert mask.total - mask.kept == round(sparsity * 144)
        assert all((before[key] | ~mask[key]).all() for key in mask), "a removed weight came back"
        model = small_model(seed=seed + 1)  # the weights move between the rounds, and the removed ones are not zero


@EVERY
@FEW
@given(st.floats(0, 0.99), st.integers(0, 99))
def test_pruning_again_to_the_same_sparsity_changes_nothing(name: str, sparsity: float, seed: int) -> None:
    model = small_model(seed=seed)
    mask = pruned(CRITERIA[name], model, Mask.ones(model), sparsity)
    assert same(dict(pruned(CRITERIA[name], model, mask, sparsity, seed + 1)), dict(mask))
    assert same(dict(pruned(CRITERIA[name], model, mask, mask.sparsity, seed + 1)), dict(mask))


@EVERY
def test_a_criterion_is_deterministic_and_leaves_its_arguments_alone(name: str) -> None:
    model = nn.Sequential(small_model(), nn.Dropout(0.5))
    model.eval()
    model.get_submodule("0.blocks.1").train()  # modes differ inside the model
    frozen = model.get_parameter("0.classifier.weight").requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, modes = copy_of(model), [module.training for module in model.modules()]
    mask, global_state = Mask.ones(model), torch.get_rng_state()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):  # whatever the caller is doing
        found = pruned(CRITERIA[name], model, mask, 0.5)
    assert same(dict(found), dict(pruned(CRITERIA[name], model, mask, 0.5)))
    assert same(before, copy_of(model))
    assert modes == [module.training for module in model.modules()]
    assert not frozen.requires_grad
    assert all(p.grad is not None and bool((p.grad == 1).all()) for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert mask.kept == 144
    assert torch.equal(torch.get_rng_state(), global_state)


@pytest.mark.parametrize("name", [*CRITERIA, "2:4"])
def test_the_layout_of_the_weights_in_memory_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(32, 3))
    mask, criterion = Mask.ones(model), criterion_named(name)
    sparsity = criterion.sparsity(mask) if isinstance(criterion, NOfM) else 0.5
    contiguous = pruned(criterion, model, mask, sparsity)
    model = model.to(memory_format=torch.channels_last)
    assert not model.get_parameter("2.weight").is_contiguous()
    found = pruned(criterion, model, mask, sparsity)
    assert same(dict(found), dict(contiguous))
    assert all(tensor.is_contiguous() for tensor in found.values())


@EVERY
def test_a_mask_does_not_become_denser_or_empty(name: str) -> None:
    model = small_model()
    mask = pruned(CRITERIA[name], model, Mask.ones(model), 0.5)
    for sparsity in (0.25, 1.0):
        with pytest.raises(ValueError, match="cannot be pruned"):
            pruned(CRITERIA[name], model, mask, sparsity)


@EVERY
@FEW
@given(st.floats(0, 0.98), st.sampled_from(["blocks.0.weight", "classifier.weight"]))
def test_exactly_the_parameters_of_the_mask_are_pruned(name: str, sparsity: float, only: str) -> None:
    model = small_model()
    shape = model.get_parameter(only).shape
    mask = pruned(CRITERIA[name], model, Mask({only: torch.ones(shape, dtype=torch.bool)}), sparsity)
    assert list(mask) == [only]
    assert mask.total - mask.kept == round(sparsity * shape.numel())


@pytest.mark.parametrize("name", ["magnitude", "snip"])
def test_a_smaller_scope_does_not_change_the_order_within_a_layer(name: str) -> None:
    model = small_model()
    whole = pruned(CRITERIA[name], model, Mask.ones(model), 0.5)["classifier.weight"]
    alone = Mask({"classifier.weight": torch.ones(3, 36, dtype=torch.bool)})
    found = pruned(CRITERIA[name], model, alone, 1 - int(whole.sum()) / 108)
    assert torch.equal(found["classifier.weight"], whole)


@pytest.mark.parametrize("name", ["magnitude", "magnitude_layerwise", "snip", "grasp", "synflow"])
def test_among_equal_scores_the_first_weights_go_first(name: str) -> None:
    # Every unit and every input is like every other, so every weight of a layer has the same score.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    images, labels = torch.ones(2, 1, 2, 2), torch.full((2, 4), 0.25)
    criterion = SynFlow(iterations=1) if name == "synflow" else CRITERIA[name]
    mask = criterion(model, Mask.ones(model), 0.25, draw(), lambda count: (images[:count], labels[:count]))
    removed = [index for index, kept in enumerate(torch.cat([t.reshape(-1) for t in mask.values()])) if not kept]
    assert removed == ([0, 1, 2, 3, 16, 17, 18, 19] if name == "magnitude_layerwise" else [0, 1, 2, 3, 4, 5, 6, 7])


@EVERY
def test_a_mask_of_another_model_is_refused(name: str) -> None:
    if name.startswith("random"):
        return  # these do not look at the model
    for other in ("nowhere.weight", "classifier.weight"):
        with pytest.raises(UserError, match=rf"another model: there is no {other} of shape \[2, 2\]"):
            pruned(CRITERIA[name], small_model(), Mask({other: torch.ones(2, 2, dtype=torch.bool)}), 0.5)


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_scores_that_have_no_order_are_refused(name: str) -> None:
    model = small_model()
    with torch.no_grad():
        model.get_parameter("classifier.weight")[0, 0] = torch.nan
    with pytest.raises(UserError, match=rf"The {name} scores of .* are not finite"):
        pruned(CRITERIA[name], model, Mask.ones(model), 0.5)


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_hard_labels_are_the_soft_labels_of_certainty(name: str) -> None:
    data, model = random_data(), small_model()
    soft = nn.functional.one_hot(data.labels, 3).double()

    def mask_by(labels: Tensor) -> Mask:
        return CRITERIA[name](model, Mask.ones(model), 0.5, draw(), lambda n: (data.images[:n], labels[:n]))

    assert same(dict(mask_by(data.labels)), dict(mask_by(soft)))
    assert not same(dict(mask_by(data.labels)), dict(mask_by(soft.roll(1, 1))))


@pytest.mark.parametrize(("criterion", "asked"), [(SNIP(images=7), [7]), (GraSP(images=7), [7]), (SynFlow(9), [1])])
def test_image_gradients_count_what_is_asked_for(criterion: SNIP | GraSP | SynFlow, asked: list[int]) -> None:
    data, model, calls, passes = random_data(), small_model(), [], []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, images: Tensor) -> Tensor:
            passes.append(len(images))
            return self.inner(images)

    def examples(count: int) -> tuple[Tensor, Tensor]:
        calls.append(count)
        return data.images[:count], data.labels[:count]

    counting = Counting()
    criterion(counting, Mask.ones(counting), 0.5, draw(), examples)
    assert calls == asked
    # GraSP differentiates the gradient of its one pass, which counts as another.
    assert criterion.image_gradients == sum(passes) * (2 if isinstance(criterion, GraSP) else 1)


def test_the_registry_says_what_a_call_costs() -> None:
    costs = {name: criterion.image_gradients for name, criterion in CRITERIA.items()}
    assert costs == {
        "magnitude": 0,
        "magnitude_layerwise": 0,
        "random": 0,
        "random_erk": 0,
        "snip": 100,
        "grasp": 200,
        "synflow": 100,
    }


def test_criteria_are_found_by_name_and_compared_by_value() -> None:
    assert all(criterion_named(name) == criterion for name, criterion in CRITERIA.items())
    assert criterion_named("2:4") == NOfM(2, 4)
    assert SNIP(images=10) != CRITERIA["snip"] == SNIP(images=100)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("magnitud", r"no pruning criterion 'magnitud'\. Did you mean 'magnitude'\? Known: magnitude, "),
        ("snipe", r"Did you mean 'snip'\?"),
        ("2:", r"no pruning criterion '2:'\. Known: .*, and patterns N:M such as 2:4\."),
        ("1:2:4", "no pruning criterion '1:2:4'"),
        ("-1:4", "no pruning criterion '-1:4'"),
        ("4:4", "keeps N of M weights with 1 ≤ N < M, which 4:4 does not"),
        ("0:4", "which 0:4 does not"),
        ("4:2", "which 4:2 does not"),
    ],
)
def test_unknown_criteria_and_nonsense_patterns_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        criterion_named(name)


def test_impossible_settings_are_refused() -> None:
    for kind in (SNIP, GraSP):
        with pytest.raises(UserError, match="needs at least one image, not 0"):
            kind(images=0)
    with pytest.raises(UserError, match=r"temperature above 0, not 0\.0"):
        GraSP(temperature=0.0)
    with pytest.raises(UserError, match="at least one iteration, not 0"):
        SynFlow(iterations=0)
