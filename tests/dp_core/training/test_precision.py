from __future__ import annotations

import pytest
import torch

from dp_core.training import Precision, uses_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("unfit", [True, False])
def test_auto_takes_bfloat16_where_the_cpu_has_units_and_the_network_is_fit_for_it(
    monkeypatch: pytest.MonkeyPatch, units: bool, unfit: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    assert uses_bfloat16("auto", CPU, unfit=unfit) == (units and not unfit)


@pytest.mark.parametrize("units", [True, False])
def test_auto_takes_bfloat16_on_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch, units: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: units and not including_emulation)
    assert uses_bfloat16("auto", torch.device("cuda"), unfit=True) == units


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize(("precision", "bfloat16"), [("float32", False), ("bfloat16", True)])
def test_a_choice_of_precision_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, units: bool, precision: Precision, bfloat16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: units)
    assert uses_bfloat16(precision, CPU, unfit=units) == bfloat16
