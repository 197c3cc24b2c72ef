from __future__ import annotations

import pytest
import torch

from dp_core.data.preprocessing import Standardisation
from dp_core.distillation.broken import Broken, Overstepped
from dp_core.distillation.learned_rate import LearnedRate
from dp_core.distillation.synthetic import Synthetic
from tests.dp_core.small import same

SPACE = Standardisation((0.5,), (0.25,))
NAMES = ("cat", "dog", "owl")


def made(*, learns: bool = True, rate: float | None = 0.01) -> Synthetic:
    images = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    learned = None if rate is None else LearnedRate(rate, 0.1, "sgd")
    return Synthetic(images, torch.tensor([0, 0, 1, 1, 2, 2]), 3, learn_labels=learns, rate=learned)


def test_the_images_are_a_copy() -> None:
    images = torch.zeros(3, 1, 2, 2)
    synthetic = Synthetic(images, torch.arange(3), 3, learn_labels=False, rate=None)
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
    assert list(synthetic.leaves()) == ["images", "logits", "log_rate"]
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


@pytest.mark.parametrize(
    ("name", "called", "setting"),
    [
        ("images", "images", "image_rate"),
        ("logits", "labels", "label_rate"),
        ("log_rate", "learned rate", "learned_rate_rate"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(name: str, called: str, setting: str, value: float) -> None:
    synthetic = made()
    leaf = synthetic.leaves()[name]
    leaf.grad = torch.zeros_like(leaf)
    synthetic.check_gradients()
    synthetic.check_values()
    leaf.grad.view(-1)[-1] = value
    with pytest.raises(Broken, match=f"^the gradient of the {called} is not finite$") as broken:
        synthetic.check_gradients()
    assert broken.value.advice == f"a smaller {setting}"
    with torch.no_grad():
        leaf.view(-1)[-1] = value
    with pytest.raises(Overstepped, match=f"^the {called} (are not finite|is (nan|inf|0))$") as overstepped:
        synthetic.check_values()
    assert overstepped.value.advice == f"a smaller {setting}"


@pytest.mark.parametrize(("value", "fine"), [(65504.0, True), (-65504.0, True), (65600.0, False), (-1e9, False)])
def test_images_are_in_the_range_of_float16(value: float, fine: bool) -> None:
    synthetic = made()
    with torch.no_grad():
        synthetic.images[1, 0, 0, 0] = value
    if fine:
        synthetic.check_values()
        assert synthetic.distilled(SPACE, NAMES, {}).images[1, 0, 0, 0] == value
    else:
        with pytest.raises(Overstepped, match=r"^the images have values of .*, beyond the 65504 that can be stored$"):
            synthetic.check_values()


def test_a_state_that_has_the_rate_itself_is_read() -> None:
    synthetic = made(rate=0.3)
    state = synthetic.state_dict()
    del state["log_rate"]
    synthetic.load_state_dict({**state, "rate": torch.tensor(0.02)})
    assert synthetic.rate is not None
    assert synthetic.rate.value == pytest.approx(0.02)


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
