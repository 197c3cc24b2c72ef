from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dp_core.models import ModelSpec, build
from dp_core.pruning import CRITERIA, Mask, at_chance, chance, layer_collapse
from dp_core.training import Evaluation, TrainingData, evaluate
from tests.dp_core.small import CLASSES, copy_of, random_data

SMALL = (1, 8, 8)
CHAIN = ("blocks.0.weight", "blocks.4.weight", "blocks.8.weight", "classifier.weight")
STEM, BRANCH = "stem.0.weight", "stage1.0.residual.0.weight"


def network(name: str, **hyperparameters: object) -> nn.Module:
    return build(ModelSpec(name, hyperparameters), SMALL, CLASSES, seed=0)


def without(model: nn.Module, *names: str) -> Mask:
    """Return the mask that keeps everything but these parameters."""
    mask = dict(Mask.ones(model))
    return Mask({name: torch.zeros_like(kept) if name in names else kept for name, kept in mask.items()})


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance"])
@given(empty=st.sets(st.sampled_from(CHAIN)))
@settings(max_examples=8, deadline=None)
def test_a_chain_has_collapsed_if_and_only_if_some_layer_is_empty(norm: str, empty: set[str]) -> None:
    model = network("convnet", depth=3, width=4, norm=norm, activation="sigmoid")
    told = f"layer collapse: no weight left in {', '.join(name for name in CHAIN if name in empty)}"
    assert layer_collapse(without(model, *empty), model, SMALL) == (told if empty else None)


def residual(model: nn.Module) -> list[str]:
    return [name for name in Mask.ones(model) if "residual" in name]


def test_a_residual_branch_is_no_bottleneck_but_the_stem_is() -> None:
    model = network("resnet20", width=4)
    assert layer_collapse(without(model, BRANCH), model, SMALL) is None
    assert layer_collapse(without(model, *residual(model)), model, SMALL) is None
    for cut in (STEM, "classifier.weight"):
        assert layer_collapse(without(model, cut), model, SMALL) == f"layer collapse: no weight left in {cut}"
    block = ("stage2.0.residual.0.weight", "stage2.0.shortcut.0.weight")
    told = layer_collapse(without(model, *block), model, SMALL)
    assert told == f"layer collapse: no weight left in {', '.join(block)}"


def test_what_is_left_must_be_joined() -> None:
    model = network("resnet20", width=2)
    mask = {name: kept.clone() for name, kept in without(model, *residual(model)).items()}
    mask["stem.0.weight"][1] = False  # channel 1 is silent
    assert layer_collapse(Mask(mask), model, SMALL) is None
    mask["stage2.0.shortcut.0.weight"][:, 0] = False  # and the only one that stage 2 listens to
    assert str(layer_collapse(Mask(mask), model, SMALL)).startswith(f"layer collapse: no weight left in {BRANCH}, ")


def test_edges_of_a_cell_that_lead_nowhere_may_be_empty() -> None:
    # Node 1 goes nowhere, so SNIP, to which its convolution is worth nothing, empties it and goes on living.
    architecture = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
    model = network("nasbench201", architecture=architecture, width=4, cells=1)
    images = torch.randn(20, *SMALL, generator=torch.Generator().manual_seed(0))
    batch = (images, torch.arange(20) % CLASSES)
    mask = CRITERIA["snip"](model, Mask.ones(model), 0.5, torch.Generator().manual_seed(0), lambda count: batch)
    assert [name for name in mask.empty_layers() if ".nodes.0.0." in name] == [
        f"stage{stage}.0.nodes.0.0.1.weight" for stage in (1, 2, 3)
    ]
    assert layer_collapse(mask, model, SMALL) is None
    alive, dead = ".nodes.2.0.1.weight", ".nodes.0.0.1.weight"
    assert layer_collapse(without(model, f"stage2.0{dead}"), model, SMALL) is None
    assert layer_collapse(without(model, f"stage2.0{alive}"), model, SMALL) is not None


def test_a_transformer_without_attention_does_not_see_the_image() -> None:
    model = network("vit", depth=2, width=8, heads=2)
    attention = [f"blocks.{block}.attention.1.projection.weight" for block in (0, 1)]
    assert layer_collapse(without(model, *attention[:1]), model, SMALL) is None
    assert layer_collapse(without(model, *attention), model, SMALL) is not None


