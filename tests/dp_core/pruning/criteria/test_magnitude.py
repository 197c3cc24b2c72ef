from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import prune

from dp_core.pruning import GlobalMagnitude, LayerwiseMagnitude, Mask
from tests.dp_core.pruning.criteria.calling import draw, kept_counts, linear_net, pruned
from tests.dp_core.small import small_model


def test_magnitude_agrees_with_torch_over_rounds_of_iterative_pruning() -> None:
    ours, theirs = small_model(), small_model()
    layers = [(name, m) for name, m in theirs.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    mask = Mask.ones(ours)
    for round_, sparsity in enumerate((0.2, 0.36, 0.488, 0.5904, 0.9, 0.97)):
        trained = draw(round_)
        for name, layer in layers:
            values = torch.randn(layer.weight.shape, generator=trained)  # what training made of the weights
            pruned_before = hasattr(layer, "weight_orig")
            with torch.no_grad():
                ours.get_parameter(f"{name}.weight").copy_(values)
                layer.get_parameter("weight_orig" if pruned_before else "weight").copy_(values)
                if pruned_before:
                    layer.weight.copy_(values * layer.get_buffer("weight_mask"))
        amount = round(sparsity * 144) - (mask.total - mask.kept)
        mask = pruned(GlobalMagnitude(), ours, mask, sparsity)
        prune.global_unstructured([(layer, "weight") for _, layer in layers], prune.L1Unstructured, amount=amount)
        for name, layer in layers:
            assert torch.equal(mask[f"{name}.weight"], layer.get_buffer("weight_mask").bool())


def test_layerwise_magnitude_agrees_with_torch_layer_by_layer() -> None:
    ours, theirs = small_model(), small_model()
    mask = pruned(LayerwiseMagnitude(), ours, Mask.ones(ours), 0.75)
    for name in ("blocks.0", "classifier"):
        layer = theirs.get_submodule(name)
        prune.l1_unstructured(layer, "weight", amount=0.75)
        assert torch.equal(mask[f"{name}.weight"], layer.get_buffer("weight_mask").bool())


def test_magnitude_compares_over_layers_and_ignores_the_sign() -> None:
    model = linear_net([[-0.5, 0.1, 3.0]], [[-4.0], [0.2], [-0.3]])
    found = pruned(GlobalMagnitude(), model, Mask.ones(model), 0.5)
    assert found["0.weight"].tolist() == [[True, False, True]]
    assert found["1.weight"].tolist() == [[True], [False], [False]]


def test_layerwise_magnitude_does_not_compare_over_layers() -> None:
    model = linear_net([[-5.0, 6.0, 7.0, 8.0]], [[0.1], [-0.2]])
    found = pruned(LayerwiseMagnitude(), model, Mask.ones(model), 0.5)
    assert found["0.weight"].tolist() == [[False, False, True, True]]
    assert found["1.weight"].tolist() == [[False], [True]]


def test_layerwise_magnitude_keeps_what_a_sparser_layer_has_left() -> None:
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    mask = Mask.ones(model)
    mask["0.weight"].view(-1)[5:] = False  # 5 of 100 are left there, 100 in the other
    # 100 of 200 would be 50 each.
    assert kept_counts(pruned(LayerwiseMagnitude(), model, mask, 0.5)) == [5, 95]
