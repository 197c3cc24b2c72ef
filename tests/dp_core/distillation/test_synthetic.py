from __future__ import annotations

import pytest
import torch

from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.synthetic import Synthetic
from tests.dp_core.small import same

SPACE = Standardisation((0.5,), (0.25,))
NAMES = ("cat", "dog", "owl")


def made(*, learns: bool = True, rate: float | None = 0.01) -> Synthetic:
    images = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return Synthetic(images, torch.tensor([0, 0, 1, 1, 2, 2]), 3, learn_labels=learns, learning_rate=rate)


def test_the_images_are_a_copy() -> None:
    images = torch.zeros(3, 1, 2, 2)
    synthetic = Synthetic(images, torch.arange(3), 3, learn_labels=False, learning_rate=None)
    with torch.no_grad():
        synthetic.images.add_(1)
    assert images.sum() == 0


def test_hard_labels_are_no_leaf() -> None:
    synthetic = made(learns=False, rate=None)
    assert list(synthetic.leaves()) == ["images"]
    assert synthetic.targets().tolist() == [0, 0, 1, 1, 2, 2]
    assert synthetic.probabilities().tolist() == torch.eye(3)[[0, 0, 1, 1, 2, 2]].tolist()


def test_learned_labels_start_with_19_in_20_on_their_class() -> None:
    synthetic = made()
    assert list(synthetic.leaves()) == ["images", "logits", "rate"]
    assert all(leaf.is_leaf and leaf.requires_grad for leaf in synthetic.leaves().values())
    expected = torch.full((6, 3), 0.025)
    expected[range(6), [0, 0, 1, 1, 2, 2]] = 0.95
    torch.testing.assert_close(synthetic.targets().detach(), expected)
    torch.testing.assert_close(synthetic.probabilities().detach(), expected)


def test_gradients_reach_logits_through_the_softmax() -> None:
    synthetic = made()
    synthetic.targets()[0, 0].backward()
    assert synthetic.logits is not None
    assert synthetic.logits.grad is not None
    # ∂p_0/∂z_k = p_0 (δ_0k − p_k)
    torch.testing.assert_close(synthetic.logits.grad[0], 0.95 * torch.tensor([0.05, -0.025, -0.025]))
    assert synthetic.logits.grad[1:].abs().sum() == 0


@pytest.mark.parametrize("learns", [False, True])
def test_a_state_is_a_copy_to_which_it_goes_back(learns: bool) -> None:
    synthetic = made(learns=learns)
    state, leaves = synthetic.state_dict(), synthetic.leaves()
    with torch.no_grad():
        for leaf in leaves.values():
            leaf.mul_(2)
    assert not torch.equal(state["images"], synthetic.images)
    synthetic.load_state_dict(state)
    assert same(synthetic.state_dict(), made(learns=learns).state_dict())
    assert all(leaf is leaves[name] for name, leaf in synthetic.leaves().items())  # the optimiser holds them


@pytest.mark.parametrize("name", ["images", "logits", "rate"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_noticed_in_values_and_gradients(name: str, value: float) -> None:
    synthetic = made()
    assert synthetic.finite()
    leaf = synthetic.leaves()[name]
    leaf.grad = torch.zeros_like(leaf)
    assert synthetic.finite()
    leaf.grad.view(-1)[-1] = value
    assert not synthetic.finite()
    leaf.grad = None
    with torch.no_grad():
        leaf.view(-1)[-1] = value
    assert not synthetic.finite()


@pytest.mark.parametrize(("rate", "fine"), [(1e-9, True), (0.0, False), (-0.01, False)])
def test_a_learned_rate_is_above_zero(rate: float, fine: bool) -> None:
    assert made(rate=rate).finite() is fine


@pytest.mark.parametrize(("value", "fine"), [(65504.0, True), (-65504.0, True), (65600.0, False), (-1e9, False)])
def test_images_are_in_the_range_of_float16(value: float, fine: bool) -> None:
    synthetic = made()
    with torch.no_grad():
        synthetic.images[1, 0, 0, 0] = value
    assert synthetic.finite() is fine
    if fine:
        assert synthetic.distilled(SPACE, NAMES, {}).images[1, 0, 0, 0] == value


def test_the_set_is_what_is_there_in_values_of_float16() -> None:
    synthetic = made()
    found = synthetic.distilled(SPACE, NAMES, {"method": "by hand"})
    assert torch.equal(found.images, synthetic.images.detach().half().float())
    assert torch.equal(
        found.labels, torch.tensor([0.95, 0.025]).half().float()[(torch.eye(3) == 0).long()][[0, 0, 1, 1, 2, 2]]
    )
    assert (found.images_per_class, found.class_names, found.preprocessing) == (2, NAMES, SPACE)
    assert found.learning_rate == pytest.approx(0.01)
    assert dict(found.provenance) == {"method": "by hand"}
    before = found.digest
    with torch.no_grad():
        synthetic.images.add_(1)
    assert found.digest == before
    plain = made(learns=False, rate=None).distilled(SPACE, NAMES, {})
    assert plain.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert plain.learning_rate is None
