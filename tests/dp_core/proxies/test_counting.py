"""Parameters and FLOPs against counts by hand and the benchmark's table."""

from __future__ import annotations

from dp_core.models import ModelSpec
from dp_core.proxies.flops import FLOPs
from dp_core.proxies.parameters import Parameters
from tests.dp_core.proxies.scoring import inputs_of


def test_a_convnet_by_hand() -> None:
    spec = ModelSpec("convnet", {"depth": 1, "width": 4, "norm": "batch"})
    inputs = inputs_of((3, 8, 8))
    # Convolution 3·3·3·4 + 4, norm 4 + 4, linear 4·4·4·3 + 3.
    assert Parameters().score(spec, inputs, 0)[0].value == 112 + 8 + 195
    # Two operations for each weight: at 8×8 places of the convolution, one of the linear layer.
    assert FLOPs().score(spec, inputs, 0)[0].value == 2 * (108 * 64 + 192)
