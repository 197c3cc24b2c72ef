"""How fast a network trains, where the time goes, and how far that is from what the machine can do."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch

from dp_core.bench.ceiling import flops_of_matmul, products_of_step, seconds_of_products
from dp_core.bench.shares import shares_of_epoch
from dp_core.bench.workload import Loop, Workload, open_loop
from dp_core.device import peak_memory
from dp_core.kernels import keep_freed_memory
from dp_core.timing import now, seconds_each
from dp_core.training.loop import Training

WARM_UP_STEPS = 5
LEAST_STEPS = 3
"""Whole steps of one measurement, at least."""


@dataclass(frozen=True)
class Speed:
    """What was measured of a `Workload`; times are medians over its repetitions.

    Attributes:
        model: the network's label.
        mode: the workload's.
        images_per_second: trained on, in whole undisturbed steps after warm-up.
        steps_per_second: likewise.
        peak_memory_bytes: on a CPU the most resident memory the process had from its start to the last measured step,
            PyTorch's own included; on a GPU the most that tensors took.
        flops_per_second: FLOPs of a step's forward and backward pass ÷ its seconds.
        flops_per_step: those FLOPs: of convolutions, matrix products and attention, 2 for each multiply-accumulate, of
            the plain network without the gradient of the images.
        ceiling_flops_per_second: the same FLOPs ÷ the seconds that the step's convolutions and matrix products take
            when they are done alone, at the same shapes, in the same process and number format, in channels-last
            memory.
        share_of_ceiling: flops_per_second ÷ ceiling_flops_per_second.
        share_data: of an epoch's time: a pass over the data set and an evaluation of a tenth as many images. The five
            shares sum to 1 and come from steps whose parts are timed one by one, which on a GPU means waiting for
            each part and so launching it operation by operation, also in mode `graph`. Data: indexing, standardising
            and augmenting a batch.
        share_forward: likewise; the network and its loss.
        share_backward: likewise.
        share_optimizer: likewise; the update and clearing the gradients.
        share_evaluation: likewise; by `evaluate` of dp_core.training, for `usual` by a plain loop.
        matmul_float32_flops_per_second: of one large square matrix product in the same process.
        matmul_bfloat16_flops_per_second: likewise.
        spread: (slowest - fastest) ÷ median of the measured steps.
        warm_up_seconds: building the network and the first five steps, compiling included.
        network: in what form the network was executed: `usual`, `eager`, `fused` or `compiled`.
        bfloat16: whether it computed in bfloat16.
        device: type of the device.
        threads: CPU threads.
        batch_size: images a step.
        images: in the data set.
        augmentation: the workload's.
        optimizer: the workload's.
        repetitions: the workload's.
    """

    model: str
    mode: str
    images_per_second: float
    steps_per_second: float
    peak_memory_bytes: int
    flops_per_second: float
    flops_per_step: int
    ceiling_flops_per_second: float
    share_of_ceiling: float
    share_data: float
    share_forward: float
    share_backward: float
    share_optimizer: float
    share_evaluation: float
    matmul_float32_flops_per_second: float
    matmul_bfloat16_flops_per_second: float
    spread: float
    warm_up_seconds: float
    network: str
    bfloat16: bool
    device: str
    threads: int
    batch_size: int
    images: int
    augmentation: str
    optimizer: str
    repetitions: int


def measure(workload: Workload, device: torch.device) -> Speed:
    """Measure `workload` in this process; memory, and what is `usual`, are right only in a process of its own.

    Raises:
        Unavailable: the mode cannot be had.
        UserError: the network cannot be built, or does not fit the device's memory.
    """
    data = workload.data(device)
    started = now(device)
    loop = open_loop(workload, data, steps=WARM_UP_STEPS)
    warm_up = now(device) - started
    steps = seconds_each(
        loop.run, device, repetitions=workload.repetitions, shortest=workload.shortest, least=LEAST_STEPS
    )
    step, memory = statistics.median(steps), peak_memory(device)
    batch_size = workload.recipe().images_per_step(len(data))
    parts = max(workload.repetitions, round(workload.shortest / step))
    shares = shares_of_epoch(loop, data, batch_size, steps=parts, repetitions=workload.repetitions)
    bfloat16 = isinstance(loop, Training) and loop.network.bfloat16
    ceiling = _Ceiling.of(workload, loop, device, torch.bfloat16 if bfloat16 else torch.float32)
    return Speed(
        model=workload.model.label(),
        mode=workload.mode,
        images_per_second=batch_size / step,
        steps_per_second=1 / step,
        peak_memory_bytes=memory,
        flops_per_second=ceiling.flops / step,
        flops_per_step=ceiling.flops,
        ceiling_flops_per_second=ceiling.flops / ceiling.seconds,
        share_of_ceiling=ceiling.seconds / step,
        **{f"share_{part}": share for part, share in shares.items()},
        matmul_float32_flops_per_second=ceiling.matmul_float32,
        matmul_bfloat16_flops_per_second=ceiling.matmul_bfloat16,
        spread=(max(steps) - min(steps)) / step,
        warm_up_seconds=warm_up,
        network=loop.network.mode if isinstance(loop, Training) else "usual",
        bfloat16=bfloat16,
        device=device.type,
        threads=torch.get_num_threads(),
        batch_size=batch_size,
        images=len(data),
        augmentation=workload.augmentation,
        optimizer=workload.optimizer,
        repetitions=workload.repetitions,
    )


@dataclass(frozen=True)
class _Ceiling:
    """FLOPs of a step, the seconds of its products alone, and the machine's matrix products in FLOP/s."""

    flops: int
    seconds: float
    matmul_float32: float
    matmul_bfloat16: float

    @staticmethod
    def of(workload: Workload, loop: Loop, device: torch.device, dtype: torch.dtype) -> _Ceiling:
        """Measure them in the number format `dtype`."""
        if device.type == "cpu":
            keep_freed_memory()  # what the `usual` loop was not to have, but a ceiling is
        repetitions = workload.repetitions
        products, flops = products_of_step(workload.network(device), *loop.prepare_step())
        return _Ceiling(
            flops,
            seconds_of_products(products, device, dtype, repetitions=repetitions),
            flops_of_matmul(device, torch.float32, repetitions=repetitions),
            flops_of_matmul(device, torch.bfloat16, repetitions=repetitions),
        )
