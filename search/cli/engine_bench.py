"""The rows of `winnow bench engine` and how they are shown."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from dp_core.bench.speed import Speed
from dp_core.bench.speed_process import MeasuringFailed, measure_in_process
from dp_core.bench.workload import Unavailable, Workload
from dp_core.device import default_device
from search.config.model_spec import model_spec
from search.output.sheet import Sheet
from search.runs.machine import GIB
from search.runs.progress import Progress

_MODELS = ("convnet", "alexnet")
_MODES: Mapping[str, Sequence[str]] = {"cuda": ("usual", "eager", "compiled", "graph", "auto")}
_MODES_ELSEWHERE = ("usual", "eager", "fused", "compiled")
_PARTS = {"Data": "data", "Forw.": "forward", "Backw.": "backward", "Optim.": "optimizer", "Eval.": "evaluation"}


def workloads(models: Sequence[str] | None, modes: Sequence[str] | None, settings: Mapping[str, Any]) -> list[Workload]:
    """Return what is to be measured: every model in every mode.

    Args:
        models: such as `alexnet` or `convnet:width=64,norm=batch`; None for ConvNet-3 and AlexNet.
        modes: those of `dp_core.bench.workload`; None for the ones that this machine's device is compared by.
        settings: the other fields of a Workload.

    Raises:
        UserError: a model, mode or setting that there is not; every network is built once to see.
    """
    specs = [model_spec(text) for text in models or _MODELS]
    wanted = modes or _MODES.get(default_device().type, _MODES_ELSEWHERE)
    found = [Workload(spec, mode, **settings) for spec, mode in itertools.product(specs, wanted)]
    for first in found[:: len(wanted)]:
        first.network(torch.device("cpu"))
    return found


def measure_rows(wanted: Sequence[Workload], progress: Progress) -> list[dict[str, Any]]:
    """Measure one after another; a row has the fields of `Speed`, null where `reason` says why there are none.

    `failed` tells what went wrong from what this machine does not have.
    """
    return [_row(workload, progress) for workload in wanted]


def _row(workload: Workload, progress: Progress) -> dict[str, Any]:
    title = f"{workload.model.label()}, {workload.mode}"
    reason = failed = None
    try:
        speed = measure_in_process(workload)
    except (Unavailable, MeasuringFailed) as error:
        reason, failed = str(error), isinstance(error, MeasuringFailed)
        progress.say("bench", f"{title}: {reason}")
        row: dict[str, Any] = dict.fromkeys(field.name for field in fields(Speed))
        row |= {"model": workload.model.label(), "mode": workload.mode}
    else:
        row = {field.name: getattr(speed, field.name) for field in fields(Speed)}
        progress.say("bench", f"{title}: {speed.images_per_second:,.0f} images/s")
    return row | {"reason": reason, "failed": bool(failed)}


def engine_tables(rows: Sequence[Mapping[str, Any]]) -> Group:
    """Return a table for each model, with a line for each mode that could not be measured, and what the machine does.

    In 100 columns or more no figure is cut.
    """
    parts: list[RenderableType] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        measured = [row for row in own if row["reason"] is None]
        if measured:
            parts.append(_table(model, measured))
        parts += [Text(f"{model}, {row['mode']}: {row['reason']}.") for row in own if row["reason"] is not None]
        parts.append(Text())
    measured = [row for row in rows if row["reason"] is None]
    return Group(*parts, *([_machine(measured)] if measured else []))


def _table(model: str, rows: Sequence[Mapping[str, Any]]) -> Sheet:
    usual = next((row["images_per_second"] for row in rows if row["mode"] == "usual"), None)
    lines = [_figures(row, usual) for row in rows]
    return Sheet(list(lines[0]), [list(line.values()) for line in lines], model, names=(0, 1))


def _figures(row: Mapping[str, Any], usual: float | None) -> dict[str, str]:
    return {
        "Mode": f"auto ({row['network']})" if row["mode"] == "auto" else row["mode"],
        "": "bf16" if row["bfloat16"] else "fp32",
        "Images\n/s": f"{row['images_per_second']:,.0f}",
        "Steps\n/s": f"{row['steps_per_second']:,.2f}",
        "×\nusual": "-" if usual is None else f"{row['images_per_second'] / usual:.2f}",
        **{f"{title}\n%": f"{100 * row[f'share_{part}']:.1f}" for title, part in _PARTS.items()},
        "Mem.\nGiB": f"{row['peak_memory_bytes'] / GIB:.2f}",
        "GFLOP\n/s": f"{row['flops_per_second'] / 1e9:,.0f}",
        "Ceiling": f"{row['ceiling_flops_per_second'] / 1e9:,.0f}",
        "% of\nceiling": f"{100 * row['share_of_ceiling']:.0f}",
    }


def _machine(rows: Sequence[Mapping[str, Any]]) -> Text:
    best = {name: max(row[f"matmul_{name}_flops_per_second"] for row in rows) / 1e9 for name in ("float32", "bfloat16")}
    first = rows[0]
    threads = "1 thread" if first["threads"] == 1 else f"{first['threads']} threads"
    return Text(
        f"{first['batch_size']} images a step, augmentation {first['augmentation']}, {first['optimizer']}, "
        f"on {first['device']} with {threads}.\n"
        f"One large matrix product: {best['float32']:,.0f} GFLOP/s in float32, {best['bfloat16']:,.0f} in bfloat16.\n"
        "Shares of time are of an epoch that ends with an evaluation of a tenth as many images. The ceiling "
        "(GFLOP/s) is the network's own convolutions and matrix products alone, in the same number format."
    )
