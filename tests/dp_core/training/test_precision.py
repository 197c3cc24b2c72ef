from __future__ import annotations

import pytest
import torch
from torch import nn

from dp_core.models import ModelSpec, build
from dp_core.training import Precision, Recipe, Training, evaluate, uses_bfloat16
from tests.dp_core.small import CLASSES, SHAPE, random_data, small_model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[True, False], ids=["units", "no units"])
def units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the devices pretend to compute in bfloat16."""
    has: bool = request.param
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has or including_emulation)
    return has


@pytest.mark.parametrize(
    ("norm", "fast_on_cpu"),
    [("none", True), ("batch", True), ("layer", False), ("instance", False), ("group", False)],
)
def test_auto_takes_bfloat16_where_the_device_has_units_and_no_norm_slows_it_down(
    units: bool, norm: str, fast_on_cpu: bool
) -> None:
    model = small_model(norm)
    assert uses_bfloat16("auto", model, CPU) == (units and fast_on_cpu)
    assert uses_bfloat16("auto", model, CUDA) == units


@pytest.mark.parametrize(("precision", "expected"), [("float32", False), ("bfloat16", True)])
def test_a_choice_of_precision_is_obeyed(units: bool, precision: Precision, expected: bool) -> None:
    for device in (CPU, CUDA):
        assert uses_bfloat16(precision, small_model("instance"), device) is expected


class Watching(nn.Module):
    """A network that notes in which type its convolution computes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build(ModelSpec("convnet", {"depth": 1, "width": 4, "norm": "none"}), SHAPE, CLASSES, seed=0)
        self.seen: set[torch.dtype] = set()
        self.inner.get_submodule("blocks.0").register_forward_hook(lambda _m, _i, out: self.seen.add(out.dtype))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_and_evaluation_compute_in_the_precision_and_keep_weights_in_float32(precision: Precision) -> None:
    data = random_data()
    for evaluating in (False, True):
        model = Watching()
        if evaluating:
            evaluate(model, data, precision=precision)
        else:
            training = Training(model, data, Recipe(steps=2, precision=precision), seed=0, mask=None)
            training.run()
            assert all(
                value.dtype == torch.float32 for entry in training.optimizer.state.values() for value in entry.values()
            )
        assert model.seen == {torch.bfloat16 if precision == "bfloat16" else torch.float32}
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_bfloat16_training_stays_near_float32() -> None:
    data = random_data()
    ends = []
    for precision in ("float32", "bfloat16"):
        model = small_model("none")
        Training(model, data, Recipe(steps=10, precision=precision, learning_rate=0.05), seed=0, mask=None).run()
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    start = torch.cat([p.detach().flatten() for p in small_model("none").parameters()])
    assert not torch.equal(ends[0], ends[1])
    # bfloat16 has 8 significant bits: its path leaves float32's by a few per cent of the way.
    assert (ends[1] - ends[0]).norm() < 0.05 * (ends[0] - start).norm()