@pytest.mark.parametrize("value", [0.0, math.nan, 1e-300, 1e300])
def test_only_the_mask_decides_and_the_network_stays_as_it_is(value: float) -> None:
    model = network("resnet20", width=2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    before = copy_of(model)
    assert layer_collapse(without(model, BRANCH), model, SMALL) is None
    assert layer_collapse(without(model, BRANCH, STEM), model, SMALL) is not None
    after = copy_of(model)
    assert all(torch.equal(before[name].nan_to_num(7), after[name].nan_to_num(7)) for name in before)
    assert model.training


def test_weights_out_of_scope_are_kept() -> None:
    model = network("resnet20", width=2)
    for name, told in ((BRANCH, None), (STEM, f"layer collapse: no weight left in {STEM}")):
        assert layer_collapse(Mask({name: without(model, name)[name]}), model, SMALL) == told


class Beside(nn.Module):
    """A linear layer beside the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(64, 64)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)


def test_more_paths_than_numbers_can_count_are_still_paths_or_none() -> None:
    # 64²⁰⁰ ≈ 10³⁶¹ paths lead to the last three layers.
    model = nn.Sequential(nn.Flatten(), Beside(), *(nn.Linear(64, 64) for _ in range(200)), nn.Linear(64, 3))
    mask = {name: kept.clone() for name, kept in without(model, "1.branch.weight").items()}
    mask["200.weight"][1:] = False  # only unit 0 is reached
    assert layer_collapse(Mask(mask), model, SMALL) is None
    mask["201.weight"][:, 0] = False
    assert layer_collapse(Mask(mask), model, SMALL) == "layer collapse: no weight left in 1.branch.weight"


def test_nothing_is_computed_where_no_layer_is_empty() -> None:
    class Untouchable(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise AssertionError("the network was run")

    model = nn.Sequential(nn.Flatten(), Untouchable(64, 3))
    assert layer_collapse(Mask.ones(model), model, SMALL) is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1, 2, 0, 1, 2], 1 / 3), ([3, 3, 3, 0], 0.75), ([7], 1.0), ([0, 0, 1, 1, 1, 5, 5, 5, 5, 2], 0.4)],
)
def test_chance_is_the_accuracy_of_the_best_constant_answer(labels: list[int], expected: float) -> None:
    assert chance(torch.tensor(labels)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_no_constant_answer_beats_chance(labels: list[int]) -> None:
    ((_, most),) = Counter(labels).most_common(1)
    assert chance(torch.tensor(labels)) == pytest.approx(most / len(labels))


@pytest.mark.parametrize(
    ("accuracy", "predicted_classes", "dead"),
    [
        (0.4, 1, True),  # one class for every image, the most frequent one
        (0.1, 1, True),  # one class for every image, another
        (0.4, 7, True),  # several, to no effect
        (0.3, 2, True),
        (0.41, 2, False),
        (0.9, 10, False),
    ],
)
def test_a_network_is_dead_that_does_no_better_than_one_answer(
    accuracy: float, predicted_classes: int, dead: bool
) -> None:
    assert at_chance(Evaluation(accuracy, 2.3, predicted_classes), 0.4) is dead


def test_a_single_predicted_class_is_dead_where_the_images_scored_on_have_more_of_it_than_chance_says() -> None:
    assert at_chance(Evaluation(0.5, 1.0, 1), 0.34)


@pytest.mark.parametrize("weight", [0.0, math.nan])
def test_a_network_that_dies_is_noticed(weight: float) -> None:
    torch.manual_seed(0)
    linear, data = nn.Linear(36, 3), random_data(90)
    model = nn.Sequential(nn.Flatten(), linear)
    answers = model(data.images).argmax(1)
    labelled = TrainingData(data.images, answers)  # what this very network says, so it is right throughout
    assert len(answers.unique()) == 3
    assert not at_chance(evaluate(model, labelled), chance(labelled.labels))
    with torch.no_grad():
        linear.weight.fill_(weight)
    assert at_chance(evaluate(model, labelled), chance(labelled.labels))


class Rows(nn.Module):
    """Rows of the image in turn, then what was made of the last one."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.rows = layer
        self.classifier = nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.rows(images[:, 0])[0][:, -1])


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_recurrent_layer_lives_without_its_memory_but_not_without_its_input(
    kind: type[nn.RNN | nn.GRU | nn.LSTM],
) -> None:
    model = Rows(kind(8, 4, num_layers=2, batch_first=True))
    assert layer_collapse(without(model, "rows.weight_hh_l0", "rows.weight_hh_l1"), model, SMALL) is None
    for cut in ("rows.weight_ih_l0", "rows.weight_ih_l1", "classifier.weight"):
        assert layer_collapse(without(model, cut), model, SMALL) == f"layer collapse: no weight left in {cut}"


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformer_block_of_torchs_own_lives_by_its_shortcuts(norm_first: bool) -> None:
    block = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, norm_first=norm_first)
    model = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 8), block, nn.Flatten(), nn.Linear(64, CLASSES)).eval()
    inside = [f"2.{name}" for name in Mask.ones(block)]
    assert {"2.self_attn.in_proj_weight", "2.linear2.weight"} < set(inside)
    assert layer_collapse(without(model, *inside), model, SMALL) is None
    assert layer_collapse(without(model, "1.weight", inside[0]), model, SMALL) is not None


def test_an_empty_transposed_convolution_cuts_a_chain() -> None:
    up = nn.ConvTranspose2d(2, 3, 2, stride=2)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), up, nn.Flatten(), nn.Linear(3 * 12 * 12, CLASSES))
    assert layer_collapse(without(model, "2.weight"), model, SMALL) == "layer collapse: no weight left in 2.weight"
